"""Requests leave their queue in the order of instant and participant, whenever they were put."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.population.requests import REQUEST, RequestQueue, Requests
from sim.population.rules import WINDOW_S

INSTANT = st.integers(0, 3 * 64).map(lambda eighths: eighths / 8)
ROWS = st.lists(st.tuples(INSTANT, st.integers(0, 5)), max_size=12, unique=True)


def requests(pairs: list[tuple[float, int]]) -> Requests:
    """Requests at these instants, of these participants."""
    rows = np.zeros(len(pairs), REQUEST)
    for row, (at, who) in zip(rows, pairs, strict=True):
        row["at"], row["who"] = at, who
    return rows


@given(first=ROWS, later=ROWS, stops=st.lists(st.tuples(INSTANT, st.integers(-1, 5)), max_size=6))
def test_any_requests_leave_in_order(
    first: list[tuple[float, int]], later: list[tuple[float, int]], stops: list[tuple[float, int]]
) -> None:
    """Some are put while their window is open; a part of each stretch is put back, as a station does."""
    queue, taken = RequestQueue(), list[tuple[float, int]]()
    queue.put(requests(first))
    waiting = [pair for pair in later if pair not in first]
    for window in range(4):
        queue.open(window)
        end = (window + 1) * WINDOW_S
        for stop in [*sorted(each for each in stops if end - WINDOW_S <= each[0] < end), (end, -1)]:
            while len(rows := queue.before(*stop)):
                keep = rows[: max(len(rows) // 2, 1)]
                taken += [(float(row["at"]), int(row["who"])) for row in keep]
                queue.put(rows[len(keep) :])
                queue.put(requests([pair for pair in waiting if pair > taken[-1]]))
                waiting = [pair for pair in waiting if pair <= taken[-1]]
    assert taken == sorted(taken)
    assert sorted([*taken, *waiting]) == sorted({*first, *later})
