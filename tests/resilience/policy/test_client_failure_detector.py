"""The client's failure detector while a reply is owed: what comes down does not prove the way up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.failure_detectors import LAG_TOLERANCE_S, ClientFailureDetector, LivenessAction, ProbeTimeouts

RULES = ProbeTimeouts()
STEPS = st.lists(st.tuples(st.floats(0.0, 0.4), st.sampled_from(("", "", "heard", "asked", "answered", "hint"))))


@given(STEPS)
def test_nobody_is_dead_whose_probe_was_not_left_alone(steps: list[tuple[float, str]]) -> None:
    """Death needs a probe that had its whole deadline, and either silence since, or a reply that is owed."""
    liveness, now, probed, heard, replied, owed = ClientFailureDetector(RULES, 0.0), 0.0, -1.0, 0.0, 0.0, False
    for wait, event in steps:
        now += wait
        if event in ("heard", "answered"):
            liveness.heard(now)
            heard = now
        if event == "answered":
            liveness.answered(now, owing=False)
            replied, owed = now, False
        elif event == "asked":
            liveness.asked(now)
            owed = True
        due = liveness.suspect(now) if event == "hint" else liveness.due(now)
        if due is LivenessAction.PROBE:
            probed = now
        elif due is LivenessAction.DEAD:
            assert now - probed >= RULES.deadline
            assert heard <= probed or (owed and replied <= probed)
            return


@given(st.lists(st.floats(0.0, 0.4), min_size=40))
def test_an_owed_reply_is_missed_in_time_whatever_is_heard(waits: list[float]) -> None:
    """Silence and deadline after it was asked for, and at most the time between two looks more."""
    liveness, now = ClientFailureDetector(RULES, 0.0), 0.0
    liveness.asked(0.0)
    for wait in waits:
        now += wait
        liveness.heard(now)
        if liveness.due(now) is LivenessAction.DEAD:
            assert now >= RULES.silence + RULES.deadline
            return
    assert now <= RULES.silence + RULES.deadline + 3 * 0.4


@given(STEPS)
def test_after_a_look_the_next_one_is_later(steps: list[tuple[float, str]]) -> None:
    """Unless the peer is dead, nobody is asked to look twice at once."""
    liveness, now = ClientFailureDetector(RULES, 0.0), 0.0
    for wait, event in steps:
        now += wait
        if event == "asked":
            liveness.asked(now)
        elif event == "heard":
            liveness.heard(now)
        if liveness.due(now) is LivenessAction.DEAD:
            return
        assert liveness.next_deadline() > now


def test_a_late_look_at_an_owed_reply_asks_again() -> None:
    """F6: a client that slept does not take its own sleep for the server's."""
    liveness = ClientFailureDetector(RULES, 0.0)
    liveness.asked(0.0)
    assert liveness.due(4.0) is LivenessAction.PROBE
    liveness.heard(6.0 + LAG_TOLERANCE_S)
    assert liveness.due(6.1 + LAG_TOLERANCE_S) is LivenessAction.PROBE


def test_silence_is_told_as_silence_and_a_missing_reply_as_that() -> None:
    """The longer of what was waited for."""
    liveness = ClientFailureDetector(RULES, 0.0)
    liveness.asked(1.0)
    assert liveness.silence(5.0) == 5.0
    liveness.heard(4.0)
    assert liveness.silence(5.0) == 4.0
    liveness.answered(5.0, owing=False)
    assert liveness.silence(5.0) == 1.0
