"""A simulated run as a directory, through the command a user types."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resilience.errors import ExitCode, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import load
from resilience.lab.cancellation import Cancellation
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus, read_run_info
from sim import cli
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane
from tests.support.stored_lines import read_events

from ..support.deadlines import HANG_S
from ..support.processes import eventually_sync

SMALL = load("demo", scale=0.05)
FILES = {"experiment.toml", "run.json", "events", "summary.json", "summary.md", "report.html", "junit.xml"}


def command(lane: str, out: Path, *more: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """``resilience sim run demo`` at a twentieth of its size."""
    arguments = ["sim", "run", "demo", "--scale", "0.05", "--lane", lane, "--out", str(out), *more]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-m", "resilience", *arguments],
        env=environment,
        text=True,
        capture_output=True,
        timeout=HANG_S,
        check=False,
    )


def test_the_model_lane_refuses_a_fault_of_bytes_before_the_start(tmp_path: Path) -> None:
    """By its key and kind, with the lanes that can carry it out."""
    fault = 'faults=[{kind="slice", at=20.0, duration=3.0, cohorts=["alpha"], size=16, delay=0.01}]'
    done = command("model", tmp_path / "run", "--set", fault)
    assert done.returncode == ExitCode.USAGE
    assert "faults[0]: the lane model cannot carry out slice; choose the lane real or virtual" in done.stderr
    assert not (tmp_path / "run").exists()


def history(run_dir: Path) -> str:
    """The event log's bytes, as a digest."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(run_dir.glob("events/*")))).hexdigest()


@pytest.mark.parametrize("lane", ["virtual", "model"])
def test_two_processes_write_the_same_bytes(lane: str, tmp_path: Path) -> None:
    """The same seed gives the same history, whatever the hash seed; another seed gives another."""
    for name, more, hash_seed in (("a", (), "1"), ("b", (), "2"), ("c", ("--seed", "8"), "1")):
        done = command(lane, tmp_path / name, *more, hash_seed=hash_seed)
        assert done.returncode in (0, 3), done.stderr
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert history(tmp_path / "a") != history(tmp_path / "c")
    assert {path.name for path in (tmp_path / "a").iterdir()} >= FILES


def test_a_run_that_is_not_steady_says_so_and_exits_4(tmp_path: Path) -> None:
    """Nothing is injected, and the system is not blamed."""
    done = command("virtual", tmp_path / "run", "--set", "ramp=6.9", "--set", "hypothesis.joined=1.0", "--set",
                   "server.first_message_deadline=0.0000001")  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert read_run_info(tmp_path / "run").status == RunStatus.NOT_STARTED
    assert "fault.started" not in next((tmp_path / "run" / "events").iterdir()).read_text()


def test_an_experiment_that_the_lane_cannot_carry_out_leaves_no_directory(tmp_path: Path) -> None:
    leaving = msgspec.structs.replace(
        SMALL, cohorts=(msgspec.structs.replace(SMALL.cohorts[0], leaves_at=9.0),), faults=()
    )
    with pytest.raises(UsageError, match="choose the lane virtual"):
        cli.run_and_report(leaving, ModelLane(), 1, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_into_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    done = command("model", tmp_path)
    assert done.returncode == 2
    assert "already there and not empty" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious"


class FailingLane(VirtualLane):
    """A lane whose system cannot be started."""

    def start(self, *_: object) -> Any:  # noqa: ANN401 - it never returns
        raise RuntimeError("planted")


def test_a_run_that_raises_never_reads_as_completed(tmp_path: Path) -> None:
    """run.json says that the laboratory failed, and with what; there is a report, and the exit code is 4."""
    assert cli.run_and_report(SMALL, FailingLane(), 1, tmp_path / "run") == ExitCode.HARNESS
    info = read_run_info(tmp_path / "run")
    failure = tmp_path / "run" / "failure.txt"
    cause = f"unexpected RuntimeError: planted; its traceback is in {failure}"
    assert (info.status, info.cause) == (RunStatus.HARNESS_FAILED, cause)
    assert "Traceback" in failure.read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES


class InterruptedLane(VirtualLane):
    """A lane whose user presses Ctrl-C when the run has begun, and again while it ends."""

    cancellation: Cancellation | None = None

    def run(self, main: Any, cancellation: Cancellation) -> Any:  # noqa: ANN401 - passed through
        self.cancellation = cancellation
        return super().run(main, cancellation)

    def start(self, *arguments: Any) -> Any:  # noqa: ANN401 - passed through
        asyncio.get_running_loop().call_later(SMALL.hypothesis.within + 1.0, self.interrupt)
        return super().start(*arguments)

    def interrupt(self) -> None:
        """Send SIGINT to this process, twice, and wait until the thread that handles signals has run."""
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert eventually_sync(lambda: self.cancellation is not None and self.cancellation.reason is not None)


def test_ctrl_c_leaves_a_run_that_says_so_and_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """run.json says "interrupted", the log is whole, and the process handles signals as before."""
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_dir = tmp_path / "run"
    assert cli.run_and_report(SMALL, InterruptedLane(), 1, run_dir) == ExitCode.HARNESS
    info = read_run_info(run_dir)
    assert (info.status, info.cause) == (RunStatus.INTERRUPTED, "interrupted by SIGINT")
    assert read_events(run_dir)[-1].outcome == "interrupted"
    assert "interrupted: interrupted by SIGINT\n" in capsys.readouterr().out
    assert {path.name for path in run_dir.iterdir()} >= FILES
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_latest_points_at_the_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``runs/<experiment>/latest`` follows."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs" / "demo"
    for seed in (1, 2):
        cli.run_and_report(SMALL, cli.driver_of(Lane.MODEL), seed, None)
        assert f"-{seed}-model" in (runs / "latest").resolve().name


def test_the_real_lane_is_no_simulation() -> None:
    """``sim`` says which lanes it has."""
    with pytest.raises(UsageError, match="model and virtual"):
        cli.driver_of(Lane.REAL)


@pytest.mark.parametrize("lane, library", [(Lane.MODEL, "simpy"), (Lane.VIRTUAL, "websockets")])
def test_run_json_says_what_ran(lane: Lane, library: str, tmp_path: Path) -> None:
    """Versions, digest, cost: all that it takes to judge or repeat a run."""
    execute(cli.driver_of(lane), SMALL, 3, tmp_path / "run")
    info = read_run_info(tmp_path / "run")
    assert (info.lane, info.seed, info.experiment_digest) == (lane, 3, SMALL.digest)
    assert {"python", library, "quiz-resilience"} <= set(info.versions)
    assert info.wall_s is not None
    assert msgspec.json.decode((tmp_path / "run" / "run.json").read_bytes())["schema_version"] == 2
