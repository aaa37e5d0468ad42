"""Systems side by side: equal runs show no difference, slower ones do, and what is missing never passes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from reports.comparison import Change
from reports.systems import JUDGED, SystemInfo, SystemRuns, SystemsComparison, compare_systems, was_interrupted
from reports.systems_pages import HEAD, row, to_markdown, write_systems
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import LogBuilder, clean_history, sample_history

FAST, SLOW = "fast", "slow"


def infos(*names: str, **problems: str) -> list[SystemInfo]:
    return [SystemInfo(name=name, title=name, settings="defaults", problem=problems.get(name)) for name in names]


def ran(root: Path, system: str, history: LogBuilder, seeds: range = range(1, 2)) -> SystemRuns:
    """The run of one system, written."""
    directory = root / history.experiment.name / system
    for run_dir in SystemRuns(history.experiment, system, directory, seeds).run_dirs.values():
        history.write(run_dir)
    return SystemRuns(history.experiment, system, directory, seeds)


def compared(root: Path, systems: list[SystemInfo], *cells: SystemRuns) -> SystemsComparison:
    return compare_systems(systems, {cells[0].experiment.name: "Tiny"}, cells, root)


def test_equal_systems_show_no_difference(tmp_path: Path) -> None:
    cells = [ran(tmp_path, name, sample_history(Lane.REAL, clients=20)) for name in (FAST, "twin")]
    found = compared(tmp_path, infos(FAST, "twin"), *cells)
    first, twin = found.results
    assert first.figures == twin.figures
    assert [(gap.label, gap.absolute, gap.verdict) for gap in twin.differences] == [
        (metric, 0.0, Change.NO_CHANGE) for metric in JUDGED
    ]
    assert first.differences == ()
    assert found.difference_confidence == pytest.approx(1 - 0.05 / (2 * len(JUDGED)))


def test_a_slower_system_is_worse_in_what_is_slower(tmp_path: Path) -> None:
    fast, slow = (sample_history(Lane.REAL, clients=24, losing=0.0, slow=by) for by in (1.0, 8.0))
    found = compared(tmp_path, infos(FAST, SLOW), ran(tmp_path, FAST, fast), ran(tmp_path, SLOW, slow))
    verdicts = {gap.label: gap.verdict for gap in found.results[1].differences}
    assert verdicts["excess_s.restricted_mean"] is Change.WORSE
    assert verdicts["success_rate"] is Change.NO_CHANGE
    bounds = found.results[1].differences[-1]
    assert bounds.low is not None
    assert bounds.low > 0
    for gap in found.results[1].differences:
        assert -30.0 <= (gap.low or 0.0) <= (gap.high or 0.0) <= 30.0, "no wider than the deadline"


def test_a_difference_is_undecided_while_the_laboratory_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A starved machine slows one system more than another, so neither is called better."""
    fast, slow = (sample_history(Lane.REAL, clients=24, losing=0.0, slow=by) for by in (1.0, 8.0))
    monkeypatch.setattr("reports.systems._Cell.doubts", property(lambda _: ("seed 1: the laboratory was starved",)))
    found = compared(tmp_path, infos(FAST, SLOW), ran(tmp_path, FAST, fast), ran(tmp_path, SLOW, slow))
    verdicts = {gap.label: gap.verdict for gap in found.results[1].differences}
    assert verdicts["excess_s.restricted_mean"] is Change.UNDECIDED
    assert "- slow: seed 1: the laboratory was starved" in to_markdown(found)


def test_the_drops_of_several_seeds_count_together(tmp_path: Path) -> None:
    history = sample_history(Lane.REAL, clients=10)
    once = compared(tmp_path, infos(FAST), ran(tmp_path / "a", FAST, history))
    twice = compared(tmp_path, infos(FAST), ran(tmp_path / "b", FAST, history, range(1, 3)))
    assert twice.results[0].figures[0].n == 2 * once.results[0].figures[0].n
    assert once.results[0].figures[0].low is not None
    assert twice.results[0].figures[0].low is not None
    assert twice.results[0].figures[0].low > once.results[0].figures[0].low


def test_a_run_that_is_not_there_is_not_carried_out_and_the_others_stand(tmp_path: Path) -> None:
    there = ran(tmp_path, FAST, clean_history(80))
    missing = SystemRuns(there.experiment, SLOW, tmp_path / "none", range(1, 2))
    found = compared(tmp_path, infos(FAST, SLOW), there, missing)
    assert found.exit_code is ExitCode.HARNESS
    assert found.results[1].exit_code is ExitCode.HARNESS
    assert [row(result)[-1] for result in found.results] == ["PASS", "NOT CARRIED OUT"]
    assert row(found.results[1])[1:7] == ["not applicable"] * 6
    assert {gap.verdict for gap in found.results[1].differences} == {Change.NO_DATA}


def test_a_system_that_could_not_be_had_ends_with_4_and_is_named(tmp_path: Path) -> None:
    found = compared(tmp_path, infos(FAST, SLOW, slow="no node on PATH"), ran(tmp_path, FAST, clean_history(80)))
    assert found.exit_code is ExitCode.HARNESS
    assert found.results[0].exit_code is ExitCode.PASS
    assert "**slow** could not be had: no node on PATH" in to_markdown(found)


def test_an_experiment_that_did_not_run_everywhere_is_no_whole_comparison(tmp_path: Path) -> None:
    cell = ran(tmp_path, FAST, clean_history(80))
    assert compared(tmp_path, infos(FAST, SLOW), cell).exit_code is ExitCode.HARNESS
    assert compared(tmp_path, infos(FAST), cell).exit_code is ExitCode.PASS


def test_every_format_shows_the_same_table(tmp_path: Path) -> None:
    cells = [ran(tmp_path, name, sample_history(Lane.REAL, clients=8)) for name in (FAST, "a|b<c>")]
    found = compared(tmp_path, infos(FAST, "a|b<c>"), *cells)
    write_systems(tmp_path / "out", found)
    page, text = ((tmp_path / "out" / f"systems.{kind}").read_text() for kind in ("html", "md"))
    assert msgspec.json.decode((tmp_path / "out" / "systems.json").read_bytes(), type=SystemsComparison) == found
    assert f"| {' | '.join(HEAD)} |" in text
    assert "a\\|b<c>" in text
    assert "a|b&lt;c&gt;" in page
    assert 'href="tiny/fast/report.html"' in page
    for cell in row(found.results[0])[1:]:
        assert cell in text
        assert cell in page


@pytest.mark.parametrize("status, is_so", [(RunStatus.INTERRUPTED, True), (RunStatus.COMPLETED, False)])
def test_an_interrupted_run_is_recognised(tmp_path: Path, status: RunStatus, is_so: bool) -> None:
    history = clean_history(80)
    history.write(tmp_path / "seed-1")
    stored = (tmp_path / "seed-1" / "run.json").read_text().replace('"completed"', f'"{status.value}"')
    (tmp_path / "seed-1" / "run.json").write_text(stored)
    assert was_interrupted(tmp_path) is is_so
    assert not was_interrupted(tmp_path / "none")
