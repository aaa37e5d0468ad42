"""What keeps the processors of a modelled server busy: handshakes, joins, resumes and ends, each with a service time.

A service time is drawn for the client, its dial and the kind of work: no other client moves it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from resilience.experiment.costs import ModelCosts
from resilience.protocol.messages import ClientMessage, Join, Resume
from resilience.random_streams import uniform
from resilience.units import Seconds

from ..station import ServiceTimes, Station
from .clock import SimEnvironment
from .connection import ModelConnection
from .station import StationDriver, ThreadStation
from .threads import ModelThread


class WorkKind(StrEnum):
    """What is to be done."""

    HANDSHAKE = "handshake"
    DETACH = "detach"
    JOIN = "join"
    RESTORE = "restore"


class Work(NamedTuple):
    """One job of the station; ``message`` asks for a join or a resume."""

    connection: ModelConnection
    kind: WorkKind
    message: ClientMessage | None = None


class ServerWork:
    """The work of one server process after another; ``done`` is called with each job after its service."""

    def __init__(
        self,
        clock: SimEnvironment,
        costs: ModelCosts,
        seed: int,
        thread: ModelThread,
        done: Callable[[Work], None],
    ) -> None:
        self._costs, self._seed, self._service = costs, seed, ServiceTimes.of(costs)
        self.station: StationDriver[Work] | ThreadStation[Work] = (
            ThreadStation(thread, costs.backlog, late=_is_handshake, done=done)
            if costs.shared_processors
            else StationDriver(clock, self._new_station, wanted=_is_client_there, done=done)
        )
        self._means = {
            WorkKind.HANDSHAKE: costs.handshake,
            WorkKind.DETACH: costs.detach,
            WorkKind.JOIN: costs.join,
            WorkKind.RESTORE: costs.restore,
        }

    def begin_handshake(self, connection: ModelConnection) -> None:
        """A handshake that was accepted waits for its turn."""
        self._enter(Work(connection, WorkKind.HANDSHAKE))

    def begin_message(self, connection: ModelConnection, message: ClientMessage) -> bool:
        """Whether this message waits for its turn; any other takes no time."""
        if not isinstance(message, Join | Resume):
            return False
        kind = WorkKind.JOIN if isinstance(message, Join) else WorkKind.RESTORE
        self._enter(Work(connection, kind, message))
        return True

    def begin_detach(self, connection: ModelConnection) -> bool:
        """Whether the end of a connection waits for its turn; with no cost it takes no time."""
        if self._costs.detach:
            self._enter(Work(connection, WorkKind.DETACH))
        return bool(self._costs.detach)

    def _enter(self, work: Work) -> None:
        self.station.enter(work, self._service_of(work))

    def _service_of(self, work: Work) -> Seconds:
        mean, connection = self._means[work.kind], work.connection
        if not self._service.vary:
            return mean
        u = uniform(self._seed, "service", connection.client.actor, work.kind.value, connection.dial)
        return self._service.draw(mean, u)

    def _new_station(self) -> Station[Work]:
        costs = self._costs
        return Station(costs.processors, costs.backlog, wasted_work=costs.wasted_work)


def _is_handshake(work: Work) -> bool:
    return work.kind is WorkKind.HANDSHAKE


def _is_client_there(work: Work) -> bool:
    return work.kind is WorkKind.DETACH or not work.connection.server_gone
