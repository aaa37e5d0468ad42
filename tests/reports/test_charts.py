"""Pictures of any size, themed for light and dark."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports import plots
from reports.charts import report_style, run_charts, svg_of
from reports.episodes import episodes_frame, state_segments
from reports.windows import windows_frame

from ..support.log_builder import LogBuilder, clean_history, experiment, sample_history


def test_a_run_has_its_six_pictures() -> None:
    """Timeline, recovery, spread, attempts, load, round trips: each titled, captioned and described."""
    log = sample_history(clients=5).log()
    drawn = run_charts(log, episodes_frame(log))
    assert [chart.title for chart in drawn] == [
        "Who was where, when",
        "How fast they came back",
        "Noticing the loss, and what the policy costs",
        "Attempts",
        "The load of coming back",
        "Heartbeat round trips",
    ]
    assert all(chart.caption and chart.alt for chart in drawn)


def test_pictures_are_the_same_each_time() -> None:
    """Same run, same bytes."""
    log = clean_history(clients=3).log()
    episodes = episodes_frame(log)
    assert run_charts(log, episodes) == run_charts(log, episodes)


def test_pictures_take_their_colours_from_the_page() -> None:
    """Ink and series are CSS variables, so that a dark page has light ink."""
    log = clean_history(clients=3).log()
    svg = "".join(chart.svg for chart in run_charts(log, episodes_frame(log)))
    assert "var(--ink)" in svg
    assert "var(--series-1)" in svg
    assert not re.search(plots.INK, svg)
    assert "<?xml" not in svg


def test_a_huge_crowd_is_thinned_evenly() -> None:
    """A hundred thousand participants become a few hundred rows, from every cohort."""
    n = 100_000
    people = pd.DataFrame(
        {
            "participant": [f"c{i:06d}" for i in range(n)],
            "cohort": np.where(np.arange(n) % 2, "alpha", "beta"),
            "start": 0.0,
            "stop": 60.0,
            "state": "connected",
        }
    )
    rows = plots.timeline_rows(people)
    assert rows["cohort"].value_counts().min() > 100
    assert len(rows) <= plots.MAX_ROWS + 2
    assert rows["y"].is_monotonic_increasing


def test_three_participants_fill_a_timeline() -> None:
    """A tiny run is drawn too, without a fault as well as with one."""
    for history in (clean_history(clients=3), LogBuilder(experiment(faults=())).join("a").end()):
        log = history.log()
        with report_style():
            fig = Figure()
            plots.timeline(state_segments(log), windows_frame(log), log.end, fig.add_subplot())
            assert "<svg" in svg_of(fig)


def test_many_attempts_are_gathered_at_the_end() -> None:
    """Beyond twenty dials the last bar says so."""
    counts = pd.DataFrame({"kind": ["cut"] * 3, "attempts": [1, 25, 60]})
    axes = Figure().add_subplot()
    plots.attempts(counts, axes)
    assert "20 or more" in axes.get_xlabel()
    assert sum(bar.get_height() for bar in axes.patches) == 3  # type: ignore[attr-defined]


def test_capacity_is_drawn_when_it_matters() -> None:
    """A stated capacity near the peak is a line; one far above it is only named."""
    near, far = Figure().add_subplot(), Figure().add_subplot()
    moments = np.full(100, 5.0)
    plots.returns_per_second(moments, 10.0, 500.0, near)
    plots.returns_per_second(moments, 10.0, 1e6, far)
    assert len(near.lines) == 1
    assert len(far.lines) == 0
