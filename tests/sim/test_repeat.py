"""``sim run --repeat`` as a user types it: directories, one line a run, the pooled verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from reports.repetitions import RepeatedRuns
from reports.run_cli import RunRequest, run_and_report
from resilience.errors import ExitCode, UsageError
from resilience.experiment.loader import load
from resilience.lab.repetitions import RepetitionPlan
from resilience.lab.run_directory import RunStatus, read_run_info
from resilience.terminal import make_console
from sim.model.lane import ModelLane

from .test_run import FailingLane, InterruptedLane

SMOKE = load("smoke")


def repeated(
    plan: RepetitionPlan, out: Path | None, *, quiet: bool = False, lane: Callable[[], ModelLane] = ModelLane
) -> int:
    return run_and_report(RunRequest(SMOKE, lane, plan, out), make_console(quiet=quiet))


def stored(directory: Path) -> RepeatedRuns:
    return msgspec.json.decode((directory / "repetitions.json").read_bytes(), type=RepeatedRuns)


def test_each_seed_has_its_directory_and_all_one_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resilience.lab.command.RUNS", tmp_path)
    assert repeated(RepetitionPlan(5, 2), None) == ExitCode.PASS
    latest = (tmp_path / "smoke" / "latest").resolve()
    assert latest.name.endswith("-5x2-model")
    assert {path.name for path in latest.iterdir()} >= {"seed-5", "seed-6", "junit.xml", "repetitions.html"}
    assert [read_run_info(latest / f"seed-{seed}").seed for seed in (5, 6)] == [5, 6]
    assert (latest / "seed-6" / "report.html").exists()
    result = stored(latest)
    assert result.pooled is not None
    assert result.pooled.success_rate.affected == 60
    printed = capsys.readouterr().out
    assert "1 of 2, seed 5: PASS, 30 of 30 (100 %) came back\n2 of 2, seed 6: PASS" in printed
    assert "60 of 60 came back by themselves (100 %) in 2 runs" in printed
    assert str(latest / "repetitions.html") in printed


def test_quiet_prints_the_verdict_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert repeated(RepetitionPlan(5), tmp_path / "one", quiet=True) == ExitCode.PASS
    assert capsys.readouterr().out == (
        "PASS: smoke, seed 5: 30 of 30 came back by themselves (100 %), every target was met and no invariant was "
        "broken.\n"
    )
    plan = RepetitionPlan(5, 9, budget=0.001)
    assert repeated(plan, tmp_path / "many", quiet=True) == ExitCode.PASS
    printed = capsys.readouterr()
    assert printed.out.startswith("PASS: smoke, 1 run: 30 of 30")
    assert (printed.out.count("\n"), printed.err) == (1, "")


def test_a_run_that_the_laboratory_cannot_carry_out_stops_with_fail_fast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = RunRequest(SMOKE, FailingLane, RepetitionPlan(1, 3, fail_fast=True), tmp_path / "runs")
    assert run_and_report(request, make_console()) == ExitCode.HARNESS
    result = stored(tmp_path / "runs")
    assert (len(result.repetitions), result.harness_failed) == (1, True)
    assert "seed 1 failed" in (result.stopped or "")
    assert "HARNESS FAILED" in capsys.readouterr().out


def test_ctrl_c_ends_the_repetitions_after_the_run_that_it_interrupts(tmp_path: Path) -> None:
    request = RunRequest(SMOKE, InterruptedLane, RepetitionPlan(1, 3), tmp_path / "runs")
    assert run_and_report(request, make_console()) == ExitCode.HARNESS
    assert stored(tmp_path / "runs").stopped == "interrupted"
    assert read_run_info(tmp_path / "runs" / "seed-1").status is RunStatus.INTERRUPTED
    assert not (tmp_path / "runs" / "seed-2").exists()


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="already there and not empty"):
        repeated(RepetitionPlan(1, 2), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="already there and not empty"):
        repeated(RepetitionPlan(1, 2), tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "file"}
