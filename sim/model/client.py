"""Drives one client machine over its cohort's link. Carries out effects in order; decides nothing."""

from __future__ import annotations

from resilience.lab.observer import ObservingClient
from resilience.protocol.effects import AbortTransport, CloseTransport, OpenTransport, Record, SendToServer
from resilience.protocol.messages import ServerMessage
from resilience.protocol.states import ClientState
from resilience.runtime import RecordSink

from .clock import LazyTimer, SimEnvironment
from .connection import ModelConnection
from .encoding import MessageCodecHook
from .link import ModelLink


class ModelClientDriver:
    """One participant: the machine, its current connection, its alarm."""

    __slots__ = ("_clock", "_connection", "_link", "_log", "_timer", "_wire", "actor", "cohort", "machine")

    def __init__(  # noqa: PLR0913 - all that one client depends on
        self,
        actor: str,
        cohort: str,
        machine: ObservingClient,
        *,
        clock: SimEnvironment,
        link: ModelLink,
        log: RecordSink,
        wire: MessageCodecHook,
    ) -> None:
        self.actor, self.cohort, self.machine = actor, cohort, machine
        self._clock, self._link, self._log, self._wire = clock, link, log, wire
        self._connection: ModelConnection | None = None
        self._timer = LazyTimer(clock, self._on_deadline)

    @property
    def is_open(self) -> bool:
        """Whether it has a session now."""
        return self.machine.state is ClientState.OPEN

    def start(self) -> None:
        """Dial for the first time."""
        self.machine.start(self._clock.now)
        self._pump()

    def opened(self, connection: ModelConnection) -> None:
        """The upgrade is complete."""
        self.machine.transport_opened(connection.dial, self._clock.now)
        self._pump()

    def failed(self, connection: ModelConnection, cause: str) -> None:
        """The dial failed."""
        self._connection = None
        advice, status = connection.retry_after, connection.status
        self.machine.transport_failed(connection.dial, cause, self._clock.now, advice, status=status)
        self._pump()

    def lost(self, connection: ModelConnection, cause: str, code: int) -> None:
        """The open connection ended."""
        self._connection = None
        self.machine.transport_lost(connection.dial, cause, self._clock.now, code, connection.retry_after)
        self._pump()

    def receive(self, connection: ModelConnection, message: ServerMessage) -> None:
        """The server said something."""
        self.machine.receive(message, connection.dial, self._clock.now)
        self._pump()

    def _on_deadline(self) -> None:
        self.machine.handle_timeout(self._clock.now)
        self._pump()

    def _pump(self) -> None:
        for effect in self.machine.effects():
            if isinstance(effect, Record):
                self._log(effect)
            elif isinstance(effect, SendToServer):
                if self._connection is not None:
                    self._link.send_up(self._connection, self._wire.up(effect.message))
            elif isinstance(effect, OpenTransport):
                self._connection = self._link.dial(self, effect.dial)
            elif isinstance(effect, AbortTransport | CloseTransport):
                self._leave(effect.dial)
        self._timer.set(self.machine.next_deadline())

    def _leave(self, dial: int) -> None:
        connection = self._connection
        if connection is not None and connection.dial == dial:
            self._connection = None
            self._link.leave(connection)
