"""Drives one client machine over its cohort's link. Carries out effects in order; decides nothing."""

from __future__ import annotations

from functools import partial
from typing import Generic, TypeVar

from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.effects import AbortTransport, CloseTransport, OpenTransport, Record, SendToServer
from resilience.protocol.messages import ServerMessage
from resilience.protocol.states import ClientState
from resilience.runtime import RecordSink
from resilience.units import Seconds

from .clock import LazyTimer, SimEnvironment
from .connection import ModelConnection
from .encoding import MessageCodecHook
from .link import ModelLink
from .process import ModelProcess

M_co = TypeVar("M_co", bound=ReconnectingConnection, covariant=True)


class ModelClientDriver(Generic[M_co]):
    """One client: the machine, its current connection, its alarm; it stands still while its ``process`` does.

    ``lateness``: by how many seconds its alarm rings late.
    """

    __slots__ = (
        "_clock",
        "_connection",
        "_lateness",
        "_link",
        "_log",
        "_process",
        "_timer",
        "_wire",
        "actor",
        "cohort",
        "machine",
    )

    def __init__(  # noqa: PLR0913 - all that one client depends on
        self,
        actor: str,
        cohort: str,
        machine: M_co,
        *,
        clock: SimEnvironment,
        link: ModelLink,
        log: RecordSink,
        wire: MessageCodecHook,
        process: ModelProcess,
        lateness: Seconds = 0.0,
    ) -> None:
        self._lateness = lateness
        self.actor, self.cohort, self.machine = actor, cohort, machine
        self._clock, self._link, self._log, self._wire, self._process = clock, link, log, wire, process
        self._connection: ModelConnection | None = None
        self._timer = LazyTimer(clock, self._on_deadline)

    @property
    def is_open(self) -> bool:
        """Whether it has a session now."""
        return self.machine.state is ClientState.OPEN

    def start(self) -> None:
        """Dial for the first time."""
        if self._process.is_suspended:
            self._process.read_later(self.start)
            return
        self.machine.start(self._clock.now)
        self._pump()

    def opened(self, connection: ModelConnection) -> None:
        """The upgrade is complete."""
        if self._process.is_suspended:
            self._process.read_later(partial(self.opened, connection))
            return
        self.machine.transport_opened(connection.dial, self._clock.now)
        self._pump()

    def failed(self, connection: ModelConnection, cause: str) -> None:
        """The dial failed."""
        if self._process.is_suspended:
            self._process.read_later(partial(self.failed, connection, cause))
            return
        self._connection = None
        advice, status = connection.retry_after, connection.status
        self.machine.transport_failed(connection.dial, cause, self._clock.now, advice, status=status)
        self._pump()

    def lost(self, connection: ModelConnection, cause: str, code: int) -> None:
        """The open connection ended."""
        if self._process.is_suspended:
            self._process.read_later(partial(self.lost, connection, cause, code))
            return
        self._connection = None
        self.machine.transport_lost(connection.dial, cause, self._clock.now, code, connection.retry_after)
        self._pump()

    def receive(self, connection: ModelConnection, message: ServerMessage) -> None:
        """The server said something."""
        if self._process.is_suspended:
            self._process.read_later(partial(self.receive, connection, message))
            return
        self.machine.receive(message, connection.dial, self._clock.now)
        self._pump()

    def _on_deadline(self) -> None:
        if self._process.is_suspended:
            self._process.ring_later(self, self._on_deadline)
            return
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
        deadline = self.machine.next_deadline()
        self._timer.set(None if deadline is None else deadline + self._lateness)

    def _leave(self, dial: int) -> None:
        connection = self._connection
        if connection is not None and connection.dial == dial:
            self._connection = None
            self._link.leave(connection)
