"""A system under test that is a record of operations: for tests of the laboratory core itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from resilience.errors import InjectionError, SystemFailedError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.primitives import (
    CloseAll,
    Condition,
    ConnectionsEnd,
    Impose,
    Kill,
    Lift,
    Operation,
    ResetAll,
    ServerGone,
    Symptom,
)
from resilience.experiment.spec import Experiment
from resilience.lab.asyncio_clock import AsyncioClock, run_with_helpers
from resilience.lab.cancellation import Cancellation
from resilience.lab.health import LabHealth
from resilience.lab.recorder import RunRecorder
from resilience.lab.recording import Recording
from resilience.lab.stored_run import StoredRun
from resilience.lab.system import CallTimes
from resilience.runtime import RunClock
from resilience.units import Seconds
from sim.virtual.loop import run_virtual

T = TypeVar("T")


class FakePlace:
    """A link or a server: ``applied`` holds (time, operation); ``failing`` operations raise InjectionError."""

    def __init__(self, clock: AsyncioClock) -> None:
        self.clock = clock
        self.applied: list[tuple[float, Operation]] = []
        self.conditions: Counter[Condition] = Counter()
        self.failing: set[type[Operation]] = set()
        self.repaired = 0
        self.blind = False
        self.down = False
        self.ends: list[float] = []

    async def apply(self, operation: Operation) -> CallTimes:
        now = self.clock.now()
        if type(operation) in self.failing:
            raise InjectionError(f"cannot {type(operation).__name__}")
        self.applied.append((now, operation))
        match operation:
            case Impose(condition=condition):
                self.conditions[condition] += 1
            case Lift(condition=condition):
                if not self.conditions[condition]:
                    raise InjectionError("no such condition holds")
                self.conditions[condition] -= 1
            case CloseAll() | ResetAll():
                self.ends.append(now)
            case _:
                self.down = isinstance(operation, Kill)
        return CallTimes(now, now)

    def canary(self) -> FakeCanary:
        return FakeCanary(self)

    async def repair(self) -> None:
        self.repaired += 1
        self.conditions.clear()

    @property
    def is_healthy(self) -> bool:
        return not self.down and not +self.conditions


class FakeCanary:
    """Sees the place's own state, a tenth of a second late."""

    def __init__(self, place: FakePlace) -> None:
        self._place = place
        self._since = 0.0
        self.problem: str | None = "not prepared"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def prepare(self, within: Seconds) -> None:
        self.problem = None if self._place.is_healthy else "not healthy before"
        self._since = self._place.clock.now()

    @property
    def hold_ended(self) -> bool:
        return any(t >= self._since for t in self._place.ends)

    async def saw_symptom(self, symptom: Symptom, within: Seconds) -> bool:
        return await self._saw(lambda: self._shows(symptom), within)

    async def saw_health(self, within: Seconds) -> bool:
        return await self._saw(lambda: self._place.is_healthy, within)

    def _shows(self, symptom: Symptom) -> bool:
        match symptom:
            case ConnectionsEnd():
                return self.hold_ended
            case ServerGone():
                return self._place.down
            case _:
                return bool(+self._place.conditions)

    async def _saw(self, condition: Callable[[], bool], within: Seconds) -> bool:
        try:
            async with asyncio.timeout(within):
                while self._place.blind or not condition():  # noqa: ASYNC110 - virtual time
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


class FakeSystem:
    """A :class:`~resilience.lab.system.System` whose clients all have sessions, unless ``joined`` says otherwise."""

    def __init__(self, experiment: Experiment, seed: int, start: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self.clock = AsyncioClock(RunClock(start, loop.time))
        self.links = {group.name: FakePlace(self.clock) for group in experiment.links(seed)}
        self.server = FakePlace(self.clock)
        self.client_groups = {group.name: FakePlace(self.clock) for group in experiment.links(seed)}
        self.joined = 1.0
        self.finished = False
        self.dead: str | None = None
        self.stored: StoredRun | None = None
        self.failure: Exception | None = None
        self.stop_failure: SystemFailedError | None = None
        self.fails_at: float | None = None
        self.silent = False
        self.lab: LabHealth | None = None

    def open_sessions(self) -> Mapping[str, int]:
        return {}

    def joined_share(self) -> float:
        return self.joined

    async def supervise(self, main: Coroutine[Any, Any, T], recorder: RunRecorder) -> T:
        if self.failure is not None:
            main.close()
            raise self.failure
        if self.fails_at is None:
            return await main
        return await run_with_helpers(main, [self._fail(self.fails_at)])

    async def _fail(self, at: float) -> None:
        await self.clock.sleep_until(at)
        raise SystemFailedError(f"the server ended by itself (SIGKILL) at {at:.1f} s")

    def death(self) -> str | None:
        return self.dead

    def server_log_tail(self) -> str | None:
        return "the end of its log"

    def server_is_silent(self) -> bool:
        return self.silent

    def measured(self) -> LabHealth | None:
        return self.lab

    async def finish(self) -> StoredRun | None:
        self.finished = True
        if self.stop_failure is not None:
            raise self.stop_failure
        return self.stored


class FakeLane:
    """A lane in virtual time over a :class:`FakeSystem`; ``prepare`` may change the system before the run."""

    lane = Lane.VIRTUAL

    def __init__(self, prepare: Callable[[FakeSystem], None] = lambda _: None) -> None:
        self._prepare = prepare
        self.system: FakeSystem | None = None
        self.open = 0

    def versions(self) -> Mapping[str, str]:
        return {"fake": "1"}

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], cancellation: Cancellation) -> T:
        async def bound() -> T:
            task = asyncio.current_task()
            assert task is not None
            cancellation.bind(lambda: _cancel(task))
            return await main()

        return run_virtual(lambda _: bound())

    @asynccontextmanager
    async def start(
        self, experiment: Experiment, seed: int, recording: Recording, on_tick: Callable[[], None]
    ) -> AsyncIterator[FakeSystem]:
        self.system = FakeSystem(experiment, seed)
        self._prepare(self.system)
        self.open += 1
        try:
            yield self.system
        finally:
            self.open -= 1
