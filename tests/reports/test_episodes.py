"""Episodes: who was touched, when what was noticed, how it ended."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.episodes import episodes_frame, state_segments
from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.faults import BlackholeFault, CutFault, RefuseFault, ServerKillFault
from resilience.lab.participants import participants_of

from ..support.log_builder import LogBuilder, experiment, sample_history

CUT = "0.0:cut@alpha"
HOLE = "0.0:blackhole@alpha"


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


def test_a_terminal_close_counts_as_giving_up_and_a_leave_as_censored() -> None:
    """A dismissed client was stopped; one that left chose to go."""
    stopped = _cut().lose("a", 10.0).client(11.0, "a", LogEventKind.CLIENT_DISMISSED, cause="4203").end()
    left = _cut().lose("a", 10.0).client(11.0, "a", LogEventKind.CLIENT_LEFT).end()
    assert (_one(stopped)["outcome"], _one(left)["outcome"]) == ("gave_up", "censored")


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


def test_no_loss_noticed_is_riding_through() -> None:
    """A short hole that no client noticed is no reconnection, and has no latency."""
    row = _one(_hole().end(), HOLE)
    assert (row["outcome"], row["affected"]) == ("rode_through", False)
    assert pd.isna(row["downtime_s"])


def test_a_loss_from_the_heal_belongs_to_the_episode() -> None:
    """Ending a hole closes the links: that loss is the fault's work, even though it comes after it."""
    row = _one(_hole().lose("a", 18.3).back("a", 18.9).end(), HOLE)
    assert (row["outcome"], row["detection_s"], row["excess_s"]) == ("restored", pytest.approx(8.3), pytest.approx(0.9))


def test_a_loss_from_the_next_fault_does_not() -> None:
    """What the next fault breaks is the next fault's."""
    history = _hole(twice=True).fault("0.1:blackhole@alpha", 30.0, 38.0).lose("a", 33.0).back("a", 39.0).end()
    assert _one(history, HOLE)["outcome"] == "rode_through"
    assert _one(history, "0.1:blackhole@alpha")["outcome"] == "restored"


def test_two_faults_before_the_return_share_it() -> None:
    """Hit again before it was back: both episodes end with the same restore; the second was noticed as it began."""
    faults = (
        RefuseFault(at=10.0, cohorts=("alpha",), duration=3.0),
        RefuseFault(at=14.0, cohorts=("alpha",), duration=3.0),
    )
    history = LogBuilder(experiment(faults)).join("a").fault("0.0:refuse@alpha", 10.0, 13.0)
    history.lose("a", 10.1).dial("a", 12.0).fault("1.0:refuse@alpha", 14.0, 17.0).dial("a", 15.0).back("a", 18.0).end()
    first, second = _one(history, "0.0:refuse@alpha"), _one(history, "1.0:refuse@alpha")
    assert first["restored_at"] == second["restored_at"] == pytest.approx(18.0)
    assert (first["attempts"], second["attempts"]) == (3, 2)
    assert (second["detected_by"], second["detected_at"]) == ("fault", pytest.approx(14.0))


def test_a_client_that_is_away_all_the_time_is_not_exposed() -> None:
    """Backing off through the whole window: the fault reached nothing of it."""
    history = LogBuilder(experiment((RefuseFault(at=12.0, cohorts=("alpha",), duration=2.0),)))
    history.join("a").lose("a", 9.0).dial("a", 9.5).fault("0.0:refuse@alpha", 12.0, 14.0).back("a", 20.0).end()
    assert _one(history, "0.0:refuse@alpha")["outcome"] == "not_exposed"


def test_a_dial_within_the_window_is_exposure() -> None:
    """The same client dialling once within the window was touched, and noticed at once."""
    history = LogBuilder(experiment((RefuseFault(at=12.0, cohorts=("alpha",), duration=2.0),)))
    history.join("a").lose("a", 9.0).dial("a", 13.0).fault("0.0:refuse@alpha", 12.0, 14.0).back("a", 20.0).end()
    row = _one(history, "0.0:refuse@alpha")
    assert (row["outcome"], row["detected_at"], row["attempts"]) == ("restored", pytest.approx(12.0), 2)


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


def test_segments_cover_each_participants_time() -> None:
    """Connected, reconnecting, connected again, without holes, up to the run's end."""
    history = LogBuilder(experiment((CutFault(at=10.0, cohorts=("alpha",)),))).join("a").fault(CUT, 10.0, 10.0)
    segments = state_segments(history.lose("a", 10.0).back("a", 11.0).end().log())
    assert segments["state"].tolist() == ["joining", "connected", "reconnecting", "connected"]
    assert segments["start"].tolist()[1:] == segments["stop"].tolist()[:-1]
    assert segments["stop"].iloc[-1] == 60.0


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
    history.fault(CUT, 10.0, 10.0).fault("1.0:server_kill@server", 20.0, 22.0).lose("a", 20.5).back("a", 23.0).end()
    assert _one(history)["outcome"] == "rode_through"
    assert _one(history, "1.0:server_kill@server")["outcome"] == "restored"
