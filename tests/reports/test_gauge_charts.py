"""The gauges of a simulated population as panels, and a file that holds none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.build import build_report
from reports.frames import load_history
from reports.gauge_charts import GAUGES, gauge_chart, read_gauges
from reports.windows import windows_frame
from resilience.config import ServerConfig
from resilience.errors import EvidenceError
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import RefuseFault
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from sim.population.run import PopulationRun

STORM = Experiment(
    name="storm",
    duration=120.0,
    cohorts=(Cohort("all", 400),),
    server=ServerConfig(join_capacity=20.0),
    costs=ModelCosts(handshake=0.02, restore=0.03),
    faults=(RefuseFault(30.0, ("all",), duration=3.0),),
    hypothesis=Hypothesis(within=10.0),
)


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run in which everyone returns to a slow server."""
    run_dir = tmp_path_factory.mktemp("gauges")
    PopulationRun(STORM, 1).execute(run_dir)
    return run_dir


def test_the_gauges_are_drawn_with_their_extremes(storm: Path) -> None:
    history, gauges = load_history(storm), read_gauges(storm / GAUGES)
    chart = gauge_chart(history, windows_frame(history))
    assert chart is not None
    most, rejected = int(gauges["queued"].max()), int(gauges["rejected"].sum())
    assert 0 < most <= 2 * 20 + 1  # two seconds of work are admitted
    assert rejected > 100
    assert f"At most {most:,} requests were queued" in chart.alt
    assert f"{rejected:,} requests were rejected with a retry time, 0 dropped" in chart.alt
    assert "At least 0 clients were connected, the fewest at 30 s." in chart.alt


def test_the_queue_is_empty_when_everyone_is_back(storm: Path) -> None:
    gauges = read_gauges(storm / GAUGES)
    assert gauges["connected"].iloc[-1] == 400
    assert gauges["queued"].iloc[-1] == 0
    assert (gauges["queued"] >= 0).all()


def test_the_report_shows_them(storm: Path) -> None:
    build_report(storm)
    assert "The population over time" in (storm / "report.html").read_text(encoding="utf-8")


def test_a_run_without_gauges_has_no_such_chart(storm: Path, tmp_path: Path) -> None:
    history = load_history(storm)
    for path in (None, tmp_path):
        assert gauge_chart(dataclasses.replace(history, path=path), windows_frame(history)) is None


@pytest.mark.parametrize("table", [b"not a table", pa.table({"second": np.arange(3)})])
def test_a_file_without_gauges_is_one_clear_error(tmp_path: Path, table: bytes | pa.Table) -> None:
    path = tmp_path / GAUGES
    if isinstance(table, bytes):
        path.write_bytes(table)
    else:
        pq.write_table(table, path)
    with pytest.raises(EvidenceError, match="not the gauges of a run: "):
        read_gauges(path)
