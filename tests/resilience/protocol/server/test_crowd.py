"""How many may come back to a process: each participant of each event once, while its event runs here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.protocol.server.crowd import EventCrowd, ServerCrowd

STEPS = st.lists(st.tuples(st.sampled_from(("add", "discard", "disband")), st.integers(0, 2), st.sampled_from("ab")))


@given(STEPS)
def test_the_crowd_of_a_server_is_that_of_its_events(steps: list[tuple[str, int, str]]) -> None:
    server = ServerCrowd()
    events, expected = [EventCrowd(server) for _ in range(3)], [set[str]() for _ in range(3)]
    gone = set[int]()
    for step, event, participant in steps:
        if step == "add":
            events[event].add(participant)
            expected[event].add(participant)
        elif step == "discard":
            events[event].discard(participant)
            expected[event].discard(participant)
        else:
            events[event].disband()
            gone.add(event)
        assert server.size == sum(len(each) for number, each in enumerate(expected) if number not in gone)
