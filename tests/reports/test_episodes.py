"""Episodes: who was touched, when what was noticed, how it ended."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.episodes import affected_by_window, episodes_frame, exposure_doubts
from reports.windows import windows_frame
from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.faults import BlackholeFault, CutFault, RefuseFault, ServerKillFault
from resilience.lab.participants import participants_of

from ..support.log_builder import LogBuilder, experiment, sample_history

CUT = "0.0:cut@alpha"
HOLE = "0.0:blackhole@alpha"
STALL = "0.0:stall@alpha"
"""A window of a kind that connections may survive."""


def _one(history: LogBuilder, fault_id: str = CUT, who: str = "a") -> pd.Series:
    frame = episodes_frame(history.log())
    return frame[(frame["fault_id"] == fault_id) & (frame["participant"] == who)].iloc[0]


def _cut() -> LogBuilder:
    return LogBuilder(experiment()).join("a").fault(CUT, 10.0, 10.0)


def _hole(*, twice: bool = False) -> LogBuilder:
    hole = BlackholeFault(at=10.0, cohorts=("alpha",), duration=8.0, times=2 if twice else 1, every=20.0)
    return LogBuilder(experiment((hole,))).join("a").fault(HOLE, 10.0, 18.0)


def test_all_four_clocks_of_a_restored_episode() -> None:
    """Detection, reconnection, downtime, excess and attempts are the differences SPEC section 6 names."""
    history = _hole().lose("a", 15.0).dial("a", 16.0).dial("a", 18.4, 18.5).restore("a", 18.6).end()
    row = _one(history, HOLE)
    assert row["outcome"] == "restored"
    assert row["came_back_by"] == "resumed"
    assert (row["detection_s"], row["reconnection_s"]) == pytest.approx((5.0, 3.6))
    assert (row["downtime_s"], row["excess_s"]) == pytest.approx((8.6, 0.6))
    assert (row["connected_at"], row["restored_at"]) == pytest.approx((18.5, 18.6))
    assert row["attempts"] == 2


def test_the_server_may_notice_first() -> None:
    """Detection is the first loss noticed by either side."""
    history = _hole().lose("a", 15.0, server_at=12.0).back("a", 19.0).end()
    row = _one(history, HOLE)
    assert (row["detected_by"], row["detection_s"]) == ("server", pytest.approx(2.0))


def test_a_loss_inside_the_call_bracket_belongs_to_the_fault() -> None:
    """A loss between the start of the injecting call and its stamp counts, with detection 0."""
    history = LogBuilder(experiment()).join("a")
    history.add(
        10.0, Role.INJECTOR, "alpha", LogEventKind.FAULT_STARTED, ref=CUT, value=10.0, detail="9.900000..10.000000"
    )
    history.add(10.1, Role.INJECTOR, "alpha", LogEventKind.FAULT_CONFIRMED, ref=CUT)
    history.add(10.1, Role.INJECTOR, "alpha", LogEventKind.FAULT_ENDED, ref=CUT)
    row = _one(history.lose("a", 9.95).back("a", 11.0).end())
    assert (row["outcome"], row["detection_s"]) == ("restored", 0.0)


def test_rejoined_after_clean_up_is_distinguished() -> None:
    """The same identity taken back after clean-up is restored, and says so."""
    history = _cut().lose("a", 10.0).dial("a", 12.0, 12.1).restore("a", 12.2, outcome="rejoined").end()
    row = _one(history)
    assert (row["outcome"], row["came_back_by"]) == ("restored", "rejoined")


def test_a_wrong_state_is_corrupt_and_never_restored() -> None:
    """A digest that differs from the server's makes the episode corrupt, without a restored_at."""
    history = _cut().lose("a", 10.0).dial("a", 10.2, 10.3).restore("a", 10.4, holds="something else").end()
    row = _one(history)
    assert (row["outcome"], row["never"], row["returned"]) == ("corrupt", True, False)
    assert pd.isna(row["restored_at"])


def test_a_restore_the_server_knows_nothing_of_is_corrupt() -> None:
    """Without the server's record there is no truth to agree with."""
    history = _cut().lose("a", 10.0).dial("a", 10.2, 10.3).restore("a", 10.4).end()
    history.events = [event for event in history.events if event.kind is not LogEventKind.SESSION_RESUMED]
    assert _one(history)["outcome"] == "corrupt"


def test_missing_digests_never_read_as_agreement() -> None:
    """Two missing digests are not equal ones."""
    history = _cut().lose("a", 10.0).dial("a", 10.2, 10.3).restore("a", 10.4).end()
    kinds = (LogEventKind.SESSION_RESUMED, LogEventKind.SESSION_RESTORED)
    blank = [event for event in history.events if event.kind in kinds]
    for event in blank:
        history.events.remove(event)
        number, session = event.connection_no, event.session_id
        history.add(
            event.t, event.role, event.actor, event.kind, cohort=event.cohort, session_id=session, connection_no=number
        )
    assert _one(history)["outcome"] == "corrupt"


def test_a_new_identity_is_identity_lost() -> None:
    """A return through a join is the return of another participant."""
    history = _cut().lose("a", 10.0).dial("a", 10.2, 10.3).become_new("a", 10.4).end()
    row = _one(history)
    assert (row["outcome"], row["came_back_by"]) == ("identity_lost", "joined")


def test_giving_up_ends_the_episode_even_if_a_click_brings_it_back() -> None:
    """A client that gave up did not come back by itself; what a person does later does not count."""
    history = _cut().lose("a", 10.0).dial("a", 10.2).give_up("a", 11.0).dial("a", 20.0, 20.1).restore("a", 20.2).end()
    row = _one(history)
    assert (row["outcome"], row["reconnection_s"], row["never"]) == ("gave_up", pytest.approx(1.0), True)


def test_giving_up_in_the_very_moment_of_the_loss() -> None:
    """A client without any attempt left gives up when it notices."""
    assert _one(_cut().lose("a", 10.0).give_up("a", 10.0).end())["outcome"] == "gave_up"


def test_a_terminal_close_counts_as_giving_up() -> None:
    stopped = _cut().lose("a", 10.0).client(11.0, "a", LogEventKind.CLIENT_DISMISSED, cause="4203").end()
    assert _one(stopped)["outcome"] == "gave_up"


@pytest.mark.parametrize(
    "kind, outcome", [(LogEventKind.CLIENT_LEFT, "left"), (LogEventKind.SESSION_SUPERSEDED, "superseded")]
)
@pytest.mark.parametrize("noticed", [True, False])
def test_the_persons_own_choice_is_no_failure(kind: LogEventKind, outcome: str, noticed: bool) -> None:
    """A client that leaves during the outage, or is replaced by another tab, was not asked to come back."""
    history = _cut().lose("a", 10.0) if noticed else _cut()
    row = _one(history.client(11.0, "a", kind).end())
    assert (row["outcome"], row["affected"]) == (outcome, False)
    assert pd.isna(row["downtime_s"])


def test_excess_is_never_negative() -> None:
    """Restored a moment before the heal was stamped: the policy cost nothing on top of the network."""
    row = _one(_hole().lose("a", 15.0).back("a", 17.9).end(), HOLE)
    assert (row["outcome"], row["excess_s"]) == ("restored", 0.0)


def test_the_run_may_end_first() -> None:
    """Still away at the end is censored, observed until then."""
    row = _one(_cut().lose("a", 10.0).dial("a", 10.2).end(30.0))
    assert (row["outcome"], row["downtime_s"], row["never"]) == ("censored", pytest.approx(20.0), False)


def test_events_after_the_end_do_not_count() -> None:
    """What happens while the run is torn down is not part of it."""
    history = _cut().lose("a", 10.0).end(30.0).back("a", 31.0)
    assert _one(history)["outcome"] == "censored"


def _alive(history: LogBuilder, sign: str, t: float) -> LogBuilder:
    """The connection of participant ``a`` works at ``t``, as one end records."""
    if sign == "delivered":
        return history.deliver("a", t, 1)
    if sign == "probed":  # five seconds later it says for how long it has heard nothing
        return history.client(t + 5.0, "a", LogEventKind.PEER_SUSPECTED, value=5.0)
    if sign == "answered":
        return history.client(t, "a", LogEventKind.PONG_SENT)
    return history.server(t, "a", LogEventKind.HEARTBEAT_ACKED, value=0.01)


SIGNS = ("delivered", "probed", "answered", "acked")


@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_of_life_after_the_heal_is_riding_through(sign: str) -> None:
    """Where the kind of fault leaves connections open; such an episode is no reconnection, and has no latency."""
    row = _one(_alive(LogBuilder(experiment()).join("a").fault(STALL, 10.0, 18.0), sign, 18.5).end(), STALL)
    assert (row["outcome"], row["affected"]) == ("rode_through", False)
    assert pd.isna(row["downtime_s"])


def test_riding_through_needs_a_sign_of_life() -> None:
    """A log that falls silent proves neither a return nor a survival."""
    silent = LogBuilder(experiment()).join("a").deliver("a", 9.0, 1).fault(STALL, 10.0, 18.0).deliver("a", 12.0, 2)
    row = _one(silent.end(), STALL)
    assert (row["outcome"], row["affected"]) == ("censored", True)
    assert row[["detected_at", "detected_by", "detection_s"]].isna().all()


def test_a_sign_of_life_on_another_connection_is_none() -> None:
    """A client that dials again has not ridden through, even if it recorded no loss."""
    history = LogBuilder(experiment()).join("a").fault(STALL, 10.0, 18.0).dial("a", 18.1, 18.2).deliver("a", 18.5, 1)
    assert _one(history.end(), STALL)["outcome"] == "censored"


def test_how_long_a_reply_has_been_owed_is_no_sign_of_life() -> None:
    """A client that waits for an acknowledgement probes earlier, and says for how long it has waited."""
    history = LogBuilder(experiment()).join("a").fault(STALL, 10.0, 18.0)
    history.client(20.0, "a", LogEventKind.PEER_SUSPECTED, value=1.0)
    assert _one(history.end(), STALL)["outcome"] == "censored"


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("kind", ["cut", "reset", "refuse", "blackhole", "server_kill"])
def test_a_connection_that_survives_its_closing_bypassed_the_proxy(kind: str, sign: str) -> None:
    """These kinds leave no connection open, so one that lived on was never on the link."""
    fault_id = f"0.0:{kind}@{'server' if kind == 'server_kill' else 'alpha'}"
    history = LogBuilder(experiment(faults=())).join("a").join("b").fault(fault_id, 10.0, 12.0)
    _alive(history, sign, 12.5).lose("b", 10.0).back("b", 13.0)
    frame = episodes_frame(history.end().log())
    assert dict(zip(frame["participant"], frame["outcome"], strict=True)) == {"a": "not_exposed", "b": "restored"}
    (doubt,) = exposure_doubts(frame)
    assert f"{fault_id}: 1 of 2 connected participants were not exposed" in doubt


def test_a_sign_of_life_during_an_outage_that_closes_at_once_is_a_bypass() -> None:
    history = LogBuilder(experiment(faults=())).join("a").fault("0.0:refuse@alpha", 10.0, 20.0).deliver("a", 15.0, 1)
    assert _one(history.end(), "0.0:refuse@alpha")["outcome"] == "not_exposed"


def test_what_still_arrives_while_connections_close_is_no_bypass() -> None:
    """Bytes that were under way, read by a client that is late: its loss follows."""
    row = _one(_cut().deliver("a", 10.2, 1).lose("a", 10.4).back("a", 11.0).end())
    assert (row["outcome"], row["detection_s"]) == ("restored", pytest.approx(0.4))


def test_a_later_loss_is_not_the_faults_once_the_connection_proved_alive() -> None:
    """Nothing of this fault ends a connection that worked half a minute afterwards."""
    row = _one(_cut().deliver("a", 20.0, 1).lose("a", 40.0).back("a", 41.0).end())
    assert row["outcome"] == "not_exposed"


def test_participants_without_a_connection_raise_no_doubt() -> None:
    history = LogBuilder(experiment((RefuseFault(at=12.0, cohorts=("alpha",), duration=2.0),)))
    history.join("a").lose("a", 9.0).dial("a", 9.5).fault("0.0:refuse@alpha", 12.0, 14.0).back("a", 20.0).end()
    assert exposure_doubts(episodes_frame(history.log())) == ()


def test_a_loss_from_the_heal_belongs_to_the_episode() -> None:
    """Ending a hole closes the links: that loss is the fault's work, even though it comes after it."""
    row = _one(_hole().lose("a", 18.3).back("a", 18.9).end(), HOLE)
    assert (row["outcome"], row["detection_s"], row["excess_s"]) == ("restored", pytest.approx(8.3), pytest.approx(0.9))


def test_a_loss_from_the_next_fault_does_not() -> None:
    """What the next fault breaks is the next fault's."""
    history = _hole(twice=True).fault("0.1:blackhole@alpha", 30.0, 38.0).deliver("a", 25.0, 1)
    history.lose("a", 33.0).back("a", 39.0).end()
    assert _one(history, HOLE)["outcome"] == "not_exposed"
    assert _one(history, "0.1:blackhole@alpha")["outcome"] == "restored"


def _two_refusals(second_at: float) -> LogBuilder:
    """A refusal from 10 to 13 s and one of three seconds at ``second_at``."""
    faults = (
        RefuseFault(at=10.0, cohorts=("alpha",), duration=3.0),
        RefuseFault(at=second_at, cohorts=("alpha",), duration=3.0),
    )
    history = LogBuilder(experiment(faults)).join("a").fault("0.0:refuse@alpha", 10.0, 13.0)
    return history.fault("1.0:refuse@alpha", second_at, second_at + 3.0)


def _only(history: LogBuilder) -> pd.Series:
    frame = episodes_frame(history.end().log())
    assert len(frame) == 1
    return frame.iloc[0]


def test_two_windows_before_the_return_are_one_outage() -> None:
    """The clock of the excess stands still while the network is down again; the return counts once."""
    row = _only(_two_refusals(14.0).lose("a", 10.1).dial("a", 12.0).dial("a", 15.0).back("a", 18.0))
    assert (row["fault_id"], row["last_fault_id"], row["windows"]) == ("0.0:refuse@alpha", "1.0:refuse@alpha", 2)
    assert (row["downtime_s"], row["outage_s"], row["excess_s"]) == pytest.approx((8.0, 6.0, 2.0))
    assert (row["healed_at"], row["heal_s"], row["restored_at"]) == pytest.approx((17.0, 7.0, 18.0))
    assert (row["attempts"], row["detection_s"]) == (3, pytest.approx(0.1))


def test_two_windows_around_a_return_are_two_outages() -> None:
    history = _two_refusals(14.0).lose("a", 10.1).back("a", 13.9).lose("a", 14.0).back("a", 17.5)
    frame = episodes_frame(history.end().log())
    assert frame["windows"].tolist() == [1, 1]
    assert frame["excess_s"].tolist() == pytest.approx([0.9, 0.5])
    assert frame["event"].nunique() == 2


@pytest.mark.parametrize("second_at", [11.0, 13.0])
def test_windows_that_overlap_or_touch_are_one_outage(second_at: float) -> None:
    row = _only(_two_refusals(second_at).lose("a", 10.1).dial("a", 12.0).back("a", second_at + 4.0))
    assert (row["windows"], row["outage_s"]) == (2, pytest.approx(second_at - 10.0 + 3.0))
    assert row["excess_s"] == pytest.approx(1.0)


def test_a_window_within_another_adds_nothing() -> None:
    faults = (BlackholeFault(at=10.0, cohorts=("alpha",), duration=8.0), CutFault(at=14.0, cohorts=("alpha",)))
    history = LogBuilder(experiment(faults)).join("a").fault(HOLE, 10.0, 18.0).fault("1.0:cut@alpha", 14.0, 14.0)
    row = _only(history.lose("a", 14.0).dial("a", 15.0).back("a", 18.6))
    assert (row["windows"], row["outage_s"], row["excess_s"]) == (2, pytest.approx(8.0), pytest.approx(0.6))
    assert row["healed_at"] == pytest.approx(18.0)


def test_a_window_during_which_the_participant_waits_belongs_to_its_outage() -> None:
    """It dials before and after the second refusal only, and still could not have returned meanwhile."""
    row = _only(_two_refusals(14.0).lose("a", 10.1).dial("a", 12.0).back("a", 20.0))
    assert (row["windows"], row["excess_s"]) == (2, pytest.approx(4.0))


def test_events_that_share_an_outage_are_one_event() -> None:
    """One participant was away for both refusals, the other came back between them."""
    history = _two_refusals(14.0).join("b").lose("a", 10.1).dial("a", 12.0).dial("a", 15.0).back("a", 18.0)
    history.lose("b", 10.1).back("b", 13.5).lose("b", 14.0).back("b", 17.5)
    frame = episodes_frame(history.end().log())
    assert len(frame) == 3
    assert set(frame["event"]) == {"0.0"}
    assert set(frame["stratum"]) == {"refuse 3s"}


def test_a_window_that_continues_an_outage_touched_its_participants() -> None:
    history = _two_refusals(14.0).join("b").lose("a", 10.1).dial("a", 12.0).dial("a", 15.0).back("a", 18.0)
    log = history.lose("b", 10.1).back("b", 13.5).deliver("b", 20.0, 1).end().log()
    assert affected_by_window(episodes_frame(log), windows_frame(log)) == {"0.0:refuse@alpha": 2, "1.0:refuse@alpha": 1}


def test_an_outage_is_the_harness_if_one_of_its_windows_is() -> None:
    history = _two_refusals(14.0).lose("a", 10.1).dial("a", 12.0).dial("a", 15.0).back("a", 18.0)
    history.add(14.5, Role.INJECTOR, "alpha", LogEventKind.FAULT_INVALID, ref="1.0:refuse@alpha", cause="proxy hung")
    assert _only(history)["outcome"] == "harness"


def test_a_window_that_never_ends_leaves_the_excess_open() -> None:
    """Without a heal there is no time from it: not zero seconds."""
    history = LogBuilder(experiment((RefuseFault(at=10.0, cohorts=("alpha",), duration=3.0),))).join("a")
    history.fault("0.0:refuse@alpha", 10.0, 13.0).lose("a", 10.0).dial("a", 14.0).end()
    kinds = (LogEventKind.FAULT_ENDED, LogEventKind.FAULT_CLEARED)
    history.events = [event for event in history.events if event.kind not in kinds]
    row = _one(history, "0.0:refuse@alpha")
    assert (row["outcome"], row["downtime_s"]) == ("censored", pytest.approx(50.0))
    assert row[["healed_at", "excess_s", "heal_s"]].isna().all()


@pytest.mark.parametrize("back, outcome", [(True, "restored"), (False, "harness")])
def test_a_heal_that_no_canary_saw_is_proved_by_the_participant_or_not(back: bool, outcome: str) -> None:
    history = LogBuilder(experiment()).join("a").fault(CUT, 10.0, 10.0, cleared=False).lose("a", 10.0)
    assert _one((history.back("a", 11.0) if back else history.give_up("a", 11.0)).end())["outcome"] == outcome


def test_a_client_that_is_away_all_the_time_is_not_exposed() -> None:
    """Backing off through the whole window: the fault reached nothing of it."""
    history = LogBuilder(experiment((RefuseFault(at=12.0, cohorts=("alpha",), duration=2.0),)))
    history.join("a").lose("a", 9.0).dial("a", 9.5).fault("0.0:refuse@alpha", 12.0, 14.0).back("a", 20.0).end()
    assert _one(history, "0.0:refuse@alpha")["outcome"] == "not_exposed"


def test_a_dial_within_the_window_is_exposure() -> None:
    """The same client dialling once within the window was touched; it had noticed its loss before."""
    history = LogBuilder(experiment((RefuseFault(at=12.0, cohorts=("alpha",), duration=2.0),)))
    history.join("a").lose("a", 9.0).dial("a", 13.0).fault("0.0:refuse@alpha", 12.0, 14.0).back("a", 20.0).end()
    row = _one(history, "0.0:refuse@alpha")
    assert (row["outcome"], row["attempts"], row["reconnection_s"]) == ("restored", 2, pytest.approx(8.0))
    assert row[["detected_at", "detected_by", "detection_s"]].isna().all()


def test_a_client_that_never_joined_has_nothing_to_lose() -> None:
    """A client without a session is not exposed, and its first join is no lost identity."""
    history = LogBuilder(experiment()).join("b")
    history.join("a", 11.0).fault(CUT, 10.0, 10.0)
    history.people["a"].session = ""
    history.add(9.9, Role.CLIENT, "a", LogEventKind.TRANSPORT_OPENING, cohort="alpha").end()
    assert _one(history)["outcome"] == "not_exposed"


@pytest.mark.parametrize("how", ["unconfirmed", "invalid"])
def test_a_window_that_was_not_proved_is_the_harness(how: str) -> None:
    """A fault that no canary confirmed, or that one contradicts, is not charged to the system."""
    history = LogBuilder(experiment()).join("a").fault(CUT, 10.0, 10.0, confirmed=how != "unconfirmed")
    if how == "invalid":
        history.add(10.5, Role.INJECTOR, "alpha", LogEventKind.FAULT_INVALID, ref=CUT, cause="proxy hung")
    assert _one(history.lose("a", 10.0).give_up("a", 11.0).end())["outcome"] == "harness"


def test_only_the_cohort_of_the_window_has_episodes() -> None:
    """Clients of other cohorts are no part of a window."""
    history = (
        LogBuilder(experiment(cohorts=("alpha", "beta"))).join("a").join("b", cohort="beta").fault(CUT, 10.0, 10.0)
    )
    assert episodes_frame(history.lose("a", 10.0).back("a", 10.5).end().log())["participant"].tolist() == ["a"]


def test_dtypes_are_as_documented_even_without_episodes() -> None:
    """An empty run gives an empty frame with the same columns."""
    full = episodes_frame(_cut().lose("a", 10.0).back("a", 10.5).end().log())
    empty = episodes_frame(LogBuilder(experiment(faults=())).join("a").end().log())
    assert list(full.columns) == list(empty.columns)
    assert len(empty) == 0
    for name in ("fault_at", "detection_s", "reconnection_s", "downtime_s", "excess_s"):
        assert full[name].dtype == "float64"
    assert full["attempts"].dtype == "Int64"
    assert isinstance(full["outcome"].dtype, pd.CategoricalDtype)


def test_every_affected_episode_of_a_long_history_has_one_end() -> None:
    frame = episodes_frame(sample_history(clients=30).log())
    affected = frame[frame["affected"]]
    assert len(frame) == 30 * 9
    assert (affected["returned"] | affected["never"]).all()
    assert (affected["excess_s"] >= 0).all()
    assert (
        affected.loc[affected["returned"], "connected_at"] <= affected.loc[affected["returned"], "restored_at"]
    ).all()


def test_a_fault_of_the_server_strikes_every_cohort() -> None:
    fault = ServerKillFault(at=10.0, duration=3.0)
    history = LogBuilder(experiment((fault,))).join("a").join("b", cohort="beta")
    history.fault("0.0:server_kill@server", 10.0, 13.0)
    for who in ("a", "b"):
        history.lose(who, 10.1).back(who, 14.0)
    frame = episodes_frame(history.end().log())
    assert list(zip(frame["participant"], frame["cohort"], frame["outcome"], strict=True)) == [
        ("a", "alpha", "restored"),
        ("b", "beta", "restored"),
    ]


def test_a_share_strikes_its_victims_only() -> None:
    made = experiment((CutFault(at=10.0, cohorts=("alpha",), share=0.5),))
    history = LogBuilder(made)
    alpha = [participant for participant in participants_of(made, history.seed) if participant.cohort == "alpha"]
    for participant in alpha:
        history.join(participant.actor)
    history.fault(CUT, 10.0, 10.0)
    (window,) = made.windows(history.seed)
    victims = {participant.actor for participant in alpha if participant.link in window.links}
    for who in victims:
        history.lose(who, 10.0).back(who, 11.0)
    assert 0 < len(victims) < len(alpha)
    assert set(episodes_frame(history.end().log())["participant"]) == victims


def test_a_loss_belongs_to_the_fault_that_struck_the_participant_last() -> None:
    """A fault of the server between two faults of the cohort ends the first one's claim on losses."""
    faults = (CutFault(at=10.0, cohorts=("alpha",)), ServerKillFault(at=20.0, duration=2.0))
    history = LogBuilder(experiment(faults)).join("a")
    history.fault(CUT, 10.0, 10.0).fault("1.0:server_kill@server", 20.0, 22.0).deliver("a", 15.0, 1)
    history.lose("a", 20.5).back("a", 23.0).end()
    assert _one(history)["outcome"] == "not_exposed"
    assert _one(history, "1.0:server_kill@server")["outcome"] == "restored"


GAPS = st.lists(st.tuples(st.floats(0.1, 9.0), st.floats(0.0, 6.0)), min_size=1, max_size=6)
RETURNS = st.lists(st.floats(0.05, 12.0), min_size=6, max_size=6)


@given(gaps=GAPS, returns=RETURNS)
def test_every_second_of_an_outage_is_the_networks_or_the_policys(
    gaps: list[tuple[float, float]], returns: list[float]
) -> None:
    """Downtime is outage plus excess; every window belongs to one episode, every return to one; no cluster is split."""
    windows, t = [], 5.0
    for wait, length in gaps:
        windows.append((t + wait, t + wait + length))
        t += wait + length
    history = LogBuilder(experiment(faults=(), duration=200.0)).join("a")
    away_until = 0.0
    for number, ((start, end), delay) in enumerate(zip(windows, returns, strict=False)):
        history.fault(f"{number}.0:refuse@alpha", start, end)
        if start > away_until:
            history.lose("a", start)
        following = windows[number + 1][0] if number + 1 < len(windows) else 199.0
        if end + delay < following - 0.2:
            away_until = end + delay
            history.back("a", away_until)
        else:
            away_until = following + 0.01
            history.dial("a", (start + end) / 2)
    frame = episodes_frame(history.end().log())
    assert frame["windows"].sum() == len(windows)
    assert not frame["restored_at"].dropna().duplicated().any()
    affected = frame[frame["affected"]]
    assert (affected["downtime_s"] - affected["outage_s"] - affected["excess_s"]).abs().max() < 1e-9
    assert (affected["excess_s"] >= 0).all()
    assert affected["event"].nunique() == len(affected)
    for row in affected.to_dict("records"):
        fault_at, ended_at, outage_s = row["fault_at"], row["ended_at"], row["outage_s"]
        inside = [(a, b) for a, b in windows if fault_at <= a < ended_at]
        assert outage_s == pytest.approx(sum(min(b, ended_at) - a for a, b in inside), abs=1e-9)
