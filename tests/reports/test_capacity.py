"""The answer of a sweep: found, not found, undecided, extrapolated; and sweeps that are none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from reports.capacity import CapacityReport, capacity_report, to_markdown, write_capacity
from reports.sweep import Assumption, Decision, Envelope, Provenance, SweepResult, Target, load_sweep
from resilience.errors import ConfigError, ExitCode, HarnessError, UsageError
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.spec import Op

from ..support.made_sweep import made_description, made_table, write_sweep


def _report(table: pd.DataFrame | None = None, **changes: object) -> CapacityReport:
    return capacity_report(SweepResult(made_description(**changes), made_table() if table is None else table))


def test_the_answer_is_the_fewest_processes_that_hold() -> None:
    """One process per 100,000 participants: ten of those swept, and no fewer."""
    report = _report()
    assert (report.verdict, report.answer, report.exit_code) == (Verdict.PASS, 10.0, ExitCode.PASS)
    assert report.headline == "10 server processes"
    assert [(level.at, level.verdict.value) for level in report.levels] == [
        *((at, "pass") for at in (16.0, 12.0, 10.0)),
        *((at, "fail") for at in (9.0, 8.0, 6.0)),
    ]


def test_the_sentence_has_the_margin_the_next_level_and_the_breaking_point() -> None:
    report = _report()
    assert report.margin == pytest.approx(report.levels[2].low - 0.98 if report.levels[2].low else None)
    for part in (
        "10 server processes hold success_rate ≥ 98 %",
        "by a margin of 1.05 points",
        "9 miss it",
        "1,200,000",
    ):
        assert part in report.sentence
    assert (report.holds_to, report.breaks_at) == (1_000_000.0, 1_200_000.0)
    assert report.sentence.count(".") - report.sentence.count(". ") >= 1
    assert "\n" not in report.sentence


def test_only_the_planned_settings_answer() -> None:
    """Under the other admission setting twenty processes would be needed."""
    assert _report(settings={"admission_seconds": 0.5}).verdict is Verdict.FAIL


def test_no_capacity_that_was_swept_is_a_failure() -> None:
    report = _report(made_table(processes=(4, 6)))
    assert (report.verdict, report.answer, report.exit_code) == (Verdict.FAIL, None, ExitCode.FAIL)
    assert report.headline == "None of 4 to 6 server processes is enough"
    assert "even 6 server processes miss success_rate" in report.sentence


def test_one_replication_decides_nothing() -> None:
    report = _report(made_table(replications=1))
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    assert "without bounds" in report.sentence


def test_noise_leaves_the_answer_open_and_never_lowers_it() -> None:
    """With few and noisy replications no level is shown to hold, or only safer ones than before."""
    report = _report(made_table(replications=3, noise=0.03))
    assert report.answer is None or report.answer >= 10.0
    assert report.verdict is not Verdict.PASS or report.answer is not None


def test_an_interrupted_sweep_is_inconclusive() -> None:
    report = _report(complete=False)
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert report.headline == "Not decided: 10 server processes at best"
    assert any("interrupted" in caution for caution in report.cautions)


@pytest.mark.parametrize("ranges", [{"crowd": (100.0, 900_000.0)}, {"processes": (1.0, 8.0)}])
def test_an_answer_outside_the_tested_ranges_is_extrapolated(ranges: dict[str, tuple[float, float]]) -> None:
    report = _report(envelope=Envelope(calibrated_on=("a run",), ranges=ranges))
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert any(caution.startswith("Extrapolated: ") for caution in report.cautions)


def test_what_the_answer_rests_on_is_said() -> None:
    cautions = _report(assumptions=(), envelope=Envelope()).cautions
    assert any("names none of its assumptions" in caution for caution in cautions)
    assert any("not calibrated" in caution for caution in cautions)
    assert any("share of silent outages" in caution for caution in _report().cautions)


def test_a_target_that_is_better_when_lower_and_a_decision_that_is_safer_when_lower() -> None:
    """The longest delay at which the 95th percentile stays below two seconds."""
    rng = np.random.default_rng(1)
    rows = [
        (delay, replication, 0.5 + delay + rng.normal(0, 0.02))
        for delay in (0.5, 1.0, 1.25, 2.0)
        for replication in range(6)
    ]
    table = pd.DataFrame(rows, columns=["delay", "replication", "excess_s.p95"])
    table = table.assign(point=table.groupby("delay").ngroup())
    report = _report(
        table,
        target=Target(metric="excess_s.p95", op=Op.BELOW, threshold=2.0),
        decision=Decision(name="delay", unit="seconds of delay", higher_is_safer=False),
        load=None,
        settings={},
        storm=None,
        envelope=Envelope(calibrated_on=("a run",)),
    )
    assert (report.answer, report.verdict) == (1.25, Verdict.PASS)
    assert report.margin == pytest.approx(0.25, abs=0.05)


def test_levels_share_their_draws() -> None:
    """The change between two levels is that of the same replications: the luck cancels."""
    report = _report(made_table(noise=0.002))
    level = next(level for level in report.levels if level.at == 9.0)
    assert level.gain is not None
    assert level.low is not None
    assert level.high is not None
    mean, low, high = level.gain
    assert mean == pytest.approx(-0.5 * (1_000_000 / 900_000 - 1), abs=0.002)
    assert high - low < (level.high - level.low) / 2


def test_success_rates_keep_within_bounds() -> None:
    """Replications without a loss do not prove a rate of one: the counts give the bound."""
    table = made_table(noise=0.0)
    table = table.assign(success_rate=1.0, affected=100, restored=100)
    report = _report(table)
    assert report.levels[0].high == 1.0
    assert report.levels[0].low is not None
    assert report.levels[0].low < 0.9975


def test_the_report_is_written(tmp_path: Path) -> None:
    report = write_capacity(write_sweep(tmp_path / "sweep"), tmp_path / "out")
    assert msgspec.json.decode((tmp_path / "out" / "capacity.json").read_bytes(), type=CapacityReport) == report
    page = (tmp_path / "out" / "capacity.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 4
    assert "http" not in page
    assert page.index(report.sentence.replace("'", "&#39;")) < page.index("<figure")
    for words in (
        "assumed",
        "docs/performance.md",
        "12 real runs",
        "several regions",
        "falls to 0 %",
        "at most 20,000",
    ):
        assert words in page
    assert report.headline in to_markdown(report)


def test_a_sweep_without_extras_has_a_page(tmp_path: Path) -> None:
    bare = made_description(storm=None, load=None, sensitivities=(), assumptions=(), envelope=Envelope(), command="")
    table = made_table(crowds=(1_000_000,)).drop(columns=["restored", "affected"])
    report = write_capacity(write_sweep(tmp_path / "sweep", bare, table), tmp_path / "sweep")
    assert report.answer == 10.0
    assert (tmp_path / "sweep" / "capacity.html").read_text(encoding="utf-8").count("<figure") == 1


def test_an_answer_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(HarnessError, match="cannot write the capacity report"):
        write_capacity(write_sweep(tmp_path / "sweep"), tmp_path / "file" / "out")


def test_what_a_sweep_says_is_escaped(tmp_path: Path) -> None:
    sweep = made_description(question="<script>alert(1)</script>", command="a < b & c")
    write_capacity(write_sweep(tmp_path / "sweep", sweep), tmp_path / "out")
    page = (tmp_path / "out" / "capacity.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "a &lt; b &amp; c" in page


# --- sweeps that are none ---------------------------------------------------------------------------------------------


def _description(content: bytes) -> Callable[[Path], object]:
    return lambda sweep: (sweep / "sweep.json").write_bytes(content)


def _table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], object]:
    return lambda sweep: change(made_table()).to_parquet(sweep / "sweep.parquet")


@pytest.mark.parametrize(
    "damage, said",
    [
        (shutil.rmtree, "no such sweep directory"),
        (lambda sweep: (sweep / "sweep.json").unlink(), "a sweep has sweep.json and sweep.parquet"),
        (lambda sweep: (sweep / "sweep.parquet").unlink(), "a sweep has sweep.json and sweep.parquet"),
        (_description(b'{"runs": []}'), "not a sweep's description"),
        (_description(b"\xff{"), "not a sweep's description"),
        (_description(msgspec.json.encode(made_description(schema_version=2))), "version 2 of the format"),
        (lambda sweep: (sweep / "sweep.parquet").write_bytes(b"no table"), "not a Parquet table"),
        (_table(lambda table: table.drop(columns="processes")), "lacks the columns processes"),
        (_table(lambda table: table.assign(success_rate="all")), "column success_rate must hold finite numbers"),
        (_table(lambda table: table.assign(success_rate=np.nan)), "column success_rate must hold finite numbers"),
        (_table(lambda table: pd.concat([table, table])), "a replication twice"),
        (_table(lambda table: table[table["crowd"] < 1_000_000]), "no row at the planned"),
        (_table(lambda table: table.iloc[:0]), "no row at the planned"),
    ],
)
def test_a_foreign_sweep_is_one_line(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    sweep = write_sweep(tmp_path / "sweep")
    damage(sweep)
    with pytest.raises(UsageError, match=said) as caught:
        capacity_report(load_sweep(sweep))
    assert "\n" not in str(caught.value)


def test_a_measured_number_needs_its_source() -> None:
    with pytest.raises(ConfigError, match="name the source"):
        Assumption(name="joins per second", value=1.0, provenance=Provenance.MEASURED)
    assert Assumption(name="joins per second", value=1.0, provenance=Provenance.ASSUMED).source == ""
