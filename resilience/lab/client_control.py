"""The clients of one link as a place of faults: suspended, resumed, given orders, and watched. Sends no signal.

What suspends them is a lane's affair (a process's signals, a loop that parks callbacks, a model that queues what
arrives): see :class:`ClientProcess`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from resilience.experiment.primitives import (
    ClientOperation,
    ClientOrder,
    DuplicateClients,
    ReplaysAnswered,
    ReplayTokens,
    ResumeClients,
    SecondConnections,
    SuspendClients,
    Symptom,
)
from resilience.units import Seconds

from .polling import sees
from .second_clients import OrderCounts
from .system import CallTimes, LabClock

PULSE_S: Seconds = 0.25
"""A process of clients gives a sign of life this often."""

MISSED_PULSES = 2
"""After so many signs of life that did not come, a process stands still."""

NOTHING_ORDERED = OrderCounts()

NO_SESSION = "no client had a session of which a second tab could be opened"
NO_TOKEN = (
    "no client had a session and an old token that was replaced for certain: a fault that ends their connections must "  # noqa: S105 - a sentence
    "come before, and an answer or a probe after their return"
)


def has_met(symptom: Symptom, before: OrderCounts, now: OrderCounts) -> bool:
    """Whether all that was ordered since ``before`` has come about."""
    if isinstance(symptom, SecondConnections):
        return now.met - before.met >= now.tabs - before.tabs > 0
    return isinstance(symptom, ReplaysAnswered) and now.answered - before.answered >= now.replays - before.replays > 0


def what_is_missing(symptom: Symptom, before: OrderCounts, now: OrderCounts) -> str | None:
    """Why an order has no effect that could be seen; ``None`` where there is nothing to say."""
    if isinstance(symptom, SecondConnections):
        ordered, came = now.tabs - before.tabs, now.met - before.met
        return NO_SESSION if not ordered else f"{came} of {ordered} second tabs met a first one with a session"
    if isinstance(symptom, ReplaysAnswered):
        ordered, came = now.replays - before.replays, now.answered - before.answered
        return NO_TOKEN if not ordered else f"{came} of {ordered} replays were answered"
    return None


class ClientProcess(Protocol):
    """A process of clients that can be suspended, and that carries out orders."""

    def suspend(self) -> None:
        """Stop it where it is."""

    def resume(self) -> None:
        """Let it continue; nothing happens to one that runs."""

    async def order(self, order: ClientOrder) -> None:
        """Have its clients carry out an order; InjectionError when it cannot be given."""

    @property
    def order_counts(self) -> OrderCounts:
        """How far its orders have come, as last known."""

    @property
    def pulse_age(self) -> Seconds:
        """How long ago it gave its last sign of life."""


class ClientCanary:
    """Watches the signs of life of one process, and what comes of its orders."""

    def __init__(self, process: ClientProcess, clock: LabClock) -> None:
        self._process, self._clock = process, clock
        self._before = NOTHING_ORDERED
        self.problem: str | None = "the clients were not watched before the fault"
        self.hold_ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def prepare(self, within: Seconds) -> None:
        """Wait for a sign of life; ``problem`` says when none came ``within`` so many seconds."""
        self._before = self._process.order_counts
        is_alive = await self.saw_health(within)
        self.problem = None if is_alive else "the clients gave no sign of life before the fault"

    async def saw_symptom(self, symptom: Symptom, within: Seconds) -> bool:
        """Whether the clients stand still, or have carried out their order, ``within`` so many seconds.

        ``problem`` says what is missing of an order.
        """
        if isinstance(symptom, SecondConnections | ReplaysAnswered):
            seen = await self._sees(lambda: has_met(symptom, self._before, self._process.order_counts), within)
            self.problem = None if seen else what_is_missing(symptom, self._before, self._process.order_counts)
            return seen
        return await self._sees(lambda: self._process.pulse_age > MISSED_PULSES * PULSE_S, within)

    async def saw_health(self, within: Seconds) -> bool:
        """Whether a sign of life comes ``within`` so many seconds, after the call."""
        since = self._clock.now()
        return await self._sees(lambda: self._process.pulse_age <= self._clock.now() - since, within)

    async def _sees(self, condition: Callable[[], bool], within: Seconds) -> bool:
        return await sees(self._clock, condition, within)


class ControlledClients:
    """A :class:`~resilience.lab.system.FaultableClients`. Suspensions add up."""

    def __init__(self, process: ClientProcess, clock: LabClock) -> None:
        self._process, self._clock = process, clock
        self._suspensions = 0

    async def apply(self, operation: ClientOperation) -> CallTimes:
        """Carry out one operation; InjectionError when an order cannot be given."""
        before = self._clock.now()
        match operation:
            case SuspendClients():
                self._suspensions += 1
                self._process.suspend()
            case ResumeClients():
                self._suspensions = max(self._suspensions - 1, 0)
                if not self._suspensions:
                    self._process.resume()
            case DuplicateClients() | ReplayTokens():
                await self._process.order(operation)
        return CallTimes(before, self._clock.now())

    def canary(self) -> ClientCanary:
        """What watches the process for signs of life."""
        return ClientCanary(self._process, self._clock)

    async def repair(self) -> None:
        """Let the clients run."""
        self._suspensions = 0
        self._process.resume()
