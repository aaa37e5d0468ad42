"""Runs side by side: what changed, how sure, and what it exits with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from reports.compare import METRICS, Comparison, compare, write_comparison
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
    """Equal runs have gaps of zero and intervals around it."""
    comparison = compare([runs["model"], runs["virtual"]])
    assert set(_verdicts(comparison).values()) == {"no change shown"}
    assert not comparison.worse
    assert comparison.labels == ("model", "virtual")
    assert all(row.gaps[0].absolute == 0 for row in comparison.rows)


def test_coming_back_later_is_worse(runs: dict[str, Path]) -> None:
    """Four times slower shows in the excess, and only a lower value is better."""
    worse, better = compare([runs["model"], runs["slow"]]), compare([runs["slow"], runs["model"]])
    assert _verdicts(worse)["excess_s.p50"] == "worse"
    assert _verdicts(better)["excess_s.p50"] == "better"
    assert (worse.worse, better.worse) == (True, False)


def test_losing_people_is_worse_even_where_quantiles_are_out_of_reach(runs: dict[str, Path]) -> None:
    """A rate that fell is worse; a 95th percentile that is no longer reached is worse without a number."""
    comparison = compare([runs["model"], runs["lossy"]])
    found = _verdicts(comparison)
    assert found["success_rate"] == "worse"
    assert found["excess_s.p95"] == "worse"
    p95 = next(row for row in comparison.rows if row.metric == "excess_s.p95")
    assert p95.values[1] is None
    assert p95.gaps[0].absolute is None


def test_every_row_holds_every_run(runs: dict[str, Path]) -> None:
    """Three runs: three values, two gaps per metric."""
    comparison = compare([runs["model"], runs["virtual"], runs["lossy"]])
    assert [row.metric for row in comparison.rows] == list(METRICS)
    assert {(len(row.values), len(row.sizes), len(row.gaps)) for row in comparison.rows} == {(3, 3, 2)}


def test_the_headline_suits_what_is_compared(runs: dict[str, Path]) -> None:
    """Lanes are held for agreement, builds of one lane for progress."""
    assert compare([runs["model"], runs["virtual"]]).headline == "No gap shown between the lanes"
    assert "lanes differ" in compare([runs["model"], runs["slow"]]).headline
    assert compare([runs["virtual"], runs["slow"]]).headline == "Worse than the first run"
    assert compare([runs["slow"], runs["virtual"]]).headline == "No change for the worse shown"


def test_labels_tell_equal_lanes_apart(runs: dict[str, Path]) -> None:
    """Two runs alike in lane and seed are numbered."""
    assert compare([runs["virtual"], runs["slow"]]).labels == ("1: virtual", "2: virtual")


def test_files_are_written(runs: dict[str, Path], tmp_path: Path) -> None:
    """JSON reads back, Markdown says who, HTML needs no network."""
    out = tmp_path / "deep" / "out"
    comparison = write_comparison([runs["model"], runs["lossy"]], out)
    assert msgspec.json.decode((out / "compare.json").read_bytes(), type=Comparison) == comparison
    assert comparison.headline in (out / "compare.md").read_text(encoding="utf-8")
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 2
    assert "http" not in page


def test_one_run_is_nothing_to_compare(runs: dict[str, Path]) -> None:
    """Said in one line."""
    with pytest.raises(UsageError, match="at least two"):
        compare([runs["model"]])
