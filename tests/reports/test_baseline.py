"""A baseline stands for a run's directory: small, versioned, and as good for a comparison as it says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from reports.baseline import baseline_of, read_baseline, write_baseline
from reports.compare import compare_measured
from reports.comparison import Change, Comparison
from reports.measured import AnalysedRun, read_runs
from resilience.errors import HarnessError, UsageError
from resilience.eventlog.vocabulary import Lane

from ..support.log_builder import LogBuilder, clean_history, sample_history

SIZE = 40


@pytest.fixture(scope="module", name="runs")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AnalysedRun]:
    root = tmp_path_factory.mktemp("runs")
    other_seed = sample_history(Lane.VIRTUAL, clients=SIZE, losing=0.0)
    other_seed.seed = 2
    histories: dict[str, LogBuilder] = {
        "first": sample_history(Lane.VIRTUAL, clients=SIZE, losing=0.0),
        "slow": sample_history(Lane.VIRTUAL, clients=SIZE, losing=0.0, slow=1.5),
        "lossy": sample_history(Lane.VIRTUAL, clients=SIZE, losing=0.4),
        "seed": other_seed,
    }
    return {name: read_runs([history.write(root / name)])[0] for name, history in histories.items()}


def _through_a_file(run: AnalysedRun, tmp_path: Path, other: AnalysedRun) -> Comparison:
    write_baseline(run, tmp_path / "baseline.json")
    return compare_measured([read_baseline(tmp_path / "baseline.json"), other])


@pytest.mark.parametrize("other", ["first", "slow", "lossy", "seed"])
def test_a_baseline_has_the_values_of_its_run(runs: dict[str, AnalysedRun], tmp_path: Path, other: str) -> None:
    """Values, sizes and differences are equal; only intervals are wider where pairs are missing."""
    full = compare_measured([runs["first"], runs[other]])
    stored = _through_a_file(runs["first"], tmp_path, runs[other])
    assert stored.labels[0] == "baseline"
    for here, there in zip(full.rows, stored.rows, strict=True):
        assert (here.values, here.sizes) == (there.values, there.sizes)
        if here.gaps[0].absolute is not None:
            assert there.gaps[0].absolute == pytest.approx(here.gaps[0].absolute, abs=1e-9)
    assert stored.checks == full.checks


def test_a_byte_order_mark_is_no_part_of_a_baseline(runs: dict[str, AnalysedRun], tmp_path: Path) -> None:
    """Some editors and shells write one."""
    path = tmp_path / "baseline.json"
    write_baseline(runs["first"], path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_baseline(path).experiment == runs["first"].experiment


def test_a_baseline_pairs_windows_of_one_seed(runs: dict[str, AnalysedRun], tmp_path: Path) -> None:
    comparison = _through_a_file(runs["first"], tmp_path, runs["slow"])
    gaps = {row.metric: row.gaps[0] for row in comparison.rows}
    assert gaps["excess_s.restricted_mean"].verdict is Change.WORSE
    assert gaps["excess_s.restricted_mean"].method == "paired, t with 6 degrees of freedom"
    assert gaps["excess_s.p95"].method == "independent runs"
    assert any("paired by fault window" in note for note in comparison.notes)


def test_a_baseline_of_another_seed_is_not_paired(runs: dict[str, AnalysedRun], tmp_path: Path) -> None:
    comparison = _through_a_file(runs["seed"], tmp_path, runs["slow"])
    assert {row.gaps[0].method for row in comparison.rows} == {"independent runs"}
    full = compare_measured([runs["seed"], runs["slow"]])
    for here, there in zip(full.rows, comparison.rows, strict=True):
        assert (there.gaps[0].low, there.gaps[0].high) == (here.gaps[0].low, here.gaps[0].high)


def test_a_quantile_that_was_not_reached_stays_so(runs: dict[str, AnalysedRun], tmp_path: Path) -> None:
    """JSON has no infinity; a bound that is infinite is not one that is unknown."""
    write_baseline(runs["lossy"], tmp_path / "baseline.json")
    stored = read_baseline(tmp_path / "baseline.json").estimate("excess_s.p95", 0.99)
    found = runs["lossy"].estimate("excess_s.p95", 0.9975)
    assert stored.value == found.value == float("inf")
    assert (stored.interval.low, stored.interval.high) == (found.interval.low, found.interval.high)


def test_a_baseline_is_small(runs: dict[str, AnalysedRun], tmp_path: Path) -> None:
    write_baseline(runs["first"], tmp_path / "baseline.json")
    assert (tmp_path / "baseline.json").stat().st_size < 40_000


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "not a baseline"),
        (b"[1, 2]", "not a baseline"),
        (b'{"kind": "other"}', "not a baseline of version 1"),
        (b'{"kind": "baseline", "schema_version": 2}', "not a baseline of version 1"),
        (b'{"kind": "baseline", "schema_version": 1}', "not a baseline"),
        (b"\xff\xfe", "not a baseline"),
    ],
)
def test_a_foreign_file_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "baseline.json").write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_baseline(tmp_path / "baseline.json")
    assert "\n" not in str(caught.value)


def test_a_baseline_that_lacks_a_metric_is_one_line(tmp_path: Path) -> None:
    (run,) = read_runs([clean_history(clients=20).write(tmp_path / "run")])
    baseline = baseline_of(run)
    short = replace(baseline, metrics={"success_rate": baseline.metrics["success_rate"]})
    (tmp_path / "short.json").write_bytes(msgspec.json.encode(short))
    with pytest.raises(UsageError, match="lacks what a comparison needs"):
        read_baseline(tmp_path / "short.json")


def test_a_missing_file_and_one_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the baseline"):
        read_baseline(tmp_path / "nowhere.json")
    (run,) = read_runs([clean_history(clients=20).write(tmp_path / "run")])
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(HarnessError, match="cannot write the baseline"):
        write_baseline(run, tmp_path / "file" / "baseline.json")
