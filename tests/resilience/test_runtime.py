"""The timer of every driver: it calls at the latest deadline that was set, and at no other time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from resilience.runtime import DeadlineTimer, RunClock
from resilience.units import Instant
from sim.virtual.loop import VirtualLoop, run_virtual

Steps = dict[Instant, Instant | None]
"""Which deadline is set, by the moment in which it is set."""


def calls(steps: Steps, coarse: Callable[[Instant], Instant] = lambda at: at) -> list[Instant]:
    """When the timer calls; ``coarse``: when the loop calls back instead."""
    made: list[Instant] = []

    async def main(loop: VirtualLoop) -> None:
        clock = RunClock(0.0, loop.time)
        call_later = loop.call_later
        loop.call_later = lambda delay, *rest, **named: call_later(  # type: ignore[method-assign]
            max(coarse(loop.now + delay) - loop.now, 0.0), *rest, **named
        )
        timer = DeadlineTimer(clock, lambda: made.append(timer.fired()))
        for at, deadline in steps.items():
            loop.call_at(at, timer.set_deadline, deadline)
        await asyncio.sleep(100.0)

    run_virtual(main)
    return made


@pytest.mark.parametrize(
    "steps, expected",
    [
        ({0.0: 5.0}, [5.0]),
        ({0.0: 5.0, 1.0: 3.0}, [3.0]),
        ({0.0: 5.0, 1.0: 8.0}, [8.0]),
        ({0.0: 5.0, 1.0: 8.0, 6.0: 7.0}, [7.0]),
        ({0.0: 5.0, 1.0: 8.0, 6.0: 9.0}, [9.0]),
        ({0.0: 5.0, 1.0: None}, []),
        ({0.0: 5.0, 1.0: None, 6.0: 7.0}, [7.0]),
        ({0.0: 5.0, 6.0: 7.0}, [5.0, 7.0]),
        ({1.0: 0.5}, [1.0]),
    ],
    ids=[
        "once",
        "earlier",
        "later",
        "later, then earlier",
        "later twice",
        "cleared",
        "cleared, then set",
        "twice",
        "past",
    ],
)
def test_it_calls_at_the_latest_deadline_only(steps: Steps, expected: list[Instant]) -> None:
    """Not at one that has moved later or was cleared: the machine that it calls would find nothing to do."""
    assert calls(steps) == expected


def test_it_never_calls_early() -> None:
    """A loop that keeps whole milliseconds calls back up to one of them before the deadline."""
    (called,) = calls({0.0: 5.0006}, lambda at: int(at * 1000) / 1000)
    assert 5.0006 <= called < 5.0036
