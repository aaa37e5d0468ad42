"""Every fault kind as one declaration: its target, its begin and end as primitive operations, its symptom. Pure.

A new kind is one class here (plus a primitive where one is missing). When a fault strikes and whom is the schedule's
affair (``schedule``), how an operation is carried out each lane's. What the kinds do on the wire:

``cut``          every connection of the cohort is closed once (FIN at both ends); new ones are accepted at once.
``reset``        the same with RST.
``refuse``       every connection is closed and new ones are refused until the window ends.
``blackhole``    bytes vanish while connections stay open; new connections are accepted but never answered; a close by
                 either end still passes. When the window ends every connection is closed, since bytes are missing.
``latency``      bytes take longer each way; when the window ends every connection is closed.
``server_kill``  the server process ends at once (SIGKILL); one on the same database starts when the window ends.
``server_suspend``  the server process stops where it is (SIGSTOP) and continues when the window ends (SIGCONT): nothing
                 is lost, nothing is answered, new connections wait in the system's queue.
``server_drain`` the server is asked to end (SIGTERM): it closes each connection with advice; one on the same database
                 starts when the window ends.
``client_suspend``  the clients stand still (SIGSTOP) and continue when the window ends (SIGCONT): what was sent to them
                 waits in their system's buffers.

Each kind says by when its connections are closed (``connections_end``): where it does, no connection survives a window,
and one that is alive afterwards was not on the link that the fault acted on. Each kind also says which lanes can carry
it out (``lanes``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, get_args

import msgspec

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.primitives import (
    ClientsSilent,
    CloseAll,
    ConnectionsEnd,
    Crash,
    Delay,
    DialsRefused,
    Direction,
    DrainServer,
    Drop,
    FaultTarget,
    Impose,
    Kill,
    Lift,
    Operation,
    Refuse,
    ResetAll,
    ResumeClients,
    ResumeServer,
    ServerDraining,
    ServerGone,
    ServerSilent,
    Silence,
    SlowReplies,
    Start,
    SuspendClients,
    SuspendServer,
    Symptom,
)
from resilience.units import Instant, Seconds


class FaultEdge(StrEnum):
    """One of the two ends of a fault window."""

    BEGIN = "begin"
    END = "end"


class Composition(msgspec.Struct, frozen=True):
    """What is done when a window begins and when it ends, in this order, and what a canary must see meanwhile."""

    begin: tuple[Operation, ...]
    symptom: Symptom
    end: tuple[Operation, ...] = ()


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share: when the fault strikes, and whom.

    ``at``: seconds after the run's start. ``cohorts``: whose links or clients; a fault of the server names none.
    ``times`` repetitions, ``every`` so many seconds; or, instead of both, repetitions with independent seeded gaps of
    ``mean_gap`` seconds on average (a Poisson process), from ``at`` on, none later than ``until``. ``flaps``: each
    repetition strikes so often, ``flap_every`` seconds apart. ``rolling``: each further cohort is struck so many
    seconds later. ``jitter`` moves each repetition later by a seeded, uniform part of so many seconds. ``share``: the
    seeded part of each cohort's clients that is struck.

    ``connections_end``: by which end of the window every connection that it touches is closed; ``None`` for a kind that
    a connection can survive. ``lanes``: those that can carry the kind out.
    """

    at: Seconds
    cohorts: tuple[str, ...] = ()
    times: int = 1
    every: Seconds | None = None
    mean_gap: Seconds | None = None
    until: Instant | None = None
    flaps: int = 1
    flap_every: Seconds | None = None
    rolling: Seconds = 0.0
    jitter: Seconds = 0.0
    share: float = 1.0

    target: ClassVar[FaultTarget] = FaultTarget.LINK
    connections_end: ClassVar[FaultEdge | None] = None
    lanes: ClassVar[frozenset[Lane]] = frozenset((Lane.REAL, Lane.VIRTUAL, Lane.MODEL))

    @property
    def kind(self) -> str:
        """The fault's name in experiment files, logs and reports."""
        return str(self.__struct_config__.tag)

    @property
    def length(self) -> Seconds:
        """How long one strike lasts; 0 for one that is over at once."""
        return float(getattr(self, "duration", 0.0))

    @property
    def lasts(self) -> Seconds | None:
        """How long the fault lasts once it has begun, within its window; ``None``: to the window's end."""
        return None

    @property
    def composition(self) -> Composition:
        """What the fault does, in primitive operations."""
        raise NotImplementedError


class CutFault(Fault, frozen=True, tag="cut"):
    """All connections closed once, which is the whole fault."""

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.BEGIN

    @property
    def composition(self) -> Composition:
        """Closes; nothing is left to undo."""
        return Composition(begin=(CloseAll(),), symptom=ConnectionsEnd())


class ResetFault(Fault, frozen=True, tag="reset"):
    """All connections reset once, which is the whole fault."""

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.BEGIN

    @property
    def composition(self) -> Composition:
        """Resets; nothing is left to undo."""
        return Composition(begin=(ResetAll(),), symptom=ConnectionsEnd(reset=True))


class RefuseFault(Fault, frozen=True, tag="refuse", kw_only=True):
    """The link is down: connections closed, new ones refused, for ``duration`` seconds."""

    duration: Seconds

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.BEGIN

    @property
    def composition(self) -> Composition:
        """Refuses first, so that no client connects in between."""
        return Composition(begin=(Impose(Refuse()), CloseAll()), end=(Lift(Refuse()),), symptom=DialsRefused())


class BlackholeFault(Fault, frozen=True, tag="blackhole", kw_only=True):
    """Bytes vanish for ``duration`` seconds, in one or both directions; then the torn connections are closed."""

    duration: Seconds
    direction: Direction = Direction.BOTH

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.END

    @property
    def composition(self) -> Composition:
        """Drops bytes; lifting that closes every connection."""
        drop = Drop(self.direction)
        return Composition(begin=(Impose(drop),), end=(Lift(drop),), symptom=Silence(self.direction))


class LatencyFault(Fault, frozen=True, tag="latency", kw_only=True):
    """Bytes take ``delay`` seconds longer each way, for ``duration`` seconds; then all connections are closed."""

    duration: Seconds
    delay: Seconds

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.END

    @property
    def composition(self) -> Composition:
        """Delays bytes; lifting that closes every connection."""
        delay = Delay(self.delay)
        return Composition(begin=(Impose(delay),), end=(Lift(delay),), symptom=SlowReplies(2 * self.delay))


class ServerKillFault(Fault, frozen=True, tag="server_kill", kw_only=True):
    """The server is killed, and started again after ``duration`` seconds.

    With ``crash``, which only the virtual lane can carry out, the server dies where that says and starts again when
    that says, within the window of ``duration`` seconds. Connections end with the process: by the window's end.
    """

    duration: Seconds
    crash: Crash | None = None

    target: ClassVar[FaultTarget] = FaultTarget.SERVER
    connections_end: ClassVar[FaultEdge | None] = FaultEdge.END

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
    lanes: ClassVar[frozenset[Lane]] = frozenset((Lane.REAL, Lane.VIRTUAL))

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
    lanes: ClassVar[frozenset[Lane]] = frozenset((Lane.REAL, Lane.VIRTUAL))

    @property
    def composition(self) -> Composition:
        """Drains; starts a server on the same database."""
        return Composition(begin=(DrainServer(),), end=(Start(),), symptom=ServerDraining())


class ClientSuspendFault(Fault, frozen=True, tag="client_suspend", kw_only=True):
    """The clients of the cohorts stand still for ``duration`` seconds, and then continue as if no time had passed.

    Those that one fault strikes share a process with no others.
    """

    duration: Seconds

    target: ClassVar[FaultTarget] = FaultTarget.CLIENT
    lanes: ClassVar[frozenset[Lane]] = frozenset((Lane.REAL, Lane.VIRTUAL))

    @property
    def composition(self) -> Composition:
        """Suspends; resumes."""
        return Composition(begin=(SuspendClients(),), end=(ResumeClients(),), symptom=ClientsSilent())


AnyFault = (
    CutFault
    | ResetFault
    | RefuseFault
    | BlackholeFault
    | LatencyFault
    | ServerKillFault
    | ServerSuspendFault
    | ServerDrainFault
    | ClientSuspendFault
)


def connections_end(kind: str) -> FaultEdge | None:
    """By which end of a window of this kind its connections are closed; ``None`` where they may survive it."""
    return next((fault.connections_end for fault in get_args(AnyFault) if fault.__struct_config__.tag == kind), None)


def kinds_of(*faults: type[Fault]) -> frozenset[str]:
    """The names of these kinds."""
    return frozenset(str(fault.__struct_config__.tag) for fault in faults)


REPLACES_SERVER = kinds_of(ServerKillFault, ServerDrainFault)
"""The kinds that end the server and start another one on the same database."""
