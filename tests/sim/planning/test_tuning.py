"""The search for the frontier: same trials for any number of workers, continued, and what it says of the presets."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane
from sim.planning.design import parse_factor
from sim.planning.evaluation import Scenario
from sim.planning.tuning import COSTS, SPACE, TuneRequest, TuningTrial, _compared, frontier, search, verdict_on
from sim.planning.workers import local_workers
from tests.support.extras import require_extra

from .sweeps import STORM, run_sim, storm_file

SCENARIO = Scenario(name="storm", text=STORM, lane=Lane.POPULATION, seed=4)


@pytest.fixture(autouse=True)
def _needs_optuna() -> None:
    require_extra("planning")


def _request(trials: int = 10) -> TuneRequest:
    return TuneRequest(SCENARIO, tuple(parse_factor(text) for text in SPACE), trials, 2)


def _search(out: Path, trials: int = 10, workers: int = 1) -> bytes:
    search(_request(trials), out, lambda: local_workers(workers), lambda _: None)
    return (out / "trials.json").read_bytes()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of ten trials."""
    require_extra("planning")
    out = tmp_path_factory.mktemp("search") / "out"
    _search(out)
    return out


def test_a_longer_search_begins_with_the_same_trials(found: Path, tmp_path: Path) -> None:
    """Continued in the same directory, only the further trials are run; from the begin it finds the same."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("design.json", "results.jsonl"):
        (out / name).write_bytes((found / name).read_bytes())
    continued = _search(out, 16)
    assert continued == _search(tmp_path / "whole", 16)
    short = msgspec.json.decode((found / "trials.json").read_bytes())["trials"]
    long = msgspec.json.decode(continued)["trials"]
    assert [each["settings"] for each in short[:10]] == [each["settings"] for each in long[:10]]


def test_the_number_of_workers_changes_no_byte(found: Path, tmp_path: Path) -> None:
    assert _search(tmp_path / "out", workers=2) == (found / "trials.json").read_bytes()


def test_the_shipped_presets_are_judged(found: Path) -> None:
    text = (found / "frontier.md").read_text(encoding="utf-8")
    assert "- window (shipped) " in text
    assert "- classic (shipped) " in text
    assert all(name in text for name in COSTS)


def _trial(number: int, *costs: float, beaten_by: int | None = None, clearly: bool = False) -> TuningTrial:
    name = "window (shipped)" if number == 0 else ""
    return TuningTrial(
        number=number, name=name, settings=(), costs=costs, success_rate=1.0, beaten_by=beaten_by, clearly=clearly
    )


def test_the_frontier_has_each_combination_of_costs_once() -> None:
    trials = [_trial(0, 1, 2, 3), _trial(1, 3, 2, 1), _trial(2, 1, 2, 3), _trial(3, 4, 4, 4, beaten_by=0)]
    assert [trial.number for trial in frontier(trials)] == [0, 1]
    assert verdict_on(trials[0], trials) == "window (shipped) lies on the frontier: no trial beats it."


@pytest.mark.parametrize(
    "other, beaten, clearly",
    [
        ([(1, 2, 3), (1, 2, 3)], False, False),
        ([(1, 1, 3), (1, 1, 3)], True, True),
        ([(1, 1, 4), (1, 1, 4)], False, False),
        ([(1, 1, 3), (1, 2.5, 3)], True, False),
    ],
)
def test_a_trial_beats_another_with_no_cost_higher(other: list[tuple[float, ...]], beaten: bool, clearly: bool) -> None:
    values = {0: np.array([(1.0, 2.0, 3.0)] * 2), 1: np.array(other, np.float64)}
    trials = [_trial(number, *values[number].mean(axis=0)) for number in values]
    found = _compared(trials[0], trials, values)
    assert (found.beaten_by == 1, found.clearly) == (beaten, clearly)


def test_those_that_give_up_during_the_outage_count(tmp_path: Path) -> None:
    """A budget shorter than the outage gives up everyone: the highest downtime there is."""
    words = ("--search", "client.budget=1.0,600.0", "--trials", "2", "--replications", "2", "--workers", "1")
    result = run_sim("tune", storm_file(tmp_path), *words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    trials = msgspec.json.decode((tmp_path / "out" / "trials.json").read_bytes())["trials"]
    lost = [each["costs"][0] for each in trials if each["success_rate"] < 0.5]
    assert all(cost > 30 for cost in lost)
    assert all(each["costs"][0] < 30 for each in trials if each["success_rate"] == 1.0)


def test_a_preset_that_is_beaten_names_the_better_trial() -> None:
    trials = [_trial(0, 2, 2, 2, beaten_by=1, clearly=True), _trial(1, 1, 1, 1)]
    said = verdict_on(trials[0], trials)
    assert "is beaten, clearly, by trial 1" in said
    assert "downtime_s.restricted_mean 2 -> 1" in said


@pytest.mark.parametrize(
    "space, said",
    [
        ("client.maximun=3..60", "unknown field `maximun`"),
        ("client.maximum=-3..-1", "must be a positive, finite number"),
        ("client.maximum", "--search client.maximum: must be KEY=A,B,C"),
    ],
)
def test_a_mistyped_space_is_one_line(tmp_path: Path, space: str, said: str) -> None:
    result = run_sim("tune", storm_file(tmp_path), "--search", space, "--out", tmp_path / "out")
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_search_without_an_outage_is_refused(tmp_path: Path) -> None:
    calm = storm_file(tmp_path, STORM.partition("[[faults]]")[0])
    result = run_sim("tune", calm, "--trials", "1", "--workers", "1", "--out", tmp_path / "out")
    assert isinstance(result.exception, UsageError)
    assert "no client loses its server, so there is nothing to search; add a fault" in str(result.exception)


def test_a_preset_without_a_return_is_said_to_have_no_costs(tmp_path: Path) -> None:
    """The link works again 5 s before the end of the run, and no attempt of the classic ladder is due then."""
    long = storm_file(tmp_path, STORM.replace("duration = 3.0", "duration = 43.0"))
    words = ("--trials", "1", "--replications", "2", "--workers", "1", "--out", tmp_path / "out")
    result = run_sim("tune", long, *words)
    assert result.exit_code == 0, result.exception
    said = "no client was affected, or none returned, in one of its replications"
    assert f"- classic (shipped) has no costs: {said}." in result.output


def test_the_directory_of_another_search_is_refused(found: Path, tmp_path: Path) -> None:
    words = ("--search", "client.maximum=3.0..60.0", "--trials", "1", "--workers", "1", "--out", found)
    result = run_sim("tune", storm_file(tmp_path), *words)
    assert isinstance(result.exception, UsageError)
    assert "another question" in str(result.exception)
