"""The reconnecting connection that every client shares: connect, join, detect silence, back off, reconnect. Pure.

The messages of a session belong to the subclasses: ``ParticipantClient`` takes part, ``HostMachine`` runs an event. A
driver reports what happens to the machine, carries out :meth:`ReconnectingConnection.effects` after every call, and
calls :meth:`ReconnectingConnection.handle_timeout` at :meth:`ReconnectingConnection.next_deadline`. A report under an
old dial number is ignored, so a late close or message of an abandoned socket changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.backoff import BackoffPolicy, RetryState
from resilience.policy.close_codes import CloseCode, RetryClass, retry_class, retry_class_of_status
from resilience.policy.failure_detectors import LAG_TOLERANCE_S, ClientFailureDetector, LivenessAction, ProbeTimeouts
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.client.dismissal import Dismissal
from resilience.protocol.effects import (
    AbortTransport,
    ClientEffect,
    CloseTransport,
    Deliver,
    OpenTransport,
    Record,
    SendToServer,
)
from resilience.protocol.messages import ClientMessage, Error, Message, Probe, ProbeReply, ServerMessage
from resilience.protocol.states import CLIENT_TRANSITIONS, ClientState, transition
from resilience.random_streams import UniformSource
from resilience.units import Instant, Seconds

FRESH_DIAL_S: Seconds = 1.0
"""A younger dial may be about to succeed; an older one is replaced by a new one when the network comes back."""

SLEEP_THRESHOLD_S: Seconds = 3.0
"""A wake-up later than this means that the machine slept; the sleep is not charged to the retry budget.
"""

STALLED_S: Seconds = 1.0
"""A link on which a probe has waited longer than this stood still; what arrives then was held."""

SLEPT, QUESTION_HELD = "slept", "question_held"
OWN_CHOICES = (SLEPT, QUESTION_HELD)
"""The causes of a client that ends its connection for a new snapshot, because what it shows may be old: no loss."""

_ENDINGS: dict[int | None, LogEventKind] = {
    CloseCode.SUPERSEDED: LogEventKind.SESSION_SUPERSEDED,
    CloseCode.LEFT: LogEventKind.CLIENT_LEFT,
}
_TALKING = (ClientState.JOINING, ClientState.OPEN)


class ClientRules(msgspec.Struct, frozen=True):
    """The timing of a client; timeouts in seconds."""

    backoff: BackoffPolicy
    probe: ProbeTimeouts
    open_timeout: Seconds
    join_timeout: Seconds


class ReconnectingConnection(ABC):
    """One client's connection to a server. ``draw`` yields its own random numbers by (purpose, incident, attempt).

    ``dismissal`` is how the server ended it for good; ``None`` while it did not. ``held_for`` is how long messages
    may have waited on their way, in seconds, on a stalled link or during a sleep; it holds until the reply to the last
    probe, or a new session.
    """

    __slots__ = (
        "_backoff",
        "_deadline",
        "_dialled_at",
        "_dials",
        "_dials_of",
        "_draw",
        "_effects",
        "_liveness",
        "_probes",
        "_rules",
        "dial",
        "dismissal",
        "held_for",
        "state",
        "window",
    )

    def __init__(self, rules: ClientRules, draw: UniformSource) -> None:
        self.state = ClientState.IDLE
        self.dial = 0
        self.window: ReturnWindow | None = None
        self.dismissal: Dismissal | None = None
        self.held_for: Seconds = 0.0
        self._rules, self._draw = rules, draw
        self._backoff = RetryState(rules.backoff)
        self._liveness = ClientFailureDetector(rules.probe, 0.0)
        self._deadline: Instant | None = None
        self._dialled_at: Instant = 0.0
        self._dials, self._dials_of = 0, 0
        self._probes = 0
        self._effects: list[ClientEffect] = []

    # for the subclasses to define -------------------------------------------------------------------------------------

    @abstractmethod
    def _send_first_message(self, now: Instant) -> None:
        """The transport is open: send the first message."""

    @abstractmethod
    def _receive_joining(self, message: ServerMessage, now: Instant) -> None:
        """A message arrived before the session is open; calls :meth:`_session_opened` if it is the welcome."""

    @abstractmethod
    def _receive_open(self, message: ServerMessage, now: Instant) -> None:
        """A message arrived over the open session."""

    def _leave_message(self) -> ClientMessage | None:
        """The message to send before leaving on purpose."""
        return None

    def _session_id(self) -> str | None:
        """The session id of this client's records."""
        return None

    # transport and application events ---------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        """Connect for the first time, or again after giving up (a click on *retry*)."""
        if self.state in (ClientState.IDLE, ClientState.GAVE_UP):
            self._backoff.lost(now)
            self._dial(now)

    def transport_opened(self, dial: int, now: Instant) -> None:
        """The dial succeeded: send the first message."""
        if dial != self.dial or self.state is not ClientState.CONNECTING:
            return
        self._go(ClientState.JOINING)
        self._record(LogEventKind.TRANSPORT_OPENED, now, connection_no=dial, attempt=self._backoff.attempt)
        self._deadline = now + self._rules.join_timeout
        self._send_first_message(now)

    def transport_failed(  # noqa: PLR0913 - what a driver can know of a failed dial
        self,
        dial: int,
        cause: str,
        now: Instant,
        advice: Seconds | None = None,
        *,
        status: int | None = None,
        detail: str | None = None,
    ) -> None:
        """The dial failed.

        ``status`` is the HTTP status of a handshake that was not accepted, if there was a response, and ``advice`` its
        retry-after; ``detail`` says more about the cause to a person.
        """
        if dial != self.dial or self.state is not ClientState.CONNECTING:
            return
        self._record_failure(cause, now, detail)
        what = RetryClass.RETRY_ADVISED if status is None else retry_class_of_status(status)
        if what is RetryClass.NEVER:
            self._end(Dismissal(status=status, reason=detail or ""), now)
        else:
            self._retry(now, advice if what is RetryClass.RETRY_ADVISED else None)

    def transport_lost(  # noqa: PLR0913 - what a driver can know of an end
        self,
        dial: int,
        cause: str,
        now: Instant,
        code: int = CloseCode.ABNORMAL,
        advice: Seconds | None = None,
        *,
        reason: str = "",
    ) -> None:
        """An open transport ended, with the close code that was received (1006 if there was none) and its reason.

        ``advice`` is the retry-after in the reason; it is used only for the close codes that may carry one.
        """
        if dial != self.dial or self.state not in _TALKING:
            return
        self._record(LogEventKind.TRANSPORT_LOST, now, connection_no=dial, cause=cause)
        what = retry_class(code)
        if what is RetryClass.NEVER:
            self._end(Dismissal(code=code, reason=reason), now)
        else:
            self._lost(now, advice if what is RetryClass.RETRY_ADVISED else None)

    def receive(self, message: ServerMessage, dial: int, now: Instant) -> None:
        """A message arrived over this dial."""
        if dial != self.dial or self.state not in _TALKING:
            return
        late = self._heard(now)
        if self.state is ClientState.JOINING:
            self._receive_joining(message, now)
        else:
            self._receive_open(message, now)
        if self.held_for and not late and isinstance(message, ProbeReply) and message.id == self._probes:
            self.held_for = 0.0  # what follows was sent after the probe that it answers
        if late:  # the message may have waited in a buffer during a sleep: no sign of life now
            self._probe_now(now)

    def leave(self, now: Instant) -> None:
        """Leave on purpose: send the leave message, retry nothing."""
        if self.state is ClientState.CLOSED:
            return
        leave_message = self._leave_message()
        if self.state is ClientState.OPEN and leave_message is not None:
            self._send(leave_message)
        self._effects.append(CloseTransport(self.dial))
        self._close()
        self._record(LogEventKind.CLIENT_LEFT, now)

    def receive_unknown(self, seq: int | None, dial: int, now: Instant) -> None:  # noqa: ARG002 - for subclasses that count
        """A message of a type that only newer clients know; ``seq`` is its number in the stream if it has one."""
        if dial == self.dial and self.state in _TALKING and self._heard(now):
            self._probe_now(now)

    def wake(self, now: Instant) -> None:
        """An outside event (wake from sleep, network available, page visible): probe or reconnect at once."""
        self._exclude_sleep(now)
        if self.state is ClientState.OPEN:
            self._probe_now(now)
        elif self.state is ClientState.BACKING_OFF:
            self._dial(now)
        elif self.state in (ClientState.CONNECTING, ClientState.JOINING):
            if now - self._dialled_at > FRESH_DIAL_S:
                self._dial_again(now)
        elif self.state is ClientState.GAVE_UP:
            self.start(now)

    def slept(self, now: Instant) -> None:
        """The computer slept, and the clock of ``now`` stood still meanwhile: probe or reconnect at once.

        A welcome that is on its way may be as old as the sleep was long.
        """
        if self.state is ClientState.JOINING:
            self._dial_again(now)
        else:
            self.wake(now)

    def resume(self, cause: str, now: Instant) -> None:
        """Give up an open connection for a new one, whose snapshot says what is true now."""
        if self.state is ClientState.OPEN:
            self._abort_transport(cause, now)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When to call :meth:`handle_timeout`; ``None`` for never."""
        return self._due_at()

    def handle_timeout(self, now: Instant) -> None:
        """Act on a deadline; harmless if called early. A much later call counts as sleep of the machine."""
        deadline = self._due_at()
        if deadline is None or now < deadline:
            return
        slept = self._exclude_sleep(now)
        if self.state is ClientState.OPEN:
            self._handle_silence(now)
        elif self.state is ClientState.BACKING_OFF:
            self._dial(now)
        elif slept:
            self._dial_again(now)
        elif self.state is ClientState.CONNECTING:
            self._effects.append(AbortTransport(self.dial))
            self.transport_failed(self.dial, "open_timeout", now)
        else:
            self._abort_transport("join_timeout", now)

    def effects(self) -> list[ClientEffect]:
        """What the driver must do now, in this order; each effect is returned once."""
        effects, self._effects = self._effects, []
        return effects

    # for the subclasses to use ----------------------------------------------------------------------------------------

    def _go(self, state: ClientState) -> None:
        self.state = transition(CLIENT_TRANSITIONS, self.state, state)

    def _send(self, message: ClientMessage) -> None:
        self._effects.append(SendToServer(message))

    def _deliver(self, message: Message, now: Instant) -> None:  # noqa: ARG002 - for subclasses
        self._effects.append(Deliver(message))

    def _record(  # noqa: PLR0913 - the fields of the log
        self,
        kind: LogEventKind,
        now: Instant,
        *,
        connection_no: int | None = None,
        seq: int | None = None,
        attempt: int | None = None,
        outcome: str | None = None,
        cause: str | None = None,
        value: float | None = None,
        ref: str | None = None,
        detail: str | None = None,
    ) -> None:
        who = self._session_id()
        self._effects.append(Record(kind, now, who, connection_no, seq, attempt, outcome, cause, value, ref, detail))

    def _session_opened(self, now: Instant) -> None:
        """The welcome has arrived; call :meth:`_mark_restored` after recording it."""
        self._go(ClientState.OPEN)
        self.held_for = 0.0
        self._liveness = ClientFailureDetector(self._rules.probe, now)

    def _mark_restored(self, now: Instant) -> None:
        self._backoff.restored(now)

    def _first_message_rejected(self, error: Error, now: Instant) -> None:
        """The server answered the first message with an error: it would reject the same message again."""
        self._deliver(error, now)
        self._effects.append(CloseTransport(self.dial))
        self._end(Dismissal(reason=f"{error.field}: {error.rule}"), now)

    def _superseded(self, reason: str, now: Instant) -> None:
        """Another client has the session, as a close with 4200 says."""
        self._effects.append(CloseTransport(self.dial))
        self._end(Dismissal(code=CloseCode.SUPERSEDED, reason=reason), now)

    def _abort_transport(self, cause: str, now: Instant) -> None:
        """Abort a transport that is open but useless."""
        self._effects.append(AbortTransport(self.dial))
        self.transport_lost(self.dial, cause, now)

    def _close(self) -> None:
        self._go(ClientState.CLOSED)
        self._deadline = None

    # the parts --------------------------------------------------------------------------------------------------------

    def _due_at(self) -> Instant | None:
        return self._liveness.next_deadline() if self.state is ClientState.OPEN else self._deadline

    def _lateness(self, now: Instant) -> Seconds:
        deadline = self._due_at()
        return 0.0 if deadline is None else now - deadline

    def _heard(self, now: Instant) -> bool:
        """Something arrived; returns whether it came later than the machine was to act.

        Notes for how long it may have waited on its way.
        """
        lateness, liveness = self._lateness(now), self._liveness
        stalled = self.state is ClientState.OPEN and liveness.probing_for(now) > STALLED_S
        if stalled or lateness > SLEEP_THRESHOLD_S:
            self.held_for = max(self.held_for, now - liveness.last_heard)
        liveness.heard(now)
        return lateness > LAG_TOLERANCE_S

    def _exclude_sleep(self, now: Instant) -> bool:
        lateness = self._lateness(now)
        if lateness <= SLEEP_THRESHOLD_S:
            return False
        self._backoff.exclude_sleep(lateness)
        return True

    def _dial(self, now: Instant) -> None:
        self.dial += 1
        self._go(ClientState.CONNECTING)
        if self._dials_of != self._backoff.incident:
            self._dials, self._dials_of = 0, self._backoff.incident
        self._dials += 1
        attempt = self._backoff.attempt
        self._record(LogEventKind.TRANSPORT_OPENING, now, connection_no=self.dial, attempt=attempt)
        self._dialled_at, self._deadline = now, now + self._rules.open_timeout
        self._effects.append(OpenTransport(self.dial, attempt))

    def _dial_again(self, now: Instant) -> None:
        """Replace a dial of a network that may be gone; counts no attempt."""
        self._effects.append(AbortTransport(self.dial))
        if self.state is ClientState.CONNECTING:
            self._record_failure("stale", now)
        else:
            self._record(LogEventKind.TRANSPORT_LOST, now, connection_no=self.dial, cause="stale")
        self._dial(now)

    def _record_failure(self, cause: str, now: Instant, detail: str | None = None) -> None:
        kind, attempt = LogEventKind.TRANSPORT_FAILED, self._backoff.attempt
        self._record(kind, now, connection_no=self.dial, attempt=attempt, cause=cause, detail=detail)

    def _handle_silence(self, now: Instant) -> None:
        due = self._liveness.due(now)
        if due is LivenessAction.PROBE:
            self._probe(now)
        elif due is LivenessAction.DEAD:
            silence = self._liveness.silence(now)
            self._record(LogEventKind.PEER_DEAD, now, connection_no=self.dial, value=silence)
            self._effects.append(AbortTransport(self.dial))
            self._lost(now, None)

    def _probe_now(self, now: Instant) -> None:
        if self.state is ClientState.OPEN and self._liveness.suspect(now) is LivenessAction.PROBE:
            self._probe(now)

    def _probe(self, now: Instant) -> None:
        self._probes += 1
        self._record(LogEventKind.PEER_SUSPECTED, now, value=self._liveness.silence(now))
        self._send(Probe(self._probes))

    def _lost(self, now: Instant, advice: Seconds | None) -> None:
        if self.state is ClientState.OPEN:
            self._backoff.lost(now)
        self._retry(now, advice)

    def _retry(self, now: Instant, advice: Seconds | None) -> None:
        backoff = self._backoff
        u = self._draw("backoff", backoff.incident, backoff.attempt + 1)
        retry = backoff.next(now, u, self.window, advice)
        if retry is None:
            self._go(ClientState.GAVE_UP)
            self._record(LogEventKind.GAVE_UP, now, attempt=backoff.attempt, value=now - backoff.lost_at)
            self._deadline = None
            return
        self._go(ClientState.BACKING_OFF)
        self._record(LogEventKind.BACKOFF_SCHEDULED, now, attempt=retry.attempt, value=retry.delay, cause=retry.cause)
        self._deadline = now + retry.delay

    def _end(self, dismissal: Dismissal, now: Instant) -> None:
        self.dismissal = dismissal
        self._close()
        kind = _ENDINGS.get(dismissal.code, LogEventKind.CLIENT_DISMISSED)
        self._record(kind, now, cause=dismissal.cause, detail=dismissal.reason or None)
