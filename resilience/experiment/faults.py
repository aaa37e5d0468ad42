"""Every fault kind as one declaration: its target, its begin and end as primitive operations, its symptom. Pure.

A new kind is one class here (plus a primitive where one is missing). When a fault strikes and whom is the schedule's
affair (``schedule``), how an operation is carried out each lane's. What the kinds do on the wire:

``cut``          every connection of the cohort is closed once (FIN at both ends); new ones are accepted at once.
``reset``        the same with RST.
``refuse``       every connection is closed and new ones are refused until the window ends.
``blackhole``    bytes vanish while connections stay open; new connections are accepted but never answered; a close by
                 either end still passes. When the window ends every connection is closed, since bytes are missing.
``server_kill``  the server process ends at once (SIGKILL); one on the same database starts when the window ends.
``server_suspend``  the server process stops where it is (SIGSTOP) and continues when the window ends (SIGCONT): nothing
                 is lost, nothing is answered, new connections wait in the system's queue.
``server_drain`` the server is asked to end (SIGTERM): it closes each connection with advice; one on the same database
                 starts when the window ends.
``client_suspend``  the clients stand still (SIGSTOP) and continue when the window ends (SIGCONT): what was sent to them
                 waits in their system's buffers.

Each kind says by when its connections are closed (``connections_end``): where it does, no connection survives a window,
and one that is alive afterwards was not on the link that the fault acted on. A connection can survive the others:

``stall``            bytes wait, and a close behind them; when the window ends all arrive, in order.
``freeze``           nothing passes, closes and new connections included; when the window ends all arrive, in order.
``latency``          bytes take longer each way, more or less; none overtakes.
``bandwidth``        each connection passes a limited number of bytes a second each way.
``slice``            bytes arrive in small pieces, one after the other.
``cut_mid_message``  each connection is closed after so many bytes, which tears a message.
``slow_close``       a close arrives later at the other end; bytes do not.

Each kind also says in which directions nothing arrives (``silent_ways``), and which lanes can carry it out (``lanes``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, get_args

import msgspec

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.primitives import (
    ClientsSilent,
    CloseAll,
    Condition,
    ConnectionsEnd,
    Crash,
    CutAfter,
    Delay,
    DialsRefused,
    Direction,
    DrainServer,
    Drop,
    FaultTarget,
    Freeze,
    Hold,
    HoldClose,
    Impose,
    Kill,
    LateClose,
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
    Slice,
    SlowBytes,
    SlowReplies,
    SmallPieces,
    Start,
    SuspendClients,
    SuspendServer,
    Symptom,
    Throttle,
    TornMessage,
)
from resilience.units import Instant, Seconds

EVERY_LANE = frozenset((Lane.REAL, Lane.VIRTUAL, Lane.MODEL))
AND_POPULATION = EVERY_LANE | {Lane.POPULATION}
"""Those of a fault that is one outage of a client's own link, which arrays of outages can hold."""
CODE_LANES = frozenset((Lane.REAL, Lane.VIRTUAL))
"""Those that run the product's own code over connections that carry bytes; the model's carry messages."""

MIN_PADDING, MAX_PADDING = 512, 8000
"""By how many bytes a canary makes a request longer to see a slow link; every server takes a request of that size."""

PLAINLY = 0.8
"""The part of a delay by which a canary recognises it: its own clock and the proxy's timers are not exact."""

LATE_ENOUGH_S: Seconds = 0.5
"""An end that is so late is not waited for any longer."""


class FaultEdge(StrEnum):
    """One of the two ends of a fault window."""

    BEGIN = "begin"
    END = "end"


class Composition(msgspec.Struct, frozen=True):
    """What is done when a window begins and when it ends, in this order, and what a canary must see meanwhile."""

    begin: tuple[Operation, ...]
    symptom: Symptom
    end: tuple[Operation, ...] = ()


def holding(condition: Condition, symptom: Symptom) -> Composition:
    """A condition that holds from the window's begin to its end."""
    return Composition(begin=(Impose(condition),), end=(Lift(condition),), symptom=symptom)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share: when the fault strikes, and whom.

    ``at``: seconds after the run's start. ``cohorts``: whose links or clients; a fault of the server names none.
    ``times`` repetitions, ``every`` so many seconds; or, instead of both, repetitions with independent seeded gaps of
    ``mean_gap`` seconds on average (a Poisson process), from ``at`` on, none later than ``until``. ``flaps``: each
    repetition strikes so often, ``flap_every`` seconds apart. ``rolling``: each further cohort is struck so many
    seconds later. ``jitter`` moves each repetition later by a seeded, uniform part of so many seconds. ``share``: the
    seeded part of each cohort's clients that is struck.

    ``connections_end``: by which end of the window every connection that it touches is closed; ``None`` for a kind that
    a connection can survive. ``holds_back``: whether bytes arrive, but late. ``lanes``: those that can carry the kind.
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
    holds_back: ClassVar[bool] = False
    lanes: ClassVar[frozenset[Lane]] = EVERY_LANE

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
    def silent_ways(self) -> tuple[Direction, ...]:
        """The directions in which nothing arrives on an open connection while the window holds."""
        return ()

    @property
    def own(self) -> tuple[tuple[str, object], ...]:
        """The values that only this kind has and that are not at rest: names and numbers, the duration apart."""
        shared = {*Fault.__struct_fields__, "duration"}
        values = ((name, getattr(self, name)) for name in self.__struct_fields__ if name not in shared)
        return tuple((name, value) for name, value in values if isinstance(value, int | float | str) and value)

    def may_end_connections(self, timeout: Seconds) -> bool:
        """Whether clients that take a silence of ``timeout`` seconds for a loss may lose connections to it."""
        return self.connections_end is not None or (bool(self.silent_ways) and self.length > timeout)

    @property
    def composition(self) -> Composition:
        """What the fault does, in primitive operations."""
        raise NotImplementedError


class CutFault(Fault, frozen=True, tag="cut"):
    """All connections closed once, which is the whole fault."""

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.BEGIN
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

    @property
    def composition(self) -> Composition:
        """Closes; nothing is left to undo."""
        return Composition(begin=(CloseAll(),), symptom=ConnectionsEnd())


class ResetFault(Fault, frozen=True, tag="reset"):
    """All connections reset once, which is the whole fault."""

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.BEGIN
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

    @property
    def composition(self) -> Composition:
        """Resets; nothing is left to undo."""
        return Composition(begin=(ResetAll(),), symptom=ConnectionsEnd(reset=True))


class RefuseFault(Fault, frozen=True, tag="refuse", kw_only=True):
    """The link is down: connections closed, new ones refused, for ``duration`` seconds."""

    duration: Seconds

    connections_end: ClassVar[FaultEdge | None] = FaultEdge.BEGIN
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

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
    def silent_ways(self) -> tuple[Direction, ...]:
        """Those in which bytes vanish."""
        return self.direction.ways

    @property
    def composition(self) -> Composition:
        """Drops bytes; lifting that closes every connection."""
        return holding(Drop(self.direction), Silence(self.direction))


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


# links that suffer and heal ------------------------------------------------------------------------------------------


class StallFault(Fault, frozen=True, tag="stall", kw_only=True):
    """Bytes wait for ``duration`` seconds, in one or both directions; then all arrive, in order, none lost."""

    duration: Seconds
    direction: Direction = Direction.BOTH

    holds_back: ClassVar[bool] = True

    @property
    def silent_ways(self) -> tuple[Direction, ...]:
        """Those in which bytes wait."""
        return self.direction.ways

    @property
    def composition(self) -> Composition:
        """Holds bytes; lifting that lets them through."""
        return holding(Hold(self.direction), Silence(self.direction))


class FreezeFault(Fault, frozen=True, tag="freeze", kw_only=True):
    """Nothing passes for ``duration`` seconds, closes and new connections included; then all goes through, in order."""

    duration: Seconds

    holds_back: ClassVar[bool] = True

    @property
    def silent_ways(self) -> tuple[Direction, ...]:
        """Both."""
        return Direction.BOTH.ways

    @property
    def composition(self) -> Composition:
        """Freezes the link."""
        return holding(Freeze(), Silence())


class LatencyFault(Fault, frozen=True, tag="latency", kw_only=True):
    """Bytes take ``delay`` seconds longer each way, give or take ``spread`` (uniform), for ``duration`` seconds."""

    duration: Seconds
    delay: Seconds
    spread: Seconds = 0.0

    holds_back: ClassVar[bool] = True

    @property
    def composition(self) -> Composition:
        """Delays bytes. More than seven of eight exchanges take longer than the symptom asks for."""
        return holding(Delay(self.delay, self.spread), SlowReplies(PLAINLY * (2 * self.delay - self.spread)))


class BandwidthFault(Fault, frozen=True, tag="bandwidth", kw_only=True):
    """Each connection passes ``rate`` bytes a second each way, for ``duration`` seconds."""

    duration: Seconds
    rate: int

    holds_back: ClassVar[bool] = True
    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

    @property
    def composition(self) -> Composition:
        """Throttles. The canary's longer request takes a quarter of a second at slow rates, less at fast ones."""
        padding = min(max(self.rate // 4, MIN_PADDING), MAX_PADDING)
        return holding(Throttle(self.rate), SlowBytes(padding, PLAINLY * padding / self.rate))


class SliceFault(Fault, frozen=True, tag="slice", kw_only=True):
    """Bytes arrive in pieces of at most ``size`` bytes, ``delay`` seconds apart, for ``duration`` seconds."""

    duration: Seconds
    size: int
    delay: Seconds

    holds_back: ClassVar[bool] = True
    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

    @property
    def composition(self) -> Composition:
        """Slices."""
        return holding(Slice(self.size, self.delay), SmallPieces(self.size, self.delay))


class CutMidMessageFault(Fault, frozen=True, tag="cut_mid_message", kw_only=True):
    """Each connection is closed after ``after`` bytes, which tears a message, for ``duration`` seconds.

    Connections that are open at the begin count from there, new ones from their first byte, the handshake included;
    with ``direction`` both, the direction that has passed so many first ends it.
    """

    duration: Seconds
    after: int
    direction: Direction = Direction.BOTH

    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

    def may_end_connections(self, timeout: Seconds) -> bool:
        """Those that carry so many bytes."""
        del timeout
        return True

    @property
    def composition(self) -> Composition:
        """Cuts after so many bytes."""
        return holding(CutAfter(self.after, self.direction), TornMessage(self.after, self.direction))


class SlowCloseFault(Fault, frozen=True, tag="slow_close", kw_only=True):
    """A close arrives ``delay`` seconds late, in one or both directions, for ``duration`` seconds."""

    duration: Seconds
    delay: Seconds
    direction: Direction = Direction.BOTH

    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

    @property
    def composition(self) -> Composition:
        """Holds closes back; an end that crosses the link and causes the other one is late twice."""
        return holding(HoldClose(self.delay, self.direction), LateClose(min(PLAINLY * self.delay, LATE_ENOUGH_S)))


# the server and its clients -------------------------------------------------------------------------------------------


class ServerSuspendFault(Fault, frozen=True, tag="server_suspend", kw_only=True):
    """The server stands still for ``duration`` seconds, and then continues as if no time had passed."""

    duration: Seconds

    target: ClassVar[FaultTarget] = FaultTarget.SERVER
    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

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
    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

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
    lanes: ClassVar[frozenset[Lane]] = CODE_LANES

    @property
    def composition(self) -> Composition:
        """Suspends; resumes."""
        return Composition(begin=(SuspendClients(),), end=(ResumeClients(),), symptom=ClientsSilent())


AnyFault = (
    CutFault
    | ResetFault
    | RefuseFault
    | BlackholeFault
    | StallFault
    | FreezeFault
    | LatencyFault
    | BandwidthFault
    | SliceFault
    | CutMidMessageFault
    | SlowCloseFault
    | ServerKillFault
    | ServerSuspendFault
    | ServerDrainFault
    | ClientSuspendFault
)


def kinds() -> dict[str, type[AnyFault]]:
    """Every kind of fault by its name."""
    return {str(fault.__struct_config__.tag): fault for fault in get_args(AnyFault)}


def connections_end(kind: str) -> FaultEdge | None:
    """By which end of a window of this kind its connections are closed; ``None`` where they may survive it."""
    return next((fault.connections_end for fault in get_args(AnyFault) if fault.__struct_config__.tag == kind), None)


def kinds_of(*faults: type[Fault]) -> frozenset[str]:
    """The names of these kinds."""
    return frozenset(str(fault.__struct_config__.tag) for fault in faults)


REPLACES_SERVER = kinds_of(ServerKillFault, ServerDrainFault)
"""The kinds that end the server and start another one on the same database."""
