"""Whether a condition comes to hold that sets no event: asked again and again, on the clock of any lane."""

from __future__ import annotations

from collections.abc import Callable

from resilience.units import Seconds

from .system import LabClock

PAUSE_S: Seconds = 0.05
"""Between two questions."""


async def sees(clock: LabClock, condition: Callable[[], bool], within: Seconds) -> bool:
    """Whether the condition holds ``within`` so many seconds; returns as soon as it is seen to."""
    deadline = clock.now() + within
    while not condition():
        if clock.now() >= deadline:
            return False
        await clock.sleep_until(min(clock.now() + PAUSE_S, deadline))
    return True
