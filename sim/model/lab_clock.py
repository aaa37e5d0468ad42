"""Runs the laboratory's coroutines with SimPy: a coroutine is a process whose innermost awaitables yield events.

Knows the environment and the laboratory's clock, nothing of links or machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar, cast

from simpy.core import EmptySchedule
from simpy.events import Event, Process

from resilience.errors import SystemFailedError
from resilience.lab.cancellation import Cancellation
from resilience.units import Instant

from .clock import SimEnvironment

T = TypeVar("T")


class _Wait:
    """Suspends the coroutine that awaits it until a SimPy event is processed."""

    __slots__ = ("_event",)

    def __init__(self, event: Event) -> None:
        self._event = event

    def __await__(self) -> Generator[Event, Any, Any]:
        return (yield self._event)


class SimLabClock:
    """A :class:`~resilience.lab.system.LabClock` over a SimPy environment, whose time is the run's."""

    def __init__(self, environment: SimEnvironment) -> None:
        self._environment = environment

    def now(self) -> Instant:
        """This moment, seconds since the run's start."""
        return self._environment.now

    async def sleep_until(self, when: Instant) -> None:
        """Return at ``when``, before anything else that happens at that instant; at once if it has passed."""
        if when > self._environment.now:
            await _Wait(self._environment.moment(when))

    async def run_all(self, coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run them concurrently until all are done; the first failure interrupts the others and is raised."""
        if len(coroutines) == 1:
            await coroutines[0]
            return
        processes = [start(self._environment, coroutine) for coroutine in coroutines]
        try:
            await _Wait(self._environment.all_of(processes))
        except BaseException:
            for process in processes:
                if process.is_alive:
                    process.interrupt("another one failed")
            raise


def start(environment: SimEnvironment, coroutine: Coroutine[Any, Any, T]) -> Process:
    """Run a coroutine as a process; an exception goes to those that wait for it, and is otherwise ignored."""
    environment.coroutines.append(coroutine)
    process = environment.process(cast("Generator[Event, Any, T]", coroutine))
    assert process.callbacks is not None  # noqa: S101 - a new process waits for its end
    process.callbacks.append(_defuse)
    return process


def _defuse(event: Event) -> None:
    event.defused = True


def run_to_end(
    environment: SimEnvironment, main: Callable[[], Coroutine[Any, Any, T]], cancellation: Cancellation
) -> T:
    """Run ``main`` to its end and return what it returns; raises what it raises.

    A requested cancellation raises ``asyncio.CancelledError`` in ``main``, between two events. SystemFailedError when
    ``main`` waits for something that can never happen.
    """
    requested: list[bool] = []
    cancellation.bind(lambda: requested.append(True))
    coroutine = main()
    process = start(environment, coroutine)
    try:
        while process.is_alive:
            if requested and not cancellation.masked:
                coroutine.throw(asyncio.CancelledError())
            environment.step()
    except EmptySchedule:
        waits = f"at {environment.now:g} s the run waits for something that cannot happen"
        raise SystemFailedError(f"the server stopped: {waits}") from None
    finally:
        for unfinished in reversed(environment.coroutines):
            unfinished.close()
    if not process.ok:
        raise cast("BaseException", process.value)
    return cast("T", process.value)
