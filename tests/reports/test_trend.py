"""The trend of many runs: their order, steps, drift, and what is said of the newest."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from reports.comparison import Change
from reports.trend import Trend, read_in_order, to_markdown, trend_of, write_trend
from resilience.errors import ExitCode, HarnessError, UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind
from resilience.lab.run_directory import RunStatus, read_run_info, write_run_info

from ..support.log_builder import LogBuilder, clean_history, sample_history


def _write(history: LogBuilder, where: Path, day: int) -> Path:
    run_dir = history.write(where)
    write_run_info(run_dir, replace(read_run_info(run_dir), started_at=f"2025-01-{day:02d}T10:00:00Z"))
    return run_dir


def _sample(slow: float) -> LogBuilder:
    return sample_history(Lane.VIRTUAL, clients=40, losing=0.0, slow=slow)


@pytest.fixture(scope="module", name="drifting")
def _drifting(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A step between the second and third run; given in another order than that of time."""
    root = tmp_path_factory.mktemp("trend")
    paces = [1.0, 1.0, 3.0, 3.0]
    runs = [_write(_sample(slow), root / str(i), i + 1) for i, slow in enumerate(paces)]
    return [runs[2], runs[0], runs[3], runs[1]]


def _marks(trend: Trend, metric: str) -> list[tuple[Change | None, Change | None]]:
    line = next(line for line in trend.lines if line.metric == metric)
    return [(point.step, point.drift) for point in line.points]


def test_runs_are_in_the_order_of_time(drifting: list[Path]) -> None:
    trend = trend_of(read_in_order(drifting))
    assert [run.started_at[:10] for run in trend.runs] == [f"2025-01-{day:02d}" for day in (1, 2, 3, 4)]


def test_a_step_is_marked_where_it_happened_and_stays_as_drift(drifting: list[Path]) -> None:
    """The last run equals the one before, but not the first."""
    trend = trend_of(read_in_order(drifting))
    worse = Change.WORSE
    assert _marks(trend, "excess_s.restricted_mean") == [(None, None), (None, None), (worse, worse), (None, worse)]
    assert set(_marks(trend, "success_rate")) == {(None, None)}
    assert trend.newest_worse
    assert trend.exit_code(fail_on_worse=True) is ExitCode.FAIL
    assert "4: virtual: excess_s.restricted_mean worse than the first run" in trend.changes


def test_a_trend_is_written_as_json_markdown_and_html(drifting: list[Path], tmp_path: Path) -> None:
    trend = write_trend(read_in_order(drifting), tmp_path / "out")
    assert msgspec.json.decode((tmp_path / "out" / "trend.json").read_bytes(), type=Trend) == trend
    page = (tmp_path / "out" / "trend.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 1
    assert "http" not in page
    assert "excess_s.restricted_mean from " in page
    assert to_markdown(trend).count("\n| ") == 2 + 4


def test_the_newest_run_decides_the_exit_code(tmp_path: Path) -> None:
    good = _write(clean_history(clients=60), tmp_path / "good", 1)
    broken = clean_history(clients=60).server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)
    bad = _write(broken, tmp_path / "bad", 2)
    repaired = _write(clean_history(clients=60), tmp_path / "repaired", 3)
    stopped = clean_history(clients=60)
    stopped.status = RunStatus.INTERRUPTED
    last = _write(stopped, tmp_path / "stopped", 4)
    codes = [
        trend_of(read_in_order(runs)).exit_code()
        for runs in ([good, bad], [good, bad, repaired], [good, bad, repaired, last])
    ]
    assert codes == [ExitCode.FAIL, ExitCode.PASS, ExitCode.HARNESS]


def test_a_trend_that_cannot_be_written_is_one_line(drifting: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(HarnessError, match="cannot write the trend"):
        write_trend(read_in_order(drifting[:2]), tmp_path / "file" / "out")


def test_a_trend_of_one_run_is_an_error(drifting: list[Path]) -> None:
    with pytest.raises(UsageError, match="at least two"):
        read_in_order(drifting[:1])
