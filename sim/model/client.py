"""Drives one client machine over its cohort's link. Carries out effects in order; decides nothing.

What a client's process has to do for it waits behind what the process does for others, and takes the time that the
costs say.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from resilience.experiment.costs import ModelCosts
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.effects import AbortTransport, CloseTransport, OpenTransport, Record, SendToServer
from resilience.protocol.messages import Joined, ServerMessage, StateRestored
from resilience.protocol.states import ClientState
from resilience.runtime import RecordSink
from resilience.units import Seconds

from .clock import LazyTimer, SimEnvironment
from .connection import ModelConnection
from .encoding import MessageCodecHook
from .link import ModelLink
from .process import ModelProcess
from .threads import ModelThread

M_co = TypeVar("M_co", bound=ReconnectingConnection, covariant=True)


class ModelClientDriver(Generic[M_co]):
    """One client: the machine, its current connection, its alarm; it stands still while its ``process`` does.

    ``thread``: that of its process, which others may share.
    """

    __slots__ = (
        "_clock",
        "_connection",
        "_costs",
        "_link",
        "_log",
        "_process",
        "_thread",
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
        thread: ModelThread,
        costs: ModelCosts,
    ) -> None:
        self._thread, self._costs = thread, costs
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
        self._work(0.0, self._start)

    def opened(self, connection: ModelConnection) -> None:
        """The response to the handshake has arrived."""
        self._work(self._costs.client_message, partial(self._opened, connection))

    def failed(self, connection: ModelConnection, cause: str) -> None:
        """The dial failed."""
        self._work(0.0, partial(self._failed, connection, cause))

    def lost(self, connection: ModelConnection, cause: str, code: int) -> None:
        """The open connection ended."""
        self._work(self._costs.client_loss, partial(self._lost, connection, cause, code))

    def receive(self, connection: ModelConnection, message: ServerMessage) -> None:
        """The server said something."""
        work = self._costs.client_message if isinstance(message, Joined | StateRestored) else 0.0
        self._work(work, partial(self._receive, connection, message))

    # what its process does for it, in the order of arrival ------------------------------------------------------------

    def _work(self, work: Seconds, action: Callable[[], None]) -> None:
        """Act once the process has done this work, and runs."""
        self._thread.do(work, partial(self._act, action))

    def _act(self, action: Callable[[], None]) -> None:
        if self._process.is_suspended:
            self._process.read_later(action)
        else:
            action()

    def _start(self) -> None:
        self.machine.start(self._clock.now)
        self._pump()

    def _opened(self, connection: ModelConnection) -> None:
        self.machine.transport_opened(connection.dial, self._clock.now)
        self._pump()

    def _failed(self, connection: ModelConnection, cause: str) -> None:
        self._connection = None
        advice, status = connection.retry_after, connection.status
        self.machine.transport_failed(connection.dial, cause, self._clock.now, advice, status=status)
        self._pump()

    def _lost(self, connection: ModelConnection, cause: str, code: int) -> None:
        self._connection = None
        self.machine.transport_lost(connection.dial, cause, self._clock.now, code, connection.retry_after)
        self._pump()

    def _receive(self, connection: ModelConnection, message: ServerMessage) -> None:
        self.machine.receive(message, connection.dial, self._clock.now)
        self._pump()

    def _on_deadline(self) -> None:
        self._thread.do(0.0, self._ring)

    def _ring(self) -> None:
        if self._process.is_suspended:
            self._process.ring_later(self, self._ring)
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
                self._connection = connection = ModelConnection(self._link, self, effect.dial)
                self._thread.do(self._costs.client_dial, partial(self._link.dial, connection))
            elif isinstance(effect, AbortTransport | CloseTransport):
                self._leave(effect.dial)
        deadline = self.machine.next_deadline()
        self._timer.set(None if deadline is None else deadline + self._costs.timer)

    def _leave(self, dial: int) -> None:
        connection = self._connection
        if connection is not None and connection.dial == dial:
            self._connection = None
            self._link.leave(connection)
