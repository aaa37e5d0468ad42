"""A host's side of the protocol: show the key, create the event, send commands, receive its status. Pure.

``ReconnectingConnection`` connects and reconnects. A command carries the step it was meant for and is sent again, with
that step, until its result arrives: so it is carried out once, and ``stale_step`` says that it was done already, or
that another host or a timer was quicker.
"""

from __future__ import annotations

from resilience.policy.close_codes import CloseCode
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.client.connection import SLEPT, ClientRules, ReconnectingConnection
from resilience.protocol.messages import (
    CreateEvent,
    Error,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    HostStatus,
    Ping,
    Pong,
    ProbeReply,
    ServerMessage,
)
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.random_streams import UniformSource
from resilience.units import Instant, Seconds

CREATE = "create"
"""The action of a result that answers :class:`CreateEvent`."""

_NEXT_ACTION: dict[str, HostAction] = {
    Phase.LOBBY: HostAction.START,
    Phase.QUESTION: HostAction.REVEAL,
    Phase.REVEAL: HostAction.NEXT,
    Phase.LEADERBOARD: HostAction.NEXT,
}


def next_action(phase: str) -> HostAction | None:
    """The action that ends this phase; ``None`` for the last phase."""
    return _NEXT_ACTION.get(phase)


class HostMachine(ReconnectingConnection):
    """A host's decisions. ``plan`` is what the event is created from if it does not exist yet.

    A server sends no pings to hosts, so a reply is owed to this side all the time, and the client probes.
    """

    def __init__(self, event: str, key: str, plan: QuizPlan | None, rules: ClientRules, draw: UniformSource) -> None:
        super().__init__(rules, draw)
        self.event, self.plan = event, plan
        self.status: HostStatus | None = None
        self.pending: HostCommand | None = None
        self._key = key
        self._step = 0
        self._creating = False

    # the application's requests ---------------------------------------------------------------------------------------

    def order(self, action: HostAction) -> bool:
        """Send a command, now or when the connection is back.

        Returns whether it was accepted: not while the last one is unanswered, nor before the first status.
        """
        if self.pending is not None or self.status is None or self.state is ClientState.CLOSED:
            return False
        self.pending = HostCommand(action, self._step)
        if self.state is ClientState.OPEN:
            self._send_pending()
        return True

    def create(self) -> bool:
        """Create the event from the plan again.

        No effect while the event has this plan, rejected if it has another, a new run if it is over.

        Returns whether the request was sent: not without a plan or a connection.
        """
        if self.plan is None or self._creating or self.state is not ClientState.OPEN:
            return False
        self._creating = True
        self._send(CreateEvent(self.plan))
        return True

    def transport_lost(  # noqa: PLR0913 - as in the base class
        self,
        dial: int,
        cause: str,
        now: Instant,
        code: int = CloseCode.ABNORMAL,
        advice: Seconds | None = None,
        *,
        reason: str = "",
    ) -> None:
        """An open transport ended; after this host started a new run, the old run's end is not the host's."""
        if self._creating and code == CloseCode.NORMAL:
            code = CloseCode.GOING_AWAY
        super().transport_lost(dial, cause, now, code, advice, reason=reason)

    def slept(self, now: Instant) -> None:
        """The computer slept, and the clock of ``now`` stood still meanwhile: a countdown on it is wrong."""
        if self.status is not None and self.status.remaining_ms is not None:
            self.resume(SLEPT, now)
        super().slept(now)

    # the server's messages --------------------------------------------------------------------------------------------

    def _send_first_message(self, now: Instant) -> None:  # noqa: ARG002 - the link's signature
        self._send(Host(event=self.event, key=self._key))

    def _receive_joining(self, message: ServerMessage, now: Instant) -> None:
        if isinstance(message, Error):
            self._first_message_rejected(message, now)
        elif isinstance(message, Hosting):
            self._session_opened(now)
            self._mark_restored(now)
            self._liveness.asked(now)
            self._creating = False
            if message.status is None:
                self.create()
                self._deliver(message, now)
            else:
                self._created(message, now)

    def _receive_open(self, message: ServerMessage, now: Instant) -> None:
        if isinstance(message, Ping):
            self.window = ReturnWindow(message.spread_ms / 1000, message.step_ms / 1000, message.cap_ms / 1000)
            self._send(Pong(message.id))
        elif isinstance(message, ProbeReply):
            self._liveness.answered(now, owing=True)
        elif isinstance(message, HostStatus):
            self._on_status(message)
            self._deliver(message, now)
        elif isinstance(message, Hosting):
            self._created(message, now)
        elif isinstance(message, HostResult):
            self._on_host_result(message, now)
        else:
            self._deliver(message, now)

    def _created(self, message: Hosting, now: Instant) -> None:
        """The event exists; send a pending command again."""
        if message.status is not None:
            self._creating = False
            self._on_status(message.status)
            self._send_pending()
            self._deliver(message, now)

    def _on_status(self, status: HostStatus) -> None:
        self.status = status
        self._step = status.step

    def _send_pending(self) -> None:
        if self.pending is not None:
            self._send(self.pending)

    def _on_host_result(self, message: HostResult, now: Instant) -> None:
        if message.action == CREATE:
            self._creating = False
        elif self.pending is not None and message.action == self.pending.action:
            self.pending, self._step = None, message.step
        else:
            return
        self._liveness.answered(now, owing=True)
        self._deliver(message, now)
