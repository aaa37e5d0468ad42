"""The client's failure detector while a reply is owed: inbound messages do not prove the outbound direction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.failure_detectors import LAG_TOLERANCE_S, ClientFailureDetector, LivenessAction, ProbeTimeouts

RULES = ProbeTimeouts()
STEPS = st.lists(st.tuples(st.floats(0.0, 0.4), st.sampled_from(("", "", "heard", "asked", "answered", "hint"))))


@given(STEPS)
def test_death_needs_a_probe_without_a_reply_for_its_whole_deadline(steps: list[tuple[float, str]]) -> None:
    """It needs silence since the probe, or an owed reply."""
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
def test_an_owed_reply_is_missed_in_time_despite_other_messages(waits: list[float]) -> None:
    """After silence and deadline, plus at most the time between two checks."""
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
def test_the_next_deadline_is_after_the_check(steps: list[tuple[float, str]]) -> None:
    """Unless the peer is dead, no second check is due at the same time."""
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


def test_a_late_check_of_an_owed_reply_probes_again() -> None:
    """F6: a client that slept does not count its own sleep as the server's silence."""
    liveness = ClientFailureDetector(RULES, 0.0)
    liveness.asked(0.0)
    assert liveness.due(4.0) is LivenessAction.PROBE
    liveness.heard(6.0 + LAG_TOLERANCE_S)
    assert liveness.due(6.1 + LAG_TOLERANCE_S) is LivenessAction.PROBE


def test_silence_is_the_longer_of_silence_and_missing_reply() -> None:
    liveness = ClientFailureDetector(RULES, 0.0)
    liveness.asked(1.0)
    assert liveness.silence(5.0) == 5.0
    liveness.heard(4.0)
    assert liveness.silence(5.0) == 4.0
    liveness.answered(5.0, owing=False)
    assert liveness.silence(5.0) == 1.0
