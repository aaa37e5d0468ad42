"""Comparison of runs: the differences, their certainty, and the exit code."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from reports.compare import INFORMATIVE, METRICS, Comparison, compare, write_comparison
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane

from ..support.log_builder import sample_history


@pytest.fixture(scope="module", name="runs")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    histories = {
        "model": sample_history(clients=60, losing=0.0),
        "virtual": sample_history(Lane.VIRTUAL, clients=60, losing=0.0),
        "slow": sample_history(Lane.VIRTUAL, clients=60, losing=0.0, slow=4.0),
        "lossy": sample_history(Lane.REAL, clients=60, losing=0.4),
    }
    return {name: history.write(root / name) for name, history in histories.items()}


def _verdicts(comparison: Comparison) -> dict[str, str]:
    return {row.metric: row.gaps[0].verdict for row in comparison.rows}


def test_a_run_against_itself_shows_no_change(runs: dict[str, Path]) -> None:
    """Equal runs have differences of zero and intervals around it."""
    comparison = compare([runs["model"], runs["virtual"]])
    assert set(_verdicts(comparison).values()) == {"no change shown"}
    assert not comparison.worse
    assert comparison.labels == ("model", "virtual")
    assert all(row.gaps[0].absolute == 0 for row in comparison.rows)


def test_a_longer_excess_is_worse(runs: dict[str, Path]) -> None:
    worse, better = compare([runs["model"], runs["slow"]]), compare([runs["slow"], runs["model"]])
    assert _verdicts(worse)["excess_s.p50"] == "worse"
    assert _verdicts(better)["excess_s.p50"] == "better"
    assert (worse.worse, better.worse) == (True, False)


def test_lost_clients_are_worse_even_if_quantiles_are_not_reached(runs: dict[str, Path]) -> None:
    """A 95th percentile that is no longer reached is worse without a number."""
    comparison = compare([runs["model"], runs["lossy"]])
    found = _verdicts(comparison)
    assert found["success_rate"] == "worse"
    assert found["excess_s.p95"] == "worse"
    p95 = next(row for row in comparison.rows if row.metric == "excess_s.p95")
    assert p95.values[1] is None
    assert p95.gaps[0].absolute is None


def test_every_row_has_every_run(runs: dict[str, Path]) -> None:
    """Three runs: three values, two differences per metric."""
    comparison = compare([runs["model"], runs["virtual"], runs["lossy"]])
    assert [row.metric for row in comparison.rows] == list(METRICS)
    assert {(len(row.values), len(row.sizes), len(row.gaps)) for row in comparison.rows} == {(3, 3, 2)}


def test_the_headline_depends_on_lanes_or_builds(runs: dict[str, Path]) -> None:
    """Lanes are compared for agreement, builds of one lane for progress."""
    assert compare([runs["model"], runs["virtual"]]).headline == "No difference shown between the lanes"
    assert "lanes differ" in compare([runs["model"], runs["slow"]]).headline
    assert compare([runs["virtual"], runs["slow"]]).headline == "Worse than the first run"
    assert compare([runs["slow"], runs["virtual"]]).headline == "No deterioration shown"


def test_the_headline_names_a_difference_that_is_not_judged(runs: dict[str, Path]) -> None:
    """A heading that claims less than the table under it shows would hide a row that says "differs"."""
    equal = compare([runs["model"], runs["virtual"]])
    rows = tuple(
        replace(row, gaps=(replace(row.gaps[0], verdict="differs"),)) if row.metric in INFORMATIVE else row
        for row in equal.rows
    )
    found = replace(equal, rows=rows)
    assert found.headline == "No difference shown between the lanes, except in heartbeat_rtt_s.p50"
    assert not found.worse


def test_runs_with_equal_lane_and_seed_are_numbered(runs: dict[str, Path]) -> None:
    assert compare([runs["virtual"], runs["slow"]]).labels == ("1: virtual", "2: virtual")


def test_files_are_written(runs: dict[str, Path], tmp_path: Path) -> None:
    """JSON reads back, Markdown names the runs, HTML needs no network."""
    out = tmp_path / "deep" / "out"
    comparison = write_comparison([runs["model"], runs["lossy"]], out)
    assert msgspec.json.decode((out / "compare.json").read_bytes(), type=Comparison) == comparison
    assert comparison.headline in (out / "compare.md").read_text(encoding="utf-8")
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 2
    assert "http" not in page


def test_a_comparison_of_one_run_is_an_error(runs: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="at least two"):
        compare([runs["model"]])
