"""Physical events: the windows that are one cluster of the statistics."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.episodes import episodes_frame
from reports.metrics import summarise
from reports.run_charts import run_charts
from reports.summary import Summary
from reports.windows import windows_frame
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault

from ..support.log_builder import TARGET, LogBuilder, experiment, sample_history


def _events(*faults: AnyFault, cohorts: tuple[str, ...] = ("alpha", "beta")) -> dict[str, str]:
    frame = windows_frame(LogBuilder(experiment(faults, cohorts=cohorts)).end().log())
    return dict(zip(frame["fault_id"], frame["event"], strict=True))


def _one_refuse(cohorts: int) -> Summary:
    """Nine hundred clients in equal cohorts, one outage, all back."""
    names = tuple(f"c{i}" for i in range(cohorts))
    faults = (RefuseFault(at=15.0, cohorts=names, duration=3.0),)
    history = LogBuilder(experiment(faults, (TARGET,), clients=900 // cohorts, cohorts=names))
    for i in range(900):
        history.join(f"p{i}", 1.0, names[i % cohorts])
    for name in names:
        history.fault(f"0.0:refuse@{name}", 15.0, 18.0)
    for i in range(900):
        history.lose(f"p{i}", 15.0).back(f"p{i}", 19.0)
    log = history.end().log()
    return summarise(log, episodes_frame(log))


@pytest.mark.parametrize("cohorts", [1, 9, 90])
def test_the_same_outage_gives_the_same_verdict_however_clients_are_grouped(cohorts: int) -> None:
    summary = _one_refuse(cohorts)
    rate = summary.success_rate
    assert (rate.restored, rate.affected, rate.events) == (900, 900, 1)
    assert rate.effective_n == pytest.approx(900 / (1 + 899 * 0.05))
    assert rate.low == pytest.approx(0.8582, abs=5e-5)
    assert summary.verdict is Verdict.INCONCLUSIVE


def test_repetitions_of_a_fault_are_events_of_their_own() -> None:
    found = _events(CutFault(at=10.0, cohorts=("alpha", "beta"), times=2, every=8.0))
    assert set(found.values()) == {"0.0", "0.1"}


def test_windows_that_overlap_are_one_event_and_windows_that_touch_are_not() -> None:
    """The cut falls into the outage, directly or through a third window; the last begins when the event ends."""
    found = _events(
        BlackholeFault(at=10.0, cohorts=("alpha",), duration=8.0),
        RefuseFault(at=16.0, cohorts=("beta",), duration=4.0),
        CutFault(at=19.0, cohorts=("alpha",)),
        RefuseFault(at=20.0, cohorts=("alpha",), duration=2.0),
    )
    assert [found[f] for f in sorted(found)] == ["0.0", "0.0", "0.0", "3.0"]


def test_two_cuts_at_the_same_instant_are_one_event() -> None:
    assert set(_events(CutFault(at=10.0, cohorts=("alpha",)), CutFault(at=10.0, cohorts=("beta",))).values()) == {"0.0"}


def test_the_stratum_of_an_event_names_all_its_faults() -> None:
    faults = (
        BlackholeFault(at=10.0, cohorts=("alpha",), duration=8.0),
        CutFault(at=12.0, cohorts=("beta",)),
        CutFault(at=30.0, cohorts=("beta",)),
    )
    frame = windows_frame(LogBuilder(experiment(faults, cohorts=("alpha", "beta"))).end().log())
    assert list(frame["stratum"]) == [*["blackhole 8s both + cut 0s"] * 2, "cut 0s"]


def test_the_windows_of_a_run_are_found_once() -> None:
    """Its whole summary and every chart read the same frame, and leave it as it was."""
    log = sample_history(clients=4).log()
    first, before = windows_frame(log), windows_frame(log).copy(deep=True)
    episodes = episodes_frame(log)
    run_charts(log, episodes, summarise(log, episodes))
    assert windows_frame(log) is first
    pd.testing.assert_frame_equal(first, before)
    assert windows_frame(sample_history(clients=4).log()) is not first
