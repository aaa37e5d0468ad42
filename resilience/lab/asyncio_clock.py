"""The laboratory's clock in lanes that run on asyncio, real or virtual."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from resilience.errors import ResilienceError
from resilience.runtime import RunClock
from resilience.units import Instant

from .cancellation import Cancellation

T = TypeVar("T")


class AsyncioClock:
    """A :class:`~resilience.lab.system.LabClock` over a run clock and the running event loop."""

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock

    def now(self) -> Instant:
        """This moment, seconds since the run's start."""
        return self._clock.now()

    async def sleep_until(self, when: Instant) -> None:
        """Return at ``when``; at once if that has passed."""
        await asyncio.sleep(max(when - self._clock.now(), 0.0))

    async def run_all(self, coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run them concurrently until all are done; the first failure cancels the others and is raised."""
        await run_all(coroutines)


async def run_all(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all concurrently; the first failure cancels the others and is raised as it is, not as a group."""
    if len(coroutines) == 1:
        await coroutines[0]
        return
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from failures


async def run_with_helpers(main: Coroutine[Any, Any, T], helpers: Sequence[Coroutine[Any, Any, None]]) -> T:
    """Run ``main`` while the helpers run; a helper that fails ends it, its end ends them."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(helper) for helper in helpers]
            result = await main
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from failures
    return result


def canceller_of_this_task(cancellation: Cancellation) -> Callable[[], None]:
    """What cancels the task that calls this, from any thread, unless the run cleans up when its loop gets to it."""
    task = asyncio.current_task()

    def cancel_unless_masked() -> None:
        if task is not None and not cancellation.masked:
            task.cancel()

    return call_in_this_loop(cancel_unless_masked)


def call_in_this_loop(act: Callable[[], None]) -> Callable[[], None]:
    """What has the running loop call ``act``, from any thread; nothing happens once the loop is closed."""
    loop = asyncio.get_running_loop()

    def call() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so the run is over
            loop.call_soon_threadsafe(act)

    return call


def first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to report: the first that was raised on purpose, else the first."""
    leaves = [
        first_failure(failure) if isinstance(failure, BaseExceptionGroup) else failure
        for failure in failures.exceptions
    ]
    return next((leaf for leaf in leaves if isinstance(leaf, ResilienceError)), leaves[0])
