"""The clients of one modelled link as a place of faults: suspended, resumed, given orders, and watched."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from resilience.experiment.primitives import (
    ClientOperation,
    ClientOrder,
    ClientsSilent,
    DuplicateClients,
    ReplayTokens,
    ResumeClients,
    SuspendClients,
    Symptom,
)
from resilience.lab.client_control import has_met, what_is_missing
from resilience.lab.second_clients import OrderCounts
from resilience.lab.system import CallTimes
from resilience.units import Seconds

from .canary import sees
from .lab_clock import SimLabClock
from .process import ModelProcess


class ModelClientControl:
    """A :class:`~resilience.lab.system.FaultableClients`. Suspensions add up.

    ``carry_out`` has the clients carry out an order; ``counts`` tells how far orders have come.
    """

    def __init__(
        self,
        process: ModelProcess,
        clock: SimLabClock,
        carry_out: Callable[[ClientOrder], None],
        counts: Callable[[], OrderCounts],
    ) -> None:
        self._process, self._clock, self._carry_out, self._counts = process, clock, carry_out, counts
        self._suspensions = 0

    async def apply(self, operation: ClientOperation) -> CallTimes:
        """Carry out one operation, which takes no time; an order to suspended clients waits until they continue."""
        match operation:
            case SuspendClients():
                self._suspensions += 1
                self._process.suspend()
            case ResumeClients():
                self._suspensions = max(self._suspensions - 1, 0)
                if not self._suspensions:
                    self._process.resume()
            case DuplicateClients() | ReplayTokens():
                self._order(operation)
        return CallTimes(self._clock.now(), self._clock.now())

    def _order(self, order: ClientOrder) -> None:
        if self._process.is_suspended:
            self._process.read_later(lambda: self._carry_out(order))
        else:
            self._carry_out(order)

    def canary(self) -> ModelClientCanary:
        """What watches the clients."""
        return ModelClientCanary(self._process, self._clock, self._counts)

    async def repair(self) -> None:
        """Let the clients run."""
        self._suspensions = 0
        self._process.resume()


class ModelClientCanary:
    """Reads whether the clients stand still, and what has come of their orders."""

    def __init__(self, process: ModelProcess, clock: SimLabClock, counts: Callable[[], OrderCounts]) -> None:
        self._process, self._clock, self._counts = process, clock, counts
        self._before = counts()
        self.problem: str | None = "the clients were not watched before the fault"
        self.hold_ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def prepare(self, within: Seconds) -> None:
        """Wait until the clients run; ``problem`` says when they did not ``within`` so many seconds."""
        self._before = self._counts()
        is_alive = await self.saw_health(within)
        self.problem = None if is_alive else "the clients stood still before the fault"

    async def saw_symptom(self, symptom: Symptom, within: Seconds) -> bool:
        """Whether the clients stand still, or have carried out their order, ``within`` so many seconds."""
        if isinstance(symptom, ClientsSilent):
            return await sees(self._clock, lambda: self._process.is_suspended, within)
        seen = await sees(self._clock, lambda: has_met(symptom, self._before, self._counts()), within)
        self.problem = None if seen else what_is_missing(symptom, self._before, self._counts())
        return seen

    async def saw_health(self, within: Seconds) -> bool:
        """Whether the clients run ``within`` so many seconds."""
        return await sees(self._clock, lambda: not self._process.is_suspended, within)
