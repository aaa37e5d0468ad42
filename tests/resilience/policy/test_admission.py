"""Admission: no more than the server can work, a slot of one's own for the rest, and a herd served at full speed."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.policy.admission import MAX_SLOT_S, SLOT_SHARE, AdmissionController
from resilience.policy.backoff import clamp_retry_after

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
    """Slots are at least 1/(0.9 capacity) apart until the longest wait is full; none is before the queue is done."""
    admission = AdmissionController(capacity, limit)
    slots = [slot for slot in (admission.try_admit(5.0) for _ in range(herd)) if slot is not None]
    apart = 1 / (SLOT_SHARE * capacity)
    for earlier, later in itertools.pairwise(slots):
        assert later - earlier >= apart * (1 - 1e-6) - 1e-9 or earlier > MAX_SLOT_S - 1.01 * apart
    assert all(limit <= slot <= MAX_SLOT_S for slot in slots)


@given(CAPACITIES, LIMITS, st.integers(1, 50), st.floats(0.0, 100.0))
def test_a_server_that_runs_late_admits_no_client(capacity: float, limit: float, herd: int, lag: float) -> None:
    """Above the limit every join is rejected, and comes back after the limit whatever the lag was: it may be over."""
    controller = AdmissionController(capacity, limit)
    slots = [controller.try_admit(0.0, lag) for _ in range(herd)]
    if lag <= limit:
        assert slots[0] is None
        return
    step = 1 / (SLOT_SHARE * capacity)
    for number, slot in enumerate(slots, 1):
        assert slot is not None
        assert limit <= slot <= min(limit + number * step + 1e-6, MAX_SLOT_S)
    assert AdmissionController(capacity, limit).try_admit(0.0, 0.0) is None, "a lag that has passed rejects no join"


def test_an_idle_server_owes_nothing() -> None:
    """Work that is done is forgotten: after a pause the whole queue is free again."""
    admission = AdmissionController(10.0, 1.0)
    for start in (0.0, 1000.0):
        assert admission.backlog(start) == 0.0
        herd = [admission.try_admit(start) for _ in range(12)]
        assert herd[:10] == [None] * 10
        assert herd[11] is not None


def served(herd: int, capacity: float, limit: float, over: float = 0.0) -> tuple[list[float], Counter[int], float]:
    """Admission times and rejections of a herd whose clients return exactly in their slots, and the longest queue."""
    admission, longest = AdmissionController(capacity, limit), 0.0
    arrivals = [(i * over / herd, i) for i in range(herd)]
    heapq.heapify(arrivals)
    entered: dict[int, float] = {}
    rejections: Counter[int] = Counter()
    while arrivals:
        now, who = heapq.heappop(arrivals)
        slot = admission.try_admit(now)
        longest = max(longest, admission.backlog(now))
        if slot is None:
            entered[who] = now + admission.backlog(now)
        else:
            rejections[who] += 1
            heapq.heappush(arrivals, (now + slot, who))
    return list(entered.values()), rejections, longest


@pytest.mark.parametrize("over", [0.0, 0.5, 5.0])
def test_a_herd_of_ten_thousand_is_served_at_nearly_full_speed(over: float) -> None:
    """F18: all clients are in within 1.25 x N/capacity, each is rejected at most twice, the queue stays bounded."""
    herd, capacity, limit = 10_000, 300.0, 2.0
    entered, rejections, longest = served(herd, capacity, limit, over)
    assert len(entered) == herd
    assert max(entered) <= 1.25 * herd / capacity
    assert max(rejections.values()) <= 2
    assert longest <= limit + 1 / capacity + 1e-9


def test_a_herd_with_slots_of_minutes_is_rejected_at_most_twice() -> None:
    """Its last slot is 222 s away; no client has to ask again before it."""
    herd, capacity = 60_000, 300.0
    entered, rejections, longest = served(herd, capacity, 2.0)
    assert len(entered) == herd
    assert max(entered) <= 1.25 * herd / capacity
    assert max(rejections.values()) <= 2
    assert longest <= 2.0 + 1 / capacity + 1e-9


def returns(herd: int, capacity: float) -> list[float]:
    """When each of a herd that arrives at 0 and is not admitted comes back, as its client follows the advice."""
    admission = AdmissionController(capacity, 2.0)
    slots = (admission.try_admit(0.0) for _ in range(herd))
    return sorted(clamp_retry_after(slot) or 0.0 for slot in slots if slot is not None)


def busiest_second(times: list[float]) -> int:
    """The most of these ascending times within any second, wherever it begins."""
    first = most = 0
    for i, time in enumerate(times):
        while times[first] <= time - 1.0:
            first += 1
        most = max(most, i - first + 1)
    return most


@pytest.mark.parametrize("herd, capacity", [(400_000, 3000.0), (60_000, 300.0), (20_000, 50.0), (1000, 2.0)])
def test_a_herd_does_not_return_faster_than_the_server_takes_it(herd: int, capacity: float) -> None:
    times = returns(herd, capacity)
    assert len(times) >= herd - 2 * capacity - 2
    assert busiest_second(times) <= capacity


@given(st.floats(20.0, 1000.0), st.floats(0.01, 1.0))
@settings(deadline=None, max_examples=20)
def test_a_herd_of_any_size_within_the_longest_wait_returns_within_capacity(capacity: float, share: float) -> None:
    """``share``: the crowd as a share of the slots within the longest wait."""
    herd = int(share * SLOT_SHARE * capacity * MAX_SLOT_S)
    assert busiest_second(returns(min(herd, 200_000), capacity)) <= capacity


@given(st.floats(1.0, 20.0), st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_a_herd_beyond_the_longest_wait_is_spread_over_all_of_it(capacity: float, rounds: int) -> None:
    """Not fewer returns per second than these are possible: so many rounds of the longest wait are full."""
    herd = int(rounds * SLOT_SHARE * capacity * MAX_SLOT_S)
    times = returns(herd, capacity)
    assert times[-1] <= MAX_SLOT_S
    assert busiest_second(times) <= (rounds + 1) * (SLOT_SHARE * capacity + 1)


@given(st.floats(-1e6, 1e6))
def test_the_clock_may_stand_anywhere_at_the_start(now: float) -> None:
    """A run's clock shows less than zero before the run begins: that is no queue."""
    assert AdmissionController(3000.0, 2.0).try_admit(now) is None
