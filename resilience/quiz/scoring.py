"""Points for one answer. Pure; the only clock is the server's receive time."""

from __future__ import annotations

from resilience.units import Seconds

FULL_POINTS = 1000
SLOWEST_SHARE = 0.5


def points(*, correct: bool, taken: Seconds, allowed: Seconds) -> int:
    """0 for a wrong answer; for a right one 1000 at once, falling linearly to 500 at the deadline.

    ``taken`` is the time from the question's opening to the answer's arrival at the server, on the server's clock.
    """
    if not correct:
        return 0
    lateness = min(max(taken / allowed, 0.0), 1.0)
    return round(FULL_POINTS * (1.0 - SLOWEST_SHARE * lateness))
