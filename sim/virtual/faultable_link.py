"""Carries out the primitive link operations on a virtual link, as Toxiproxy does. Knows no fault kinds."""

from __future__ import annotations

from collections import Counter

from resilience.errors import InjectionError
from resilience.experiment.primitives import (
    CloseAll,
    Condition,
    Delay,
    Direction,
    Drop,
    Impose,
    Lift,
    LinkOperation,
    Refuse,
    ResetAll,
)
from resilience.lab.canary import Address, NetworkCanary
from resilience.lab.system import CallTimes
from resilience.runtime import RunClock
from resilience.units import Seconds

from .network import VirtualLink
from .pipe import LatencySource


class FaultableVirtualLink:
    """A :class:`~resilience.lab.system.FaultableLink` over a virtual one. Conditions add up: each is counted.

    Lifting a ``Drop`` closes every connection even while another one holds, as removing any ``timeout`` toxic does.
    """

    def __init__(self, link: VirtualLink, server: Address, clock: RunClock) -> None:
        self._link, self._server, self._clock = link, server, clock
        self._held: Counter[Condition] = Counter()
        self._latency = link.latency_s

    async def apply(self, operation: LinkOperation) -> CallTimes:
        """Carry out one operation at once; InjectionError when a condition is lifted that does not hold."""
        match operation:
            case CloseAll():
                self._link.cut()
            case ResetAll():
                self._link.reset()
            case Impose(condition=condition):
                self._held[condition] += 1
                self._show_conditions()
            case Lift(condition=condition):
                self._lift(condition)
        now = self._clock.now()
        return CallTimes(now, now)

    def canary(self) -> NetworkCanary:
        """A canary that crosses this link."""
        return NetworkCanary((self._server[0], self._link.port), self._server)

    async def repair(self) -> None:
        """Lift every condition."""
        self._held.clear()
        self._link.heal()

    def _lift(self, condition: Condition) -> None:
        if not self._held[condition]:
            raise InjectionError(f"link {self._link.name}: {condition} is lifted but does not hold")
        self._held[condition] -= 1
        if isinstance(condition, Drop | Delay):
            self._link.cut()
        self._show_conditions()

    def _show_conditions(self) -> None:
        holding = [condition for condition, count in self._held.items() if count]
        ways = {way for condition in holding if isinstance(condition, Drop) for way in condition.direction.ways}
        delay = sum(condition.delay for condition in self._held.elements() if isinstance(condition, Delay))
        self._link.latency_s = _delayed(self._latency, delay) if delay else self._latency
        self._link.is_refusing = any(isinstance(condition, Refuse) for condition in holding)
        self._link.blackhole(up=Direction.UP in ways, down=Direction.DOWN in ways)


def _delayed(latency: LatencySource, delay: Seconds) -> LatencySource:
    return (lambda u: latency(u) + delay) if callable(latency) else latency + delay
