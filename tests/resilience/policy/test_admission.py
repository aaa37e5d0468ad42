"""Admission: no more than the server can work, a slot of one's own for the rest, and a herd served at full speed."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.admission import MAX_SLOT_S, SLOT_SHARE, AdmissionController

CAPACITIES = st.floats(1.0, 5000.0)
LIMITS = st.floats(0.1, 5.0)
GAPS = st.lists(st.floats(0.0, 0.5), min_size=1, max_size=300)


@given(CAPACITIES, LIMITS, GAPS)
def test_no_more_come_in_than_the_queue_and_the_capacity_allow(
    capacity: float, limit: float, gaps: list[float]
) -> None:
    """From the first arrival on: at most capacity x (time + limit) and the one that meets the bound."""
    admission, let_in = AdmissionController(capacity, limit), 0
    for now in itertools.accumulate(gaps):
        let_in += admission.try_admit(now) is None
        assert let_in <= capacity * (now - gaps[0] + limit) + 1 + 1e-6
        assert admission.backlog(now) <= limit + 1 / capacity + 1e-6


@given(CAPACITIES, LIMITS, st.integers(1, 2000))
def test_no_two_are_given_the_same_slot(capacity: float, limit: float, herd: int) -> None:
    """Slots up to the longest one are at least 1/(0.9 capacity) apart, and none is before the queue has gone."""
    admission = AdmissionController(capacity, limit)
    slots = [slot for slot in (admission.try_admit(5.0) for _ in range(herd)) if slot is not None]
    own = [slot for slot in slots if slot < MAX_SLOT_S]
    apart = 1 / (SLOT_SHARE * capacity)
    assert all(later - earlier >= apart * (1 - 1e-6) - 1e-9 for earlier, later in itertools.pairwise(own))
    assert all(slot >= limit for slot in own)


@given(CAPACITIES, LIMITS, st.integers(1, 50), st.floats(0.0, 100.0))
def test_a_server_that_runs_late_takes_nobody(capacity: float, limit: float, herd: int, lag: float) -> None:
    """The loop's own lag is work too: above the limit everybody is sent away, for at least as long as it runs late."""
    slots = [AdmissionController(capacity, limit).try_admit(0.0, lag) for _ in range(herd)]
    assert all((slot is None) == (lag <= limit) for slot in slots)
    assert all(slot is None or slot >= min(lag, MAX_SLOT_S) for slot in slots)


def test_an_idle_server_owes_nothing() -> None:
    """Work that is done is forgotten: after a pause the whole queue is free again."""
    admission = AdmissionController(10.0, 1.0)
    for start in (0.0, 1000.0):
        assert admission.backlog(start) == 0.0
        herd = [admission.try_admit(start) for _ in range(12)]
        assert herd[:10] == [None] * 10
        assert herd[11] is not None


def served(herd: int, capacity: float, limit: float, over: float = 0.0) -> tuple[list[float], Counter[int], float]:
    """When each of a herd got in that returns exactly in its slots, how often each was sent away, the longest queue."""
    admission, longest = AdmissionController(capacity, limit), 0.0
    arrivals = [(i * over / herd, i) for i in range(herd)]
    heapq.heapify(arrivals)
    entered: dict[int, float] = {}
    turned: Counter[int] = Counter()
    while arrivals:
        now, who = heapq.heappop(arrivals)
        slot = admission.try_admit(now)
        longest = max(longest, admission.backlog(now))
        if slot is None:
            entered[who] = now + admission.backlog(now)
        else:
            turned[who] += 1
            heapq.heappush(arrivals, (now + slot, who))
    return list(entered.values()), turned, longest


@pytest.mark.parametrize("over", [0.0, 0.5, 5.0])
def test_a_herd_of_ten_thousand_is_served_at_nearly_full_speed(over: float) -> None:
    """F18: everybody is in within 1.25 x N/capacity, nobody is sent away more than twice, the queue stays bounded."""
    herd, capacity, limit = 10_000, 300.0, 2.0
    entered, turned, longest = served(herd, capacity, limit, over)
    assert len(entered) == herd
    assert max(entered) <= 1.25 * herd / capacity
    assert max(turned.values()) <= 2
    assert longest <= limit + 1 / capacity + 1e-9


def test_a_herd_beyond_the_longest_slot_still_comes_in_without_being_sent_away_often() -> None:
    """Ten times as many: those past the longest slot ask again then, nobody more than a handful of times."""
    herd, capacity = 60_000, 300.0
    entered, turned, longest = served(herd, capacity, 2.0)
    assert len(entered) == herd
    assert max(entered) <= 1.25 * herd / capacity
    assert max(turned.values()) <= 6
    assert longest <= 2.0 + 1 / capacity + 1e-9


@given(st.floats(-1e6, 1e6))
def test_the_clock_may_stand_anywhere_at_the_start(now: float) -> None:
    """A run's clock shows less than zero before the run begins: that is no queue."""
    assert AdmissionController(3000.0, 2.0).try_admit(now) is None
