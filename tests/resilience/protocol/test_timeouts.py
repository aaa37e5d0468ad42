"""Timeouts that share one duration, against the plain arithmetic of a dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.protocol.timeouts import TimeoutQueue

STEPS = st.lists(st.tuples(st.sampled_from(["start", "cancel", "due", "late"]), st.integers(0, 4), st.floats(0.0, 3.0)))


@given(STEPS)
def test_each_key_is_due_once_at_its_own_time(steps: list[tuple[str, int, float]]) -> None:
    queue: TimeoutQueue[int] = TimeoutQueue(5.0)
    expected: dict[int, float] = {}
    now = 0.0
    for action, key, later in steps:
        now += later
        if action == "start":
            queue.start(key, now)
            expected[key] = now + 5.0
        elif action == "cancel":
            queue.cancel(key)
            expected.pop(key, None)
        elif action == "late":
            queue.extend_by_lag(later, now)
            expected = {key: max(at, min(at + later, now + 5.0), now + 0.5) for key, at in expected.items()}
        else:
            due = {key for key, deadline in expected.items() if deadline <= now}
            found = queue.due(now)
            assert set(found) == due
            assert [expected[key] for key in found] == sorted(expected[key] for key in due)
            expected = {key: deadline for key, deadline in expected.items() if key not in due}
        assert queue.next_deadline() == min(expected.values(), default=None)


def test_a_key_that_is_started_twice_at_once_is_due_once() -> None:
    queue: TimeoutQueue[str] = TimeoutQueue(1.0)
    queue.start("a", 0.0)
    queue.start("a", 0.0)
    assert queue.due(1.0) == ["a"]
    assert queue.due(2.0) == []


def test_nothing_is_due_once_all_is_cancelled() -> None:
    queue: TimeoutQueue[str] = TimeoutQueue(1.0)
    queue.start("a", 0.0)
    queue.clear()
    assert queue.next_deadline() is None
    assert queue.due(9.0) == []
