"""How far a sweep is, in lines for people: seldom, and with an estimate that says what it leaves open."""

from __future__ import annotations

import time
from collections.abc import Callable

from resilience.units import Seconds

from .campaign import SweepStanding

EVERY_S: Seconds = 5.0


class SweepProgress:
    """Says a line at most every five seconds, and one at the end. ``workers``: as many runs at once; None: unknown."""

    def __init__(self, say: Callable[[str], None], workers: int | None) -> None:
        self._say, self._workers = say, workers
        self._began = self._last = time.monotonic()
        self._at_begin: int | None = None

    def __call__(self, standing: Callable[[], SweepStanding]) -> None:
        """A result has come."""
        now = time.monotonic()
        if self._at_begin is None:
            self._at_begin = standing().done
            if self._at_begin:
                self._say(f"continues with the {self._at_begin} runs that are there")
        elif now - self._last >= EVERY_S:
            self._last = now
            self._say(line_of(standing(), self._workers, now - self._began, self._at_begin))


def line_of(standing: SweepStanding, workers: int | None, elapsed: Seconds, before: int) -> str:
    """``120 of 400 runs; about 80 s to come, up to 200 s if intervals stay wide``.

    With an unknown number of workers the pace of the runs since the begin, ``elapsed`` seconds ago, gives the estimate.
    """
    counted = f"{standing.done} of {standing.wanted} runs"
    left, most = standing.seconds_left, standing.seconds_left_most
    if left is None or most is None:
        return counted
    if workers is None:
        done = standing.done - before
        if done <= 0:
            return counted
        pace = elapsed / done
        left, most = pace * (standing.wanted - standing.done), pace * (standing.most - standing.done)
    else:
        left, most = left / workers, most / workers
    said = f"{counted}; about {_duration(left)} to come"
    return said if standing.most == standing.wanted else f"{said}, up to {_duration(most)} if intervals stay wide"


def _duration(seconds: Seconds) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004 - two hours
