"""What all checks of a small history cost. Thousands of small histories are judged by tests and by crash campaigns."""

from __future__ import annotations

import cProfile

from reports.invariants import run_checks

from ..support.client_world import history, sound

MOST_CALLS = 450_000
"""Function calls, which no other program on the machine changes; about a tenth of a second of CPU."""


def test_a_small_history_costs_few_calls() -> None:
    """Tables of a few dozen rows are compared by numbers; merging and grouping each of them cost 880,000 calls."""
    small = history(sound(), stored=True)
    assert 0 < len(small.observed) < 100
    profile = cProfile.Profile()
    profile.runcall(run_checks, small)
    assert sum(entry.callcount for entry in profile.getstats()) < MOST_CALLS
