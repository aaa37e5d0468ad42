"""One WebSocket connection's life at the server, from its transport's opening to its end, as a table of states. Pure.

Whether a connection may be opened, what it may send first, how fast and how wrong it may send, and how it is closed is
decided here. Participants and the quiz are the room's: a message for it is not an effect but the result of
:meth:`ServerConnection.receive`, so that the usual message allocates nothing. All connections of a server share one
:class:`ServerConnections`, which holds their effects and deadlines. Transports, rooms and storage are the driver's.
"""

from __future__ import annotations

import hmac
import sys
from collections import deque
from collections.abc import Callable

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.addresses import network_of
from resilience.policy.close_codes import CloseCode, retry_after_reason
from resilience.policy.failure_detectors import lag_of
from resilience.policy.handshake import HandshakePolicy, HandshakeRejection, HandshakeRequest
from resilience.policy.rate_limits import MAX_PIECE_BYTES, InputMeter, TokenBucket
from resilience.protocol.effects import (
    AbortConnection,
    AttachHost,
    ConnectionEffect,
    Disconnect,
    LeaveRoom,
    OpenEvent,
    Record,
    SendToClient,
    SetMaxMessageSize,
)
from resilience.protocol.messages import (
    PROTOCOL_VERSION,
    ClientMessage,
    CreateEvent,
    Error,
    ErrorCode,
    Host,
    Hosting,
    HostResult,
    Join,
    Joined,
    Probe,
    ProbeReply,
    Resume,
    ResumeRejected,
    ServerMessage,
    StateRestored,
)
from resilience.protocol.server.event_location import TRY_AGAIN_REASONS, EventLocation
from resilience.protocol.server.settings import ConnectionSettings
from resilience.protocol.server.transports import OpenTransports
from resilience.protocol.states import SERVER_CONNECTION_TRANSITIONS, ServerConnectionState, transition
from resilience.protocol.timeouts import TimeoutQueue
from resilience.quiz.plan import QuizPlan
from resilience.units import Instant, Seconds

MAX_HOST_MESSAGE_BYTES = 1_048_576
"""The longest message of a host: all questions of an event."""

CLOSED_CAUSE, SLOW_CAUSE = "closed", "slow"
"""The causes of an end without a close frame: the transport's end, and a client cut off because it reads too slowly."""

_JOIN_MESSAGES, _WELCOMES = (Join, Resume), (Joined, StateRestored)

_HANDSHAKING = ServerConnectionState.HANDSHAKING
_AWAITING = ServerConnectionState.AWAITING_FIRST_MESSAGE
_JOINING = ServerConnectionState.JOINING
_PARTICIPANT = ServerConnectionState.PARTICIPANT
_HOST = ServerConnectionState.HOST
_DRAINING = ServerConnectionState.DRAINING
_CLOSED = ServerConnectionState.CLOSED


class ServerConnections:
    """What all connections of one server share: policy, host key, where events run, deadlines and effects.

    ``locate`` returns where an event runs. Without ``host_key`` every host is refused. From ``max_transports`` open
    transports on, each new one takes the place of one whose handshake is unfinished.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        handshake: HandshakePolicy,
        *,
        locate: Callable[[str], EventLocation],
        host_key: str | None = None,
        max_transports: int = sys.maxsize,
    ) -> None:
        self.settings, self.handshake, self.locate = settings, handshake, locate
        self.host_key = None if host_key is None else host_key.encode()
        self.transports: OpenTransports[ServerConnection] = OpenTransports(max_transports)
        self.pending: list[ConnectionEffect] = []
        self.first_message_timeouts: TimeoutQueue[ServerConnection] = TimeoutQueue(settings.first_message_deadline)
        self.idle_host_timeouts: TimeoutQueue[ServerConnection] = TimeoutQueue(settings.idle_host_timeout)

    @property
    def count(self) -> int:
        """How many transports are open."""
        return len(self.transports)

    def open(self, key: int, now: Instant, peer: str = "") -> ServerConnection:
        """Return the machine of a transport that was opened; the first-message deadline counts from now.

        ``peer`` is the network address of its other end. A handshake that gives way to it counts as late.
        """
        connection = ServerConnection(self, key)
        replaced = self.transports.opened(connection, network_of(peer))
        if replaced is not None:
            replaced.give_way(now)
        self.first_message_timeouts.start(connection, now)
        return connection

    def next_deadline(self) -> Instant | None:
        """When :meth:`handle_timeout` must be called; ``None`` for never."""
        first, idle = self.first_message_timeouts.next_deadline(), self.idle_host_timeouts.next_deadline()
        if first is None or idle is None:
            return idle if first is None else first
        return min(first, idle)

    def handle_timeout(self, now: Instant) -> None:
        """Close every connection whose deadline has passed; harmless when called early.

        A late call first gives every connection the lag back: its message may wait to be read.
        """
        lag = lag_of(self.next_deadline(), now)
        if lag:
            self.first_message_timeouts.extend_by_lag(lag, now)
            self.idle_host_timeouts.extend_by_lag(lag, now)
        for connection in self.first_message_timeouts.due(now):
            connection.first_message_late(now)
        for connection in self.idle_host_timeouts.due(now):
            connection.close(CloseCode.SILENT, "no sign of life")

    def effects(self) -> list[ConnectionEffect]:
        """Return what the driver must do now; each effect is returned once."""
        effects, self.pending = self.pending, []
        return effects

    def stop(self) -> None:
        """Cancel every deadline."""
        self.first_message_timeouts.clear()
        self.idle_host_timeouts.clear()


class ServerConnection:
    """One connection, under the driver's ``key``. ``address`` is the one that the limits of one address count.

    ``event`` is the one that its first message named; ``has_room`` whether that event's room knows the connection.
    ``input`` is the meter of what it sends: a driver that receives bytes asks it how many it may parse.
    """

    __slots__ = (
        "_cause",
        "_plans",
        "_retry_after",
        "_shared",
        "_strikes",
        "address",
        "event",
        "has_room",
        "input",
        "key",
        "state",
    )

    def __init__(self, shared: ServerConnections, key: int) -> None:
        self.state = _HANDSHAKING
        self.key, self.address, self.event, self.has_room = key, "", "", False
        self._shared = shared
        self._strikes = 0
        self._cause = CLOSED_CAUSE
        self._retry_after: Seconds | None = None
        tokens = TokenBucket(shared.settings.message_rate, shared.settings.message_burst)
        self.input = InputMeter(tokens, first=MAX_PIECE_BYTES)
        self._plans: deque[QuizPlan] | None = None

    @property
    def is_ended(self) -> bool:
        """Whether the server has closed it, or its transport is gone: its messages are ignored."""
        return self.state is _CLOSED or self.state is _DRAINING

    # the handshake ----------------------------------------------------------------------------------------------------

    def handshake_received(
        self, request: HandshakeRequest, now: Instant, lag: Seconds = 0.0
    ) -> HandshakeRejection | None:
        """Return the rejection to answer the handshake with, or ``None`` to complete it.

        ``lag`` is how late the server runs at this moment, in seconds. A browser cannot read the status of a rejected
        handshake: one that may come back is accepted, and closed with 4100 and its Retry-After right after that.
        """
        if self.state is not _HANDSHAKING:
            return None
        shared = self._shared
        self.address = shared.handshake.address_of(request)
        self.input.share(shared.handshake.message_tokens(self.address, now))
        connections = shared.transports.handshake_arrived(self)
        rejection = shared.handshake.check(request, self.address, now, lag=lag, connections=connections)
        if rejection is None:
            return None
        wait = rejection.retry_after
        kind = LogEventKind.CONNECTION_REFUSED if wait is None else LogEventKind.JOIN_SHED
        shared.pending.append(Record(kind, now, cause=rejection.cause, value=wait))
        if wait is not None and request.origins:
            self._retry_after = wait
            return None
        self._end(_CLOSED)
        return rejection

    def handshake_completed(self) -> None:
        """The handshake was answered with 101."""
        if self._retry_after is not None:
            self.close(CloseCode.OVERLOADED, retry_after_reason(self._retry_after))
        elif self.state is _HANDSHAKING:
            self._go(_AWAITING)

    # messages ---------------------------------------------------------------------------------------------------------

    def input_wait(self, now: Instant) -> Seconds:
        """How long to wait before more of this connection's bytes may be parsed; 0 if the others are to come first."""
        return self._delayed(self.input.wait(now), now)

    def _delayed(self, wait: Seconds, now: Instant) -> Seconds:
        """A host that is read late cannot show a sign of life meanwhile."""
        if wait:
            self._shared.pending.append(Record(LogEventKind.MESSAGE_DELAYED, now, value=wait))
            self._shared.idle_host_timeouts.cancel(self)
        return wait

    def receive(self, message: ClientMessage, now: Instant) -> bool:
        """Receive a message. Returns whether the driver must pass it to the room of :attr:`event`."""
        state = self.state
        if state is _PARTICIPANT:
            return True
        if state is _JOINING:
            if isinstance(message, _JOIN_MESSAGES):
                self._shared.first_message_timeouts.cancel(self)
            return True
        if state is _HOST:
            return self._receive_from_host(message, now)
        return state is _AWAITING and self._receive_first(message, now)

    def receive_malformed(self, field: str, rule: str, now: Instant) -> None:
        """Receive a message that could not be decoded because ``field`` breaks ``rule``."""
        if self.is_ended:
            return
        self._send_error(ErrorCode.MALFORMED, field, rule, now)
        self._strike(now)
        self._restart_idle_timeout(now)

    def _receive_first(self, message: ClientMessage, now: Instant) -> bool:
        if isinstance(message, Join | Resume):
            return self._join(message.event, now)
        if isinstance(message, Host):
            self._accept_host(message, now)
        else:
            self._send_error(ErrorCode.UNEXPECTED, "type", "the first message must be join or resume", now)
            self._strike(now)
        return False

    def _join(self, event: str, now: Instant) -> bool:
        location = self._shared.locate(event)
        if location is EventLocation.HERE:
            self.event, self.has_room = event, True
            self._go(_JOINING)
            self._first_message_accepted()
            return True
        if location in TRY_AGAIN_REASONS:
            self.close(CloseCode.TRY_AGAIN_LATER, TRY_AGAIN_REASONS[location])
        else:
            self._refuse(CloseCode.EVENT_UNKNOWN, "there is no such event here", "event", now)
        return False

    def _first_message_accepted(self) -> None:
        self._shared.first_message_timeouts.cancel(self)
        self._strikes = 0

    def _strike(self, now: Instant) -> None:
        self._strikes += 1
        if self._strikes < self._shared.settings.strike_limit:
            return
        if self.state is _AWAITING:
            reason = "too many useless messages"
        else:
            self._shared.handshake.record_failure(self.address, now)
            reason = "too many unreadable messages"
        self._refuse(CloseCode.STRIKES, reason, "strikes", now)

    def _send_error(self, code: ErrorCode, field: str, rule: str, now: Instant) -> None:
        self._shared.pending.append(Record(LogEventKind.MESSAGE_REFUSED, now, cause=code))
        self._shared.pending.append(SendToClient(self.key, Error(code, field, rule)))

    # the room's answers -----------------------------------------------------------------------------------------------

    def message_sent(self, message: ServerMessage, now: Instant) -> None:
        """The room has sent this message, which may be its answer to the join or resume."""
        if self.state is not _JOINING:
            return
        if isinstance(message, _WELCOMES):
            self._go(_PARTICIPANT)
        elif isinstance(message, ResumeRejected):
            self._resume_rejected(now)

    def _resume_rejected(self, now: Instant) -> None:
        """Count the first-message deadline again; close an address with too many failures with a Retry-After."""
        wait = self._shared.handshake.record_failure(self.address, now)
        if wait:
            self._shed_address(wait, now)
        else:
            self._shared.first_message_timeouts.start(self, now)

    def _shed_address(self, wait: Seconds, now: Instant) -> None:
        """Close because this address has failed too often."""
        self._shared.pending.append(Record(LogEventKind.JOIN_SHED, now, cause="address", value=wait))
        self.close(CloseCode.OVERLOADED, retry_after_reason(wait))

    # hosts ------------------------------------------------------------------------------------------------------------

    def _accept_host(self, message: Host, now: Instant) -> None:
        if message.protocol != PROTOCOL_VERSION:
            self._refuse(CloseCode.PROTOCOL_ERROR, f"this server speaks protocol {PROTOCOL_VERSION}", "protocol", now)
            return
        key = self._shared.host_key
        wait = self._shared.handshake.key_wait(self.address, now)
        if wait:
            self._shed_address(wait, now)
            return
        if key is None or not hmac.compare_digest(message.key.encode(), key):
            self._shared.handshake.record_wrong_key(self.address, now)
            reason = "this server takes no hosts" if key is None else "the host key is wrong"
            self._refuse(CloseCode.KEY_REFUSED, reason, "key", now)
            return
        self._go(_HOST)
        self._first_message_accepted()
        self.event, self._plans = message.event, deque()
        self._shared.pending.append(SetMaxMessageSize(self.key, MAX_HOST_MESSAGE_BYTES))
        location = self._shared.locate(message.event)
        if location in TRY_AGAIN_REASONS:
            self.close(CloseCode.TRY_AGAIN_LATER, TRY_AGAIN_REASONS[location])
        elif not self._attach_if_here():
            self._shared.pending.append(SendToClient(self.key, Hosting(message.event)))
            self._restart_idle_timeout(now)

    def _receive_from_host(self, message: ClientMessage, now: Instant) -> bool:
        if isinstance(message, CreateEvent):
            self._queue_plan(message.plan)
        elif self.has_room:
            return True
        elif isinstance(message, Probe):
            self._shared.pending.append(SendToClient(self.key, ProbeReply(message.id)))
        else:
            self._send_error(ErrorCode.UNEXPECTED, "type", "create the event first", now)
        self._restart_idle_timeout(now)
        return False

    def event_opened(self) -> None:
        """The event of the last :class:`~resilience.protocol.effects.OpenEvent` is open."""
        if self.state is _HOST:
            self._shared.pending.append(SendToClient(self.key, HostResult("create", "done", 0)))
            self._attach_if_here()
            self._open_next()

    def event_not_opened(self, rule: str) -> None:
        """The event of the last :class:`~resilience.protocol.effects.OpenEvent` was not opened because of ``rule``."""
        if self.state is _HOST:
            self._shared.pending.append(SendToClient(self.key, HostResult("create", "refused", 0, rule)))
            self._open_next()

    def _queue_plan(self, plan: QuizPlan) -> None:
        """Events of one host are opened one after the other."""
        if self._plans is not None:
            self._plans.append(plan)
            if len(self._plans) == 1:
                self._shared.pending.append(OpenEvent(self.key, self.event, plan))

    def _open_next(self) -> None:
        if self._plans:
            self._plans.popleft()
        if self._plans:
            self._shared.pending.append(OpenEvent(self.key, self.event, self._plans[0]))

    def _attach_if_here(self) -> bool:
        if self._shared.locate(self.event) is not EventLocation.HERE:
            return False
        self.has_room = True
        self._shared.idle_host_timeouts.cancel(self)
        self._shared.pending.append(AttachHost(self.key, self.event))
        return True

    def _restart_idle_timeout(self, now: Instant) -> None:
        """Without a room to notice it, the silence of a host is bounded here."""
        if self.state is _HOST and not self.has_room:
            self._shared.idle_host_timeouts.start(self, now)

    # the end ----------------------------------------------------------------------------------------------------------

    def first_message_late(self, now: Instant) -> None:
        """The first-message deadline has passed."""
        self._shared.pending.append(Record(LogEventKind.CONNECTION_REFUSED, now, cause="late"))
        if self.state is _HANDSHAKING:
            self._abort()
        else:
            self.close(CloseCode.FIRST_MESSAGE_LATE, "say join or resume first")

    def give_way(self, now: Instant) -> None:
        """Another connection needs the socket, and this one is not in use: cut it off."""
        if not self.is_ended:
            self._shared.pending.append(Record(LogEventKind.CONNECTION_REFUSED, now, cause="late"))
        self._abort()

    def slow_consumer(self) -> None:
        """More than the write buffer's limit waits for this client: cut it off; it may resume."""
        self._cause = SLOW_CAUSE
        self._abort()

    def close(self, code: int, reason: str) -> None:
        """Close with this code, once; a silent client cannot take part in a closing handshake and is cut off."""
        if code == CloseCode.SILENT:
            self._abort()
        elif not self.is_ended:
            self._end(_CLOSED)
            self._shared.pending.append(Disconnect(self.key, code, reason))

    def drain(self, retry_after: Seconds) -> None:
        """Close because the server stops; the client is to come back after ``retry_after`` seconds.

        A connection without a handshake can receive no close frame: it is cut off.
        """
        if self.state is _HANDSHAKING:
            self._abort()
        elif not self.is_ended:
            self._end(_DRAINING)
            self._shared.pending.append(
                Disconnect(self.key, CloseCode.SERVICE_RESTART, retry_after_reason(retry_after))
            )

    def transport_lost(self, now: Instant, *, is_violation: bool = False) -> None:
        """The transport is gone; messages that came before may still be received.

        ``is_violation``: the WebSocket library ended it because the peer broke RFC 6455 or the limit on a message's
        size.
        """
        self._shared.transports.lost(self)
        self._cancel_timeouts()
        if is_violation and not self.is_ended:
            self._shared.pending.append(Record(LogEventKind.CONNECTION_REFUSED, now, cause="protocol"))
        if self.state is _HANDSHAKING:
            self._go(_CLOSED)

    def input_ended(self, code: int | None) -> None:
        """No message will come any more; ``code`` is the close code received from the peer, if there was one."""
        cause = self._cause
        if code is not None and cause == CLOSED_CAUSE:
            cause = f"close_{int(code)}"
        if self.state is not _CLOSED:
            self._end(_CLOSED)
        self._cancel_timeouts()
        if self.has_room:
            self.has_room = False
            self._shared.pending.append(LeaveRoom(self.key, cause))

    def _refuse(self, code: CloseCode, reason: str, cause: str, now: Instant) -> None:
        self._shared.pending.append(Record(LogEventKind.CONNECTION_REFUSED, now, cause=cause))
        self.close(code, reason)

    def _abort(self) -> None:
        if not self.is_ended:
            self._end(_CLOSED)
        self._shared.transports.aborted(self)
        self._shared.pending.append(AbortConnection(self.key))

    def _end(self, state: ServerConnectionState) -> None:
        self._go(state)
        self._shared.transports.closing(self)
        self._cancel_timeouts()
        self._plans = None

    def _cancel_timeouts(self) -> None:
        self._shared.first_message_timeouts.cancel(self)
        self._shared.idle_host_timeouts.cancel(self)

    def _go(self, state: ServerConnectionState) -> None:
        self.state = transition(SERVER_CONNECTION_TRANSITIONS, self.state, state)
