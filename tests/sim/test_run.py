"""A simulated run as a directory, through the command a user types."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.eventlog.writer import EventSink
from resilience.experiment.loader import load
from resilience.experiment.spec import Experiment
from resilience.lab.run_directory import RunStatus, read_run_info
from sim import run as runs

from ..support.deadlines import HANG_S

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


def test_a_run_into_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    """Nobody's results are overwritten."""
    (tmp_path / "mine.txt").write_text("precious")
    done = command("model", tmp_path)
    assert done.returncode == 2
    assert "already there and not empty" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_run_that_raises_never_reads_as_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash leaves behind says that the run did not end."""

    def crash(experiment: Experiment, seed: int, sink: EventSink) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(runs, "lane_of", lambda lane: crash)
    with pytest.raises(RuntimeError, match="planted"):
        runs.run(SMALL, Lane.MODEL, 1, out=tmp_path / "run", root=tmp_path)
    assert read_run_info(tmp_path / "run").status not in (RunStatus.COMPLETED, RunStatus.HARNESS_FAILED)


def test_latest_points_at_the_newest_run(tmp_path: Path) -> None:
    """``runs/<experiment>/latest`` follows."""
    first = runs.run(SMALL, Lane.MODEL, 1, out=None, root=tmp_path)
    second = runs.run(SMALL, Lane.MODEL, 2, out=None, root=tmp_path)
    assert (tmp_path / "demo" / "latest").resolve() == second.resolve() != first.resolve()


def test_the_real_lane_is_no_simulation() -> None:
    """``sim`` says which lanes it has."""
    with pytest.raises(UsageError, match="model and virtual"):
        runs.lane_of(Lane.REAL)


def test_run_json_tells_what_ran(tmp_path: Path) -> None:
    """Versions, digest, cost: all that it takes to judge or repeat a run."""
    info = read_run_info(runs.run(SMALL, Lane.MODEL, 3, out=tmp_path / "run", root=tmp_path))
    assert (info.lane, info.seed, info.experiment_digest) == (Lane.MODEL, 3, SMALL.digest)
    assert {"python", "websockets", "simpy", "quiz-resilience"} <= set(info.versions)
    assert info.wall_s is not None
    assert msgspec.json.decode((tmp_path / "run" / "run.json").read_bytes())["schema_version"] == 1
