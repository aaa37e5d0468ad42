"""The one list of deadlines, against a naive one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.protocol.deadlines import DeadlineQueue

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("schedule"), st.sampled_from("abcd"), st.integers(0, 20).map(float)),
        st.tuples(st.just("drop"), st.sampled_from("abcd"), st.just(0.0)),
        st.tuples(st.just("due"), st.just(""), st.integers(0, 20).map(float)),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_is_a_dictionary_of_deadlines(steps: list[tuple[str, str, float]]) -> None:
    """Whatever is scheduled, moved and dropped: the same deadlines and the same order as sorting a plain dictionary."""
    queue, naive = DeadlineQueue(), dict[str, float]()
    for what, key, at in steps:
        if what == "schedule":
            queue.schedule(key, at)
            naive[key] = at
        elif what == "drop":
            queue.cancel(key)
            naive.pop(key, None)
        else:
            due = sorted((when, name) for name, when in naive.items() if when <= at)
            assert queue.due(at) == [name for _, name in due]
            for _, name in due:
                del naive[name]
        assert queue.next_deadline() == min(naive.values(), default=None)


def test_a_deadline_is_due_at_its_instant() -> None:
    """Neither before nor twice."""
    queue = DeadlineQueue()
    queue.schedule("a", 5.0)
    assert queue.due(4.999) == []
    assert queue.due(5.0) == ["a"]
    assert queue.due(5.0) == []


def test_moving_a_deadline_forgets_the_old_one() -> None:
    """Earlier or later."""
    queue = DeadlineQueue()
    queue.schedule("a", 5.0)
    queue.schedule("a", 9.0)
    queue.schedule("b", 9.0)
    queue.schedule("b", 2.0)
    assert queue.due(8.0) == ["b"]
    assert queue.next_deadline() == 9.0


def test_it_does_not_grow_by_repetition() -> None:
    """The same deadline set again and again is kept once."""
    queue = DeadlineQueue()
    for _ in range(1000):
        queue.schedule("a", 5.0)
    assert len(queue._heap) == 1
