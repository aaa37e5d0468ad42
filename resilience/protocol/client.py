"""One participant's side of the protocol: dial, join or resume, notice silence, come back. Pure.

A driver feeds it what happened, drains :meth:`ClientMachine.effects` after every call, and calls
:meth:`ClientMachine.handle_timeout` at :meth:`ClientMachine.next_deadline`. Whatever arrives under an old dial number
is ignored, so a late close or message of an abandoned socket changes nothing.
"""

from __future__ import annotations

import msgspec

from resilience.draws import Draw
from resilience.events import EventKind
from resilience.policy.backoff import Backoff, BackoffPolicy
from resilience.policy.liveness import ClientLiveness, Due, ProbeRules
from resilience.policy.retry import CloseCode, RetryClass, retry_class
from resilience.policy.window import ReturnWindow
from resilience.protocol.effects import Abandon, ClientEffect, Deliver, Dial, Hangup, Record, SendUp
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    ClientMessage,
    Credentials,
    Join,
    Joined,
    LeaderboardShown,
    Leave,
    Message,
    Ping,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    QuestionOpened,
    QuestionRevealed,
    QuizFinished,
    Resume,
    ResumeRejected,
    ServerMessage,
    StateRestored,
    TokenStored,
)
from resilience.protocol.states import CLIENT_TRANSITIONS, ClientState, moved
from resilience.units import Instant, Seconds

_ENDINGS: dict[int, EventKind] = {
    CloseCode.SUPERSEDED: EventKind.SESSION_SUPERSEDED,
    CloseCode.LEFT: EventKind.CLIENT_LEFT,
}
_SEQUENCED = (QuestionOpened, QuestionRevealed, LeaderboardShown, QuizFinished, PresenceChanged)


class Identity(msgspec.Struct, frozen=True):
    """Whom the client plays as. ``instance`` must differ between any two clients alive at once."""

    event: str
    name: str
    instance: str


class ClientRules(msgspec.Struct, frozen=True):
    """The timing a client works by; timeouts in seconds."""

    backoff: BackoffPolicy
    probe: ProbeRules
    open_timeout: Seconds
    join_timeout: Seconds


class ClientMachine:
    """The client's decisions. ``draw`` yields its own random numbers by (purpose, incident, attempt)."""

    def __init__(self, identity: Identity, rules: ClientRules, draw: Draw) -> None:
        self.identity = identity
        self.state = ClientState.IDLE
        self.dial = 0
        self.credentials: Credentials | None = None
        self.window: ReturnWindow | None = None
        self.epoch, self.seq = "", 0
        self.pending: dict[str, Answer] = {}
        self._rules, self._draw = rules, draw
        self._backoff = Backoff(rules.backoff)
        self._liveness = ClientLiveness(rules.probe, 0.0)
        self._deadline: Instant | None = None
        self._probes = 0
        self._answers = 0
        self._effects: list[ClientEffect] = []

    @property
    def participant(self) -> str | None:
        """The public id the server gave, once it has."""
        return self.credentials.participant if self.credentials else None

    # what happened ----------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        """Dial for the first time; again after giving up (a click on *retry*)."""
        if self.state in (ClientState.IDLE, ClientState.GAVE_UP):
            self._backoff.lost(now)
            self._dial(now)

    def transport_opened(self, dial: int, now: Instant) -> None:
        """The dial succeeded: say who we are."""
        if dial != self.dial or self.state is not ClientState.CONNECTING:
            return
        self._go(ClientState.JOINING)
        self._record(EventKind.TRANSPORT_OPENED, now, connection_no=dial, attempt=self._backoff.attempt)
        self._deadline = now + self._rules.join_timeout
        self._introduce()

    def transport_failed(self, dial: int, cause: str, now: Instant, advice: Seconds | None = None) -> None:
        """The dial came to nothing; ``advice`` is the server's retry-after, if it sent one."""
        if dial == self.dial and self.state is ClientState.CONNECTING:
            self._record(
                EventKind.TRANSPORT_FAILED, now, connection_no=dial, attempt=self._backoff.attempt, cause=cause
            )
            self._retry(now, advice)

    def transport_lost(
        self, dial: int, cause: str, now: Instant, code: int = CloseCode.ABNORMAL, advice: Seconds | None = None
    ) -> None:
        """An open transport ended, with the close code that was received (1006 when there was none)."""
        if dial != self.dial or self.state not in (ClientState.JOINING, ClientState.OPEN):
            return
        self._record(EventKind.TRANSPORT_LOST, now, connection_no=dial, cause=cause)
        if retry_class(code) is RetryClass.NEVER:
            self._end(code, now)
        else:
            self._lost(now, advice)

    def receive(self, message: ServerMessage, dial: int, now: Instant) -> None:
        """A message arrived over this dial."""
        if dial != self.dial or self.state not in (ClientState.JOINING, ClientState.OPEN):
            return
        self._liveness.heard(now)
        if self.state is ClientState.JOINING:
            self._receive_joining(message, now)
        elif isinstance(message, _SEQUENCED):
            self._receive_sequenced(message, now)
        else:
            self._receive_open(message, now)

    def answer(self, question: str, choice: int, now: Instant) -> None:
        """Answer a question, now or when the connection is back; a second answer to it is ignored."""
        if question in self.pending or self.state in (ClientState.CLOSED, ClientState.IDLE):
            return
        self._answers += 1
        answer = Answer(question, choice, f"{self.identity.instance}-{self._answers}")
        self.pending[question] = answer
        self._record(EventKind.ANSWER_SUBMITTED, now, ref=f"{question}/{answer.key}", detail=str(choice))
        if self.state is ClientState.OPEN:
            self._send(answer)

    def leave(self, now: Instant) -> None:
        """Go on purpose: the server is told, nothing is retried."""
        if self.state is ClientState.CLOSED:
            return
        if self.state is ClientState.OPEN:
            self._send(Leave())
        self._effects.append(Hangup(self.dial))
        self._go(ClientState.CLOSED)
        self._record(EventKind.CLIENT_LEFT, now)
        self._deadline = None

    def wake(self, now: Instant) -> None:
        """Something outside changed (woke from sleep, network is back, page is visible): act on it at once."""
        if self.state is ClientState.OPEN and self._liveness.suspect(now) is Due.PROBE:
            self._probe(now)
        elif self.state is ClientState.BACKING_OFF:
            self._dial(now)
        elif self.state is ClientState.GAVE_UP:
            self.start(now)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When :meth:`handle_timeout` wants to be called; ``None`` for never."""
        return self._liveness.next_deadline() if self.state is ClientState.OPEN else self._deadline

    def handle_timeout(self, now: Instant) -> None:
        """A deadline has come; harmless when called early."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self.state is ClientState.OPEN:
            self._handle_silence(now)
        elif self.state is ClientState.BACKING_OFF:
            self._dial(now)
        elif self.state is ClientState.CONNECTING:
            self._effects.append(Abandon(self.dial))
            self.transport_failed(self.dial, "open_timeout", now)
        elif self.state is ClientState.JOINING:
            self._effects.append(Abandon(self.dial))
            self.transport_lost(self.dial, "join_timeout", now)

    def effects(self) -> list[ClientEffect]:
        """What the driver must do now, in this order; each effect is handed out once."""
        effects, self._effects = self._effects, []
        return effects

    # the parts --------------------------------------------------------------------------------------------------------

    def _go(self, state: ClientState) -> None:
        self.state = moved(CLIENT_TRANSITIONS, self.state, state)

    def _send(self, message: ClientMessage) -> None:
        self._effects.append(SendUp(message))

    def _record(  # noqa: PLR0913 - the fields of the log
        self,
        kind: EventKind,
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
        who = self.participant
        self._effects.append(Record(kind, now, who, connection_no, seq, attempt, outcome, cause, value, ref, detail))

    def _deliver(self, message: Message, now: Instant) -> None:  # noqa: ARG002 - for who plays by it
        self._effects.append(Deliver(message))

    def _dial(self, now: Instant) -> None:
        self.dial += 1
        self._go(ClientState.CONNECTING)
        attempt = self._backoff.attempt
        self._record(EventKind.TRANSPORT_OPENING, now, connection_no=self.dial, attempt=attempt)
        self._deadline = now + self._rules.open_timeout
        self._effects.append(Dial(self.dial, attempt))

    def _introduce(self) -> None:
        me = self.identity
        if self.credentials is None:
            self._send(Join(event=me.event, name=me.name, instance=me.instance))
        else:
            token = self.credentials.token
            self._send(Resume(event=me.event, token=token, instance=me.instance, epoch=self.epoch, seq=self.seq))

    def _receive_joining(self, message: ServerMessage, now: Instant) -> None:
        if isinstance(message, Joined):
            self._enter(message, EventKind.SESSION_JOINED, now)
        elif isinstance(message, StateRestored):
            self._enter(message, EventKind.SESSION_RESTORED, now)
        elif isinstance(message, ResumeRejected):
            self._record(EventKind.SESSION_REJECTED, now, cause=message.reason)
            self.credentials = None
            self._introduce()

    def _enter(self, message: Joined | StateRestored, kind: EventKind, now: Instant) -> None:
        self.credentials = message.credentials
        timing, snapshot = message.timing, message.snapshot
        self.window = ReturnWindow(timing.spread_ms / 1000, timing.step_ms / 1000, timing.cap_ms / 1000)
        self.epoch, self.seq = snapshot.epoch, snapshot.seq
        self._go(ClientState.OPEN)
        self._liveness = ClientLiveness(self._rules.probe, now)
        self._record(
            kind,
            now,
            connection_no=message.credentials.connection_no,
            seq=snapshot.seq,
            attempt=self._backoff.attempt,
            detail=snapshot.digest(),
        )
        self._backoff.restored(now)
        self._send(TokenStored(message.credentials.generation))
        for answer in self.pending.values():  # the server answers each with the verdict it already has
            self._send(answer)
        self._deliver(message, now)

    def _receive_sequenced(self, message: ServerMessage, now: Instant) -> None:
        assert isinstance(message, _SEQUENCED)  # noqa: S101 - narrows the type
        if message.seq <= self.seq:
            return
        if message.seq > self.seq + 1:
            self._effects.append(Abandon(self.dial))
            self.transport_lost(self.dial, "stream_gap", now)
            return
        self.seq = message.seq
        self._record(EventKind.STREAM_DELIVERED, now, seq=message.seq, detail=self.epoch)
        self._deliver(message, now)

    def _receive_open(self, message: ServerMessage, now: Instant) -> None:
        if isinstance(message, Ping):
            self.window = ReturnWindow(message.spread_ms / 1000, message.step_ms / 1000, message.cap_ms / 1000)
            self._send(Pong(message.id))
            self._record(EventKind.PONG_SENT, now)
        elif isinstance(message, AnswerResult):
            self._settle(message, now)
        elif not isinstance(message, ProbeReply):
            self._deliver(message, now)

    def _settle(self, message: AnswerResult, now: Instant) -> None:
        answer = self.pending.get(message.question)
        if answer is not None and answer.key == message.key:
            del self.pending[message.question]
            ref = f"{message.question}/{message.key}"
            self._record(EventKind.ANSWER_ACKED, now, ref=ref, outcome=message.verdict)
            self._deliver(message, now)

    def _handle_silence(self, now: Instant) -> None:
        due = self._liveness.due(now)
        if due is Due.PROBE:
            self._probe(now)
        elif due is Due.DEAD:
            silence = now - self._liveness.last_heard
            self._record(EventKind.PEER_DEAD, now, connection_no=self.dial, value=silence)
            self._effects.append(Abandon(self.dial))
            self._lost(now, None)

    def _probe(self, now: Instant) -> None:
        self._probes += 1
        self._record(EventKind.PEER_SUSPECTED, now, value=now - self._liveness.last_heard)
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
            self._record(EventKind.GAVE_UP, now, attempt=backoff.attempt, value=now - backoff.lost_at)
            self._deadline = None
            return
        self._go(ClientState.BACKING_OFF)
        self._record(EventKind.BACKOFF_SCHEDULED, now, attempt=retry.attempt, value=retry.delay, cause=retry.cause)
        self._deadline = now + retry.delay

    def _end(self, code: int, now: Instant) -> None:
        kind = _ENDINGS.get(code, EventKind.CLIENT_DISMISSED)
        self._go(ClientState.CLOSED)
        self._record(kind, now, cause=str(code))
        self._deadline = None
