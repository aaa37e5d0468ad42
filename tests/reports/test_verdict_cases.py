"""Experiments whose right verdict is known, run in the model lane and judged as a user's run is."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest

from reports.build import analyse
from reports.summary import ExpectationResult, Summary
from resilience.errors import ExperimentError
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.loader import load_file
from resilience.lab.run import execute
from sim.model.lane import ModelLane

CASES = Path(__file__).parent.parent / "cases" / "verdicts"


@cache
def _judged(case: str) -> tuple[pd.DataFrame, Summary]:
    """The episodes and the summary of a case."""
    experiment = load_file(CASES / f"{case}.toml")
    with TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        execute(ModelLane(), experiment, experiment.seed, run_dir)
        _, episodes, summary = analyse(run_dir)
    return episodes, summary


def _expectation(summary: Summary, metric: str) -> ExpectationResult:
    return next(item for item in summary.expectations if item.metric == metric)


@pytest.mark.parametrize("case", ["onecohort", "ninecohorts", "ninetycohorts"])
def test_the_grouping_of_clients_decides_nothing(case: str) -> None:
    """One outage of three seconds for nine hundred clients is one event, however many links carry them."""
    _, summary = _judged(case)
    rate = summary.success_rate
    assert (rate.restored, rate.affected, rate.events) == (900, 900, 1)
    assert rate.low == pytest.approx(_judged("onecohort")[1].success_rate.low)
    assert summary.verdict is Verdict.INCONCLUSIVE


def test_flapping_is_charged_with_usable_time_only() -> None:
    """Eight refusals of 2 s, 0.4 s apart: 222 returns; the link was usable for less than 2 s before each, on average.

    All of it is one event, which by itself proves no success rate, and no clock misses its target.
    """
    episodes, summary = _judged("flap")
    affected = episodes[episodes["affected"]]
    assert (len(affected), affected["event"].nunique()) == (222, 1)
    assert not affected.duplicated(["participant", "restored_at"]).any()
    assert affected["usable_s"].mean() == pytest.approx(1.64, abs=0.1)
    assert _expectation(summary, "excess_s.mean").value == pytest.approx(1.64, abs=0.1)
    assert all(item.verdict is not Verdict.FAIL for item in summary.expectations)


def test_the_second_outage_is_not_charged_to_the_first() -> None:
    """A refusal of 3 s and, 0.2 s later, one of 10 s: eighty clients were not back between them."""
    episodes, summary = _judged("backtoback")
    both = episodes[episodes["windows"] == 2]
    assert (len(both), len(episodes)) == (80, 120)
    assert (both["ended_at"] - both["healed_at"]).mean() == pytest.approx(1.25, abs=0.1)
    assert both["excess_s"].mean() == pytest.approx(1.45, abs=0.1)
    assert both["outage_s"].tolist() == pytest.approx([13.0] * 80)
    assert _expectation(summary, "excess_s.mean").value == pytest.approx(1.22, abs=0.1)
    assert all(item.verdict is not Verdict.FAIL for item in summary.expectations)


def test_a_window_within_another_is_the_same_outage() -> None:
    """A cut during a black hole of 8 s: each client has one episode, and its excess counts from the real heal."""
    episodes, summary = _judged("overlap2")
    assert (len(episodes), set(episodes["windows"]), set(episodes["kind"])) == (100, {2}, {"blackhole"})
    assert summary.success_rate.events == 1
    excess = _expectation(summary, "excess_s.mean").value
    assert excess == pytest.approx((episodes["restored_at"] - episodes["healed_at"]).mean())
    assert excess is not None
    assert excess < 0.5


@pytest.mark.parametrize("case, needed", [("endfault", 64.9), ("endfault2", 64.8)])
def test_a_schedule_without_time_to_return_is_refused(case: str, needed: float) -> None:
    with pytest.raises(ExperimentError, match=rf"duration: 60\.0: must be at least {needed}: the last fault ends"):
        load_file(CASES / f"{case}.toml")
