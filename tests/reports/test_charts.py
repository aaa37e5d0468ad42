"""Charts of any size, themed for light and dark; no failure is left out, and the words say what is drawn."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from reports import drawings
from reports.charts import report_style, svg_of
from reports.drawings import Band, attempts, shown_times
from reports.episodes import episodes_frame
from reports.frames import RunHistory
from reports.load_charts import fault_spans, load_charts
from reports.metrics import summarise
from reports.rates import rate_interval
from reports.run_charts import (
    BAND_FROM_EVENTS,
    MAX_EVENTS,
    MAX_ROWS,
    clustered_band,
    run_charts,
    timeline_rows,
    worst_events,
)
from reports.states import client_states
from reports.summary import EventResult
from reports.survival import RecoveryTimes
from reports.svg import Chart
from reports.windows import windows_frame
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.faults import CutFault

from ..support.log_builder import TARGET, LogBuilder, clean_history, experiment, sample_history

TITLES = [
    "Connection states over time",
    "Time to recovery",
    "Event by event",
    "Detection time and excess time",
    "The run over time",
    "Attempts",
    "Heartbeat round trips",
]


def _charts(log: RunHistory) -> list[Chart]:
    episodes = episodes_frame(log)
    return run_charts(log, episodes, summarise(log, episodes))


def test_a_run_has_seven_charts() -> None:
    """Each with title, caption and a description with numbers."""
    drawn = _charts(sample_history(clients=5).log())
    assert [chart.title for chart in drawn] == TITLES
    assert all(chart.caption and re.search(r"\d", chart.alt) for chart in drawn)


def test_a_run_without_faults_has_the_charts_of_its_clients() -> None:
    drawn = _charts(LogBuilder(experiment(faults=())).join("a").end().log())
    assert [chart.title for chart in drawn] == ["Connection states over time", "The run over time"]


def test_a_run_without_events_has_no_chart() -> None:
    assert _charts(LogBuilder(experiment()).log()) == []


def test_the_same_run_gives_the_same_bytes() -> None:
    log = clean_history(clients=3).log()
    assert _charts(log) == _charts(log)


def test_charts_leave_colours_to_the_page() -> None:
    """A mark has a class and no colour, so that a dark page has light ink."""
    svg = "".join(chart.svg for chart in _charts(sample_history(clients=3).log()))
    assert 'class="line ink' in svg
    assert not re.search(r"#[0-9a-f]{3,6}\b|rgb|fill=|stroke=", svg)
    assert "<?xml" not in svg


# --- thinning ---------------------------------------------------------------------------------------------------------


def test_a_large_population_is_thinned_evenly() -> None:
    """A hundred thousand clients become a few hundred rows, from every cohort."""
    cohorts = np.where(np.arange(100_000) % 2, "alpha", "beta").tolist()
    rows = timeline_rows(cohorts, np.zeros(100_000, dtype=bool))
    assert len(rows) <= MAX_ROWS
    assert pd.Series([row.cohort for row in rows]).value_counts().min() > 100


def test_thinning_the_timeline_keeps_every_failure() -> None:
    """150 of 1,000 in one cohort of 3,000: all are drawn, at the top of their cohort."""
    cohorts = np.repeat(["alpha", "beta", "gamma"], 1000).tolist()
    failed = np.zeros(3000, dtype=bool)
    failed[2000:3000:7] = True
    rows = timeline_rows(cohorts, failed)
    drawn = {row.who for row in rows}
    assert drawn >= set(np.flatnonzero(failed).tolist())
    gamma = [bool(failed[row.who]) for row in rows if row.cohort == "gamma"]
    assert gamma == sorted(gamma, reverse=True)
    assert len(rows) <= MAX_ROWS


def test_more_failures_than_rows_leave_room_for_the_others() -> None:
    failed = np.arange(10_000) < 5_000
    rows = timeline_rows(["alpha"] * 10_000, failed)
    shown = sum(bool(failed[row.who]) for row in rows)
    assert (shown, len(rows)) == (MAX_ROWS * 2 // 3, MAX_ROWS)


@pytest.mark.parametrize("clients", [10, 800])
def test_the_timeline_says_how_many_failures_it_draws(clients: int) -> None:
    history = LogBuilder(experiment(clients=clients))
    for i in range(clients):
        history.join(f"c{i:03d}")
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    for i in range(clients):
        history.lose(f"c{i:03d}", 10.0)
        history.give_up(f"c{i:03d}", 12.0) if i % 100 == 7 else history.back(f"c{i:03d}", 11.0)
    lost = len(range(7, clients, 100))
    chart = _charts(history.end().log())[0]
    assert f"{lost} of {lost} are drawn" in chart.caption
    assert f"{lost} failed to come back" in chart.alt
    assert ("bad block", "gave up") in chart.legend
    (red,) = re.findall(r'<path d="([^"]*)" class="line bad"', chart.svg)
    assert red.count("M") == lost


def test_the_slowest_returns_are_always_drawn() -> None:
    """Of ten thousand returns one outlier is among the dots, and the caption gives both numbers."""
    seconds = np.append(np.linspace(0.1, 1, 9_999), 50.0)
    frame = pd.DataFrame({"excess_s": seconds, "returned": True, "never": False, "event": "0.0", "stratum": "cut"})
    times = RecoveryTimes.of(frame.assign(participant="a"), "excess_s")
    dots = shown_times(times)
    assert len(dots) == drawings.MAX_POINTS
    assert dots.max() == 50.0


def test_of_many_events_the_worst_are_drawn() -> None:
    events = [
        EventResult(
            event=f"0.{i}",
            kinds=("cut",),
            cohorts=("alpha",),
            started_at=float(i),
            affected=10,
            restored=9 if i == 500 else 10,
            low=None,
            high=None,
            excess_mean=9.0 if i == 900 else 1.0,
            excess_low=None,
            excess_high=None,
        )
        for i in range(1000)
    ]
    shown = worst_events(events)
    assert len(shown) == MAX_EVENTS
    assert {"0.500", "0.900"} <= {event.event for event in shown}
    assert [event.started_at for event in shown] == sorted(event.started_at for event in shown)


# --- bands ------------------------------------------------------------------------------------------------------------


def _correlated(events: int) -> RunHistory:
    """Twenty clients per event; each event is as a whole early or late."""
    faults = tuple(CutFault(at=10.0 + 5 * i, cohorts=("alpha",)) for i in range(events))
    history = LogBuilder(experiment(faults, (TARGET,), clients=20, duration=20.0 + 5 * events))
    for c in range(20):
        history.join(f"c{c}")
    for i in range(events):
        at = 10.0 + 5 * i
        history.fault(f"{i}.0:cut@alpha", at, at)
        for c in range(20):
            history.lose(f"c{c}", at).back(f"c{c}", at + (0.2 if i % 2 else 2.0) + c * 0.01)
    return history.end().log()


def test_the_band_allows_for_correlated_drops() -> None:
    """It is wider than the one for independent drops, and holds the truth of a half."""
    log = _correlated(12)
    affected = episodes_frame(log)
    times = RecoveryTimes.of(affected[affected["affected"]], "excess_s")
    band = clustered_band(times, log, 3.0)
    middle = int(np.searchsorted(band.seconds, 1.0)) - 1
    independent = 2 * 1.645 * (0.25 / len(times)) ** 0.5
    assert band.high[middle] - band.low[middle] > 1.5 * independent
    assert band.low[middle] < 0.5 < band.high[middle]


def test_each_bound_of_the_band_is_that_of_the_success_rate_at_its_time() -> None:
    """With clients that give up and some that the run's end cuts off, amid ties."""
    rng = np.random.default_rng(5)
    n, log = 600, _correlated(3)
    end = rng.choice(["back", "never", "cut off"], n, p=[0.7, 0.1, 0.2])
    frame = pd.DataFrame(
        {
            "excess_s": np.round(rng.exponential(1.0, n), 1),
            "returned": end == "back",
            "never": end == "never",
            "event": rng.integers(0, 12, n).astype(str),
            "stratum": "cut",
            "participant": np.arange(n).astype(str),
        }
    )
    times = RecoveryTimes.of(frame, "excess_s")
    band = clustered_band(times, log, 3.0)
    assert len(band.seconds) == 25
    for moment, low, high in zip(band.seconds, band.low, band.high, strict=True):
        back = times.returned & (times.seconds <= moment)
        possible = back | (times.unknown & (times.seconds < moment))
        bounds = rate_interval(back, times.clusters, 0.95, log.experiment.statistics.correlation, possible)
        assert (low, high) == (bounds.low, bounds.high)


def test_few_events_have_no_band_and_the_caption_says_so() -> None:
    few, enough = (_charts(_correlated(n))[1] for n in (BAND_FROM_EVENTS - 1, BAND_FROM_EVENTS))
    assert "No band for cut: fewer than 3 events." in few.caption
    assert 'class="pale' not in few.svg
    assert "No band" not in enough.caption
    assert 'class="pale' in enough.svg


def test_a_curve_without_a_return_is_drawn() -> None:
    frame = pd.DataFrame({"excess_s": [1.0], "returned": False, "never": True, "event": "0.0", "stratum": "cut"})
    times = RecoveryTimes.of(frame.assign(participant="a"), "excess_s")
    empty = Band(np.zeros(0), np.zeros(0), np.zeros(0))
    assert "<svg" in drawings.recovery({"cut": times}, {"cut": empty}, 0.95, 10.0, "back")
    assert "1 not back" in drawings.spread({"cut": times}, 10.0, "excess")


# --- over time --------------------------------------------------------------------------------------------------------


def test_the_run_over_time_tells_its_peaks() -> None:
    history = clean_history(clients=20)
    log = history.client(30.0, "c1", LogEventKind.ANSWER_SUBMITTED, ref="q3/lost").log()
    windows = windows_frame(log)
    chart = load_charts(log, client_states(log), windows)
    assert chart.svg.count("<svg") == 4
    assert "At most 20 clients were reconnecting at once" in chart.alt
    assert "40 answers were acknowledged, half within 0.020 s, the slowest after 0.020 s; 1 never were." in chart.alt
    assert "stated join capacity is 3,000 per second" in chart.alt
    assert "connection lost: closed 20" in chart.alt


def test_a_capacity_near_the_peak_is_drawn() -> None:
    """One far above the peak is named only."""
    log = clean_history(clients=40).log()
    near = msgspec.structs.replace(log.experiment.server, join_capacity=50.0)
    far = msgspec.structs.replace(log.experiment.server, join_capacity=1e6)
    lines = []
    for server in (near, far):
        changed = RunHistory(log.info, msgspec.structs.replace(log.experiment, server=server), log.events)
        chart = load_charts(changed, client_states(changed), windows_frame(changed))
        lines.append("bad dotted" in chart.svg)
        assert f"{server.join_capacity:,g} per second" in chart.alt
    assert lines == [True, False]


def test_overlapping_faults_are_one_span() -> None:
    windows = pd.DataFrame({"fault_at": [1.0, 3.0, 9.0, np.nan], "healed_at": [5.0, 6.0, np.nan, 2.0]})
    assert fault_spans(windows, 20.0) == [(1.0, 6.0), (9.0, 20.0)]


def test_many_attempts_share_the_last_bar() -> None:
    """Above the cap the label of the last bar says so."""
    counts = {"cut": np.append(np.zeros(20), 3.0)}
    assert "(20 = 20 or more)" in attempts(counts, 20, capped=True)
    assert "or more" not in attempts(counts, 20, capped=False)


def test_a_matplotlib_figure_becomes_themed_markup() -> None:
    """As comparisons need it."""
    with report_style():
        figure = Figure()
        figure.add_subplot().plot([1, 2], color="#0072b2")
        svg = svg_of(figure)
    assert "var(--series-1)" in svg
    assert "<?xml" not in svg
