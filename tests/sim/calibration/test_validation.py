"""What a validation concludes of a model that is right, of one that is biased, and of what it cannot compare."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from reports.episodes import episodes_frame
from reports.frames import load_history
from resilience.errors import ExitCode, UsageError
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.faults import CutFault, CutMidMessageFault, RefuseFault, ServerKillFault
from sim.calibration.accepted_gaps import AcceptedGap, read_accepted_gaps
from sim.calibration.agreement import prediction_interval
from sim.calibration.calibrate import calibrate
from sim.calibration.goals import GoalKind, Goals, by_bounds, by_limit
from sim.calibration.replay import actual_windows, obstacle_to_replay, replay
from sim.calibration.validate import validate, write_validation

from .made_runs import MACHINE_COSTS, calibration_of, experiment, make_run

pytestmark = pytest.mark.usefixtures("one_search")

BIASED = msgspec.structs.replace(MACHINE_COSTS, startup=2.5, commit=0.2)
"""A model that takes the machine for a much slower one."""


def test_a_model_with_the_right_costs_meets_every_goal(fitted_runs: list[Path], other_run: Path) -> None:
    """Fitted to one run, compared with three; so few replications hold a third of what they predict."""
    goals = Goals(coverage=1 / 3)
    found = validate(fitted_runs, calibrate([other_run]), "made", replications=2, goals=goals)
    assert found.exit_code is ExitCode.PASS, [each for each in found.results if each.verdict is not Verdict.PASS]
    line = found.lines[0]
    assert line.episodes == line.predicted_episodes > 450
    assert line.distance is not None
    assert line.noise is not None
    assert line.distance < line.noise


def test_a_biased_model_fails(other_run: Path, tmp_path: Path) -> None:
    """It says which goals it misses; the page and the file are written all the same."""
    found = validate([other_run], calibration_of(BIASED), "biased", replications=3)
    assert found.exit_code is ExitCode.FAIL
    missed = {each.goal for each in found.results if each.verdict is Verdict.FAIL}
    assert {GoalKind.DISTANCE, GoalKind.TAIL, GoalKind.EQUIVALENT_EXCESS} <= missed
    write_validation(found, tmp_path / "out")
    assert "The model misses" in (tmp_path / "out" / "validation.html").read_text()
    stored = msgspec.json.decode((tmp_path / "out" / "validation.json").read_bytes())
    assert stored["schema_version"] == 1
    assert len(stored["predictions"]) == 6


@pytest.mark.parametrize("at_most, verdict", [(100.0, Verdict.PASS), (0.11, Verdict.FAIL)])
def test_an_accepted_gap_covers_misses_up_to_its_size(other_run: Path, at_most: float, verdict: Verdict) -> None:
    """A larger miss fails as before."""
    gap = AcceptedGap(experiment="made", goal=GoalKind.DISTANCE, at_most=at_most, cause="made", check="a test")
    found = validate([other_run], calibration_of(BIASED), "biased", replications=2, gaps=(gap,))
    result = next(each for each in found.results if each.goal is GoalKind.DISTANCE)
    assert result.verdict is verdict
    assert result.accepted == ("made" if verdict is Verdict.PASS else None)


def test_a_run_is_not_validated_by_its_own_fit(fitted_runs: list[Path]) -> None:
    """Else any model of enough parameters would be right."""
    with pytest.raises(UsageError, match="the calibration was fitted to this run"):
        validate(fitted_runs[:1], calibrate(fitted_runs), "made", replications=2)


def test_few_episodes_decide_nothing(tmp_path: Path) -> None:
    """Two clients and one cut: neither a pass nor a failure."""
    few = experiment(CutFault(at=3.0, cohorts=("all",)), clients=2, duration=10.0)
    run = make_run(tmp_path / "run", 5, plan=few)
    found = validate([run], calibration_of(), "made", replications=2)
    assert found.exit_code is ExitCode.INCONCLUSIVE
    assert {each.verdict for each in found.results} == {Verdict.INCONCLUSIVE}


def test_a_run_that_the_model_cannot_repeat_is_left_out(tmp_path: Path) -> None:
    """With the reason; alone it decides nothing."""
    history = load_history(make_run(tmp_path / "run", 6, plan=experiment(duration=50.0, clients=2)))
    torn = CutMidMessageFault(at=8.0, duration=2.0, cohorts=("all",), after=100)
    other = msgspec.structs.replace(history.experiment, faults=(torn,))
    assert obstacle_to_replay(history) is None
    said = obstacle_to_replay(dataclasses.replace(history, experiment=other))
    assert said == "the model lane cannot carry out cut_mid_message (faults[0])"


def test_a_replay_strikes_when_the_faults_really_struck(tmp_path: Path) -> None:
    """At what the injector recorded, and not at what was planned; those struck are the seed's own share."""
    plan = experiment(
        RefuseFault(at=4.0, duration=2.0, cohorts=("all",), share=0.5, jitter=1.0),
        ServerKillFault(at=12.0, duration=1.0),
        duration=30.0,
    )
    history = load_history(make_run(tmp_path / "run", 7, plan=plan))
    windows = {window.fault_id: window for window in actual_windows(history, 7)}
    planned = {window.fault_id: window for window in plan.windows(7)}
    assert {name: each.links for name, each in windows.items()} == {name: each.links for name, each in planned.items()}
    again = replay(history, 7, MACHINE_COSTS)
    struck = again.groupby("fault_id", observed=True)["fault_at"].first()
    assert {str(name): at for name, at in struck.items()} == pytest.approx(
        {name: each.starts_at for name, each in windows.items()}
    )


def test_a_replay_under_the_same_seed_and_costs_is_the_run_itself(other_run: Path) -> None:
    """Every episode has the same times, to the rounding of what the event log stores."""
    history = load_history(other_run)
    here, there = episodes_frame(history), replay(history, 4, MACHINE_COSTS)
    assert list(there["participant"]) == list(here["participant"])
    assert list(there["restored_at"]) == pytest.approx(list(here["restored_at"]), abs=0.01, nan_ok=True)


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (-0.5, 0.5, Verdict.PASS),
        (-0.5, 1.5, Verdict.INCONCLUSIVE),
        (1.1, 1.5, Verdict.FAIL),
        (-3.0, -1.1, Verdict.FAIL),
        (-3.0, 3.0, Verdict.INCONCLUSIVE),
        (-float("inf"), float("inf"), Verdict.INCONCLUSIVE),
    ],
)
def test_two_one_sided_tests_have_three_answers(low: float, high: float, verdict: Verdict) -> None:
    """A margin of 1."""
    assert by_bounds(low, high, 1.0) is verdict


def test_no_figure_never_passes() -> None:
    """Neither one without data nor one that is no number."""
    assert by_limit(0.0, 1.0, 3, 30) is Verdict.INCONCLUSIVE
    assert by_limit(float("nan"), 1.0, 100, 30) is Verdict.INCONCLUSIVE


def test_a_prediction_interval_of_39_replications_holds_95_percent() -> None:
    """From the least to the greatest of them."""
    assert prediction_interval([float(each) for each in range(39)]) == (0.0, 38.0, 0.95)


def test_every_gap_of_the_shipped_list_has_a_cause_and_a_check() -> None:
    """Each has a cause and what would show that it is gone; as for another gap is enough."""
    for gap in read_accepted_gaps():
        assert len(gap.cause) > 20
        assert len(gap.check) > 10


@pytest.mark.parametrize(
    "text, said",
    [
        ("gap = 3", "not a list"),
        ('[[gap]]\nexperiment = "a"\ngoal = "speed"\nat_most = 1\ncause = "c"\ncheck = "t"', "speed"),
        ('[[gap]]\nexperiment = "a"\ngoal = "tail"\nat_most = 0\ncause = "c"\ncheck = "t"', "must be a positive"),
        ('[[gap]]\nexperiment = "a"\ngoal = "tail"\nat_most = 1\ncause = " "\ncheck = "t"', "must not be empty"),
    ],
)
def test_a_list_of_gaps_that_gives_no_reason_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """In one line that names the file and the key."""
    path = tmp_path / "gaps.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_accepted_gaps(path)
