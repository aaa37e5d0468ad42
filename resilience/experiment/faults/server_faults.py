"""The kinds of faults that act on the server. Pure."""

from __future__ import annotations

from typing import ClassVar

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults.declaration import AND_POPULATION, Composition, Fault, FaultEdge
from resilience.experiment.primitives import (
    Crash,
    Direction,
    DrainServer,
    FaultTarget,
    Kill,
    ResumeServer,
    ServerDraining,
    ServerGone,
    ServerSilent,
    Start,
    SuspendServer,
)
from resilience.units import Seconds


class ServerKillFault(Fault, frozen=True, tag="server_kill", kw_only=True):
    """The server is killed, and started again after ``duration`` seconds.

    With ``crash``, which only the virtual lane can carry out, the server dies where that says and starts again when
    that says, within the window of ``duration`` seconds. Connections end with the process: by the window's end.
    """

    duration: Seconds
    crash: Crash | None = None

    target: ClassVar[FaultTarget] = FaultTarget.SERVER
    connections_end: ClassVar[FaultEdge | None] = FaultEdge.END
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

    @property
    def lasts(self) -> Seconds | None:
        """The pause of a crash."""
        return None if self.crash is None else self.crash.pause

    @property
    def composition(self) -> Composition:
        """Kills; starts a server on the same database."""
        return Composition(begin=(Kill(self.crash),), end=(Start(),), symptom=ServerGone())


class ServerSuspendFault(Fault, frozen=True, tag="server_suspend", kw_only=True):
    """The server stands still for ``duration`` seconds, and then continues as if no time had passed."""

    duration: Seconds

    target: ClassVar[FaultTarget] = FaultTarget.SERVER
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

    @property
    def silent_ways(self) -> tuple[Direction, ...]:
        """Both: a server that stands still neither hears nor speaks."""
        return Direction.BOTH.ways

    @property
    def composition(self) -> Composition:
        """Suspends; resumes."""
        return Composition(begin=(SuspendServer(),), end=(ResumeServer(),), symptom=ServerSilent())


class ServerDrainFault(Fault, frozen=True, tag="server_drain", kw_only=True):
    """The server ends in order, as at a deploy, and another one starts ``duration`` seconds after the order.

    ``duration`` must leave the server the time to drain.
    """

    duration: Seconds

    target: ClassVar[FaultTarget] = FaultTarget.SERVER
    connections_end: ClassVar[FaultEdge | None] = FaultEdge.END
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

    @property
    def composition(self) -> Composition:
        """Drains; starts a server on the same database."""
        return Composition(begin=(DrainServer(),), end=(Start(),), symptom=ServerDraining())
