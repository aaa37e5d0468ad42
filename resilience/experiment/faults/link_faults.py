"""The kinds of faults that act on links. Pure."""

from __future__ import annotations

from typing import ClassVar

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults.declaration import AND_POPULATION, CODE_LANES, Composition, Fault, FaultEdge, holding
from resilience.experiment.primitives import (
    CloseAll,
    ConnectionsEnd,
    CutAfter,
    Delay,
    DialsRefused,
    Direction,
    Drop,
    Freeze,
    Hold,
    HoldClose,
    Impose,
    LateClose,
    Lift,
    Refuse,
    ResetAll,
    Silence,
    Slice,
    SlowBytes,
    SlowReplies,
    SmallPieces,
    Throttle,
    TornMessage,
)
from resilience.units import Seconds

MIN_PADDING, MAX_PADDING = 512, 8000
"""By how many bytes a canary makes a request longer to see a slow link; every server takes a request of that size."""

PLAINLY = 0.8
"""The part of a delay by which a canary recognises it: its own clock and the proxy's timers are not exact."""

LATE_ENOUGH_S: Seconds = 0.5
"""An end that is so late is not waited for any longer."""


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
    lanes: ClassVar[frozenset[Lane]] = AND_POPULATION

    @property
    def silent_ways(self) -> tuple[Direction, ...]:
        """Those in which bytes vanish."""
        return self.direction.ways

    @property
    def composition(self) -> Composition:
        """Drops bytes; lifting that closes every connection."""
        return holding(Drop(self.direction), Silence(self.direction))


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
