"""Carries out the primitive link operations on a virtual link, as Toxiproxy does. Knows no fault kinds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

from resilience.errors import InjectionError
from resilience.experiment.primitives import (
    CloseAll,
    Condition,
    CutAfter,
    Delay,
    Direction,
    Drop,
    Freeze,
    Hold,
    HoldClose,
    Impose,
    Lift,
    LinkOperation,
    Refuse,
    ResetAll,
    Slice,
    Throttle,
)
from resilience.lab.canary import NetworkCanary
from resilience.lab.link_probes import Address
from resilience.lab.system import CallTimes
from resilience.random_streams import uniform
from resilience.runtime import RunClock
from resilience.units import Seconds

from .link import VirtualLink
from .shaping import Shaping

_KEYS = 1 << 53
_C = TypeVar("_C", bound=Condition)


class FaultableVirtualLink:
    """A :class:`~resilience.lab.system.FaultableLink` over a virtual one. Conditions add up: each is counted.

    Lifting a ``Drop`` closes every connection even while another one holds, as removing any ``timeout`` toxic does.
    What is ordered while the link is frozen is carried out when it no longer is, as by a proxy that was stopped.
    """

    def __init__(self, link: VirtualLink, server: Address, clock: RunClock) -> None:
        self._link, self._server, self._clock = link, server, clock
        self._held: list[tuple[int, Condition]] = []
        self._deferred: list[LinkOperation] = []
        self._numbers = itertools.count(1)

    async def apply(self, operation: LinkOperation) -> CallTimes:
        """Carry out one operation at once; InjectionError when a condition is lifted that does not hold."""
        self._apply(operation)
        now = self._clock.now()
        return CallTimes(now, now)

    def canary(self) -> NetworkCanary:
        """A canary that crosses this link."""
        return NetworkCanary((self._server[0], self._link.port), self._server)

    async def repair(self) -> None:
        """Lift every condition."""
        self._held.clear()
        self._deferred.clear()
        self._link.heal()

    def _apply(self, operation: LinkOperation) -> None:
        if self._of(Freeze) and operation not in {Impose(Freeze()), Lift(Freeze())}:
            self._deferred.append(operation)
            return
        match operation:
            case CloseAll():
                self._link.cut()
            case ResetAll():
                self._link.reset()
            case Impose(condition=condition):
                self._held.append((next(self._numbers), condition))
                self._show(condition)
            case Lift(condition=condition):
                self._lift(condition)

    def _lift(self, condition: Condition) -> None:
        found = [entry for entry in self._held if entry[1] == condition]
        if not found:
            raise InjectionError(f"link {self._link.name}: {condition} is lifted but does not hold")
        self._held.remove(found[-1])
        if isinstance(condition, Drop):
            self._link.cut()
        self._show(condition)
        if not self._of(Freeze):
            deferred, self._deferred = self._deferred, []
            for operation in deferred:
                self._apply(operation)

    def _of(self, kind: type[_C]) -> list[_C]:
        return [condition for _, condition in self._held if isinstance(condition, kind)]

    def _show(self, changed: Condition) -> None:
        """Have the link behave as all conditions of the changed one's kind together say."""
        link = self._link
        match changed:
            case Refuse():
                link.is_refusing = bool(self._of(Refuse))
            case Drop():
                link.blackhole(**_ways(self._of(Drop)))
            case Hold():
                link.stall(**_ways(self._of(Hold)))
            case Freeze():
                link.freeze(bool(self._of(Freeze)))
            case Delay():
                link.delay(_DelaySum(delays) if (delays := self._of(Delay)) else None)
            case Throttle() | Slice():
                rates = tuple(each.rate for each in self._of(Throttle))
                slices = tuple((each.size, each.delay) for each in self._of(Slice))
                link.shape(Shaping(rates, slices) if rates or slices else None)
            case CutAfter():
                limits = [(number, each) for number, each in self._held if isinstance(each, CutAfter)]
                up, down = (
                    {number: each.size for number, each in limits if way in each.direction.ways}
                    for way in Direction.BOTH.ways
                )
                link.limit(up=up, down=down)
            case HoldClose():
                up_s, down_s = (
                    sum(each.delay for each in self._of(HoldClose) if way in each.direction.ways)
                    for way in Direction.BOTH.ways
                )
                link.hold_closes(up=up_s, down=down_s)


class _DelaySum:
    """The sum of several delays as a function of a packet's uniform number; each spread has its own share of it."""

    def __init__(self, delays: Sequence[Delay]) -> None:
        self._delays = delays

    def __call__(self, u: float) -> Seconds:
        key = int(u * _KEYS)
        return sum(
            each.delay + each.spread * (2.0 * uniform(key, "spread", i) - 1.0) for i, each in enumerate(self._delays)
        )


def _ways(conditions: Sequence[Drop | Hold]) -> dict[str, bool]:
    ways = {way for condition in conditions for way in condition.direction.ways}
    return {"up": Direction.UP in ways, "down": Direction.DOWN in ways}
