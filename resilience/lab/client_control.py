"""The clients of one link as a place of faults: suspended, resumed, and watched for signs of life. Sends no signal.

What suspends them is a lane's affair (a process's signals, a loop that parks callbacks): see :class:`ClientProcess`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from resilience.experiment.primitives import ClientOperation, ResumeClients, SuspendClients, Symptom
from resilience.units import Instant, Seconds

from .system import CallTimes

PULSE_S: Seconds = 0.25
"""A process of clients gives a sign of life this often."""

MISSED_PULSES = 2
"""After so many signs of life that did not come, a process stands still."""

PAUSE_S: Seconds = 0.05
"""Between two checks of the last sign of life."""


class ClientProcess(Protocol):
    """A process of clients that can be suspended."""

    def suspend(self) -> None:
        """Stop it where it is."""

    def resume(self) -> None:
        """Let it continue; nothing happens to one that runs."""

    @property
    def pulse_at(self) -> Instant:
        """When it gave its last sign of life, on the clock of the running event loop."""


class ClientCanary:
    """Watches the signs of life of one process."""

    def __init__(self, process: ClientProcess) -> None:
        self._process = process
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
        is_alive = await self.saw_health(within)
        self.problem = None if is_alive else "the clients gave no sign of life before the fault"

    async def saw_symptom(self, symptom: Symptom, within: Seconds) -> bool:
        """Whether the clients stand still ``within`` so many seconds; there is no other symptom of them."""
        del symptom
        return await self._sees(lambda: self._age() > MISSED_PULSES * PULSE_S, within)

    async def saw_health(self, within: Seconds) -> bool:
        """Whether a sign of life comes ``within`` so many seconds, after the call."""
        since = asyncio.get_running_loop().time()
        return await self._sees(lambda: self._process.pulse_at >= since, within)

    def _age(self) -> Seconds:
        return asyncio.get_running_loop().time() - self._process.pulse_at

    async def _sees(self, condition: Callable[[], bool], within: Seconds) -> bool:
        try:
            async with asyncio.timeout(within):
                while not condition():  # noqa: ASYNC110 - a sign of life that does not come sets no event
                    await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            return False
        return True


class SuspendableClients:
    """A :class:`~resilience.lab.system.FaultableClients`. Suspensions add up; ``now`` is the run's clock."""

    def __init__(self, process: ClientProcess, now: Callable[[], Instant]) -> None:
        self._process, self._now = process, now
        self._suspensions = 0

    async def apply(self, operation: ClientOperation) -> CallTimes:
        """Carry out one operation; it takes no time."""
        before = self._now()
        match operation:
            case SuspendClients():
                self._suspensions += 1
                self._process.suspend()
            case ResumeClients():
                self._suspensions = max(self._suspensions - 1, 0)
                if not self._suspensions:
                    self._process.resume()
        return CallTimes(before, self._now())

    def canary(self) -> ClientCanary:
        """What watches the process for signs of life."""
        return ClientCanary(self._process)

    async def repair(self) -> None:
        """Let the clients run."""
        self._suspensions = 0
        self._process.resume()
