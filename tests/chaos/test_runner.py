"""Whole runs over real processes: one that passes, and everything that can go wrong around one."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from chaos import cli, limits, runner
from chaos.progress import Progress
from chaos.target import Target, clean_environment, settings_of
from chaos.toxiproxy.provision import Binary
from reports.build import analyse
from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.experiment.loader import load, load_file, parse
from resilience.experiment.spec import Experiment
from resilience.lab.run_directory import RunStatus, read_run_info
from resilience.settings import server_settings

from ..support.processes import descendants, eventually, eventually_sync, kinds, listening, lives, logged

K = LogEventKind
SECONDS_TO_FAULT = 25.0
SECONDS_TO_CLEAN = 15.0

LONG_REFUSAL = """
name = "long"
duration = 60.0
ramp = 0.2

[[cohorts]]
name = "alpha"
clients = 2

[[cohorts]]
name = "beta"
clients = 1

[hypothesis]
joined = 0.5
within = 0.8

[[faults]]
kind = "refuse"
at = 0.9
duration = 50.0
cohorts = ["alpha", "beta"]
"""


def experiment(*overrides: str) -> Experiment:
    return parse(LONG_REFUSAL, "long.toml", overrides)


async def run(chosen: Experiment, run_dir: Path, binary: Binary, seen: list[Progress] | None = None) -> str:
    watcher = (lambda _: None) if seen is None else seen.append
    info = await runner.run(chosen, chosen.seed, run_dir, toxiproxy=binary.path, progress=watcher)
    assert read_run_info(run_dir) == info
    return info.status


def test_the_smoke_experiment_passes_through_the_command_line(binary: Binary, tmp_path: Path) -> None:
    """`chaos run smoke` ends with 0 and leaves a complete run directory and its report."""
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "resilience", "chaos", "run", "smoke", "--out", out, "--toxiproxy", binary.path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    info = read_run_info(out)
    assert (info.status, info.lane, info.seed) == (RunStatus.COMPLETED, Lane.REAL, 11)
    assert load_file(out / "experiment.toml") == load("smoke")
    assert {"summary.json", "summary.md", "junit.xml", "report.html"} <= {path.name for path in out.iterdir()}
    events = logged(out)
    assert {event.role for event in events} == set(Role)
    assert [kinds(out).count(kind) for kind in (K.FAULT_CONFIRMED, K.FAULT_CLEARED, K.FAULT_INVALID)] == [3, 3, 0]
    (ended,) = (event for event in events if event.kind is K.RUN_ENDED)
    assert ended.outcome == "completed"
    assert "fleet loop lag: max 0." in (ended.detail or "")


async def test_without_a_steady_state_nothing_is_injected(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that has not joined in time is a run that did not start: exit code 4. Its watcher saw it all."""
    monkeypatch.setattr(runner, "MAX_LAG_S", -1.0)
    seen: list[Progress] = []
    slow = ("hypothesis.within=0.3", "ramp=0.3", "hypothesis.joined=1.0", "cohorts.0.clients=40")
    assert await run(experiment(*slow), tmp_path, binary, seen) == RunStatus.NOT_STARTED
    (steady,) = (event for event in logged(tmp_path) if event.kind is K.RUN_STEADY)
    assert steady.outcome == "fail"
    assert K.FAULT_STARTED not in kinds(tmp_path)
    assert [progress.phase for progress in seen if progress.phase != "joining"] == ["starting", "ending"]
    assert not descendants(os.getpid())
    (lag,) = (event for event in logged(tmp_path) if event.kind is K.HARNESS_FAILED)
    assert "fleet loop lag" in (lag.cause or "")
    monkeypatch.setattr("reports.build.build_report", lambda run_dir: analyse(run_dir)[2])  # without the pictures
    drawn = Console(file=io.StringIO(), width=200)
    assert cli._report(read_run_info(tmp_path), tmp_path, drawn) == 4
    assert "wanted 100.0%; nothing was injected" in drawn.file.getvalue()  # type: ignore[attr-defined]


async def test_a_worker_that_dies_ends_the_run_as_the_laboratorys_failure(binary: Binary, tmp_path: Path) -> None:
    """Its clients are gone through no fault of the server; nothing stays behind."""
    mine: set[int] = set()

    def watcher(progress: Progress) -> None:
        if progress.phase == "running" and not mine:
            mine.update(descendants(os.getpid()))
            os.kill(next(pid for pid in mine if b"chaos.worker_main" in Path(f"/proc/{pid}/cmdline").read_bytes()), 9)

    with pytest.raises(HarnessError, match=r"clients-[12] is gone"):
        await runner.run(experiment(), 1, tmp_path, toxiproxy=binary.path, workers=2, progress=watcher)
    assert read_run_info(tmp_path).status == RunStatus.HARNESS_FAILED
    assert mine
    assert not any(lives(pid) for pid in mine)


async def test_a_server_that_dies_does_not_end_the_run_but_is_named(binary: Binary, tmp_path: Path) -> None:
    """Its death is the system's own doing: the run goes on, the faults prove nothing, the cause is on record."""

    def watcher(progress: Progress) -> None:
        if progress.phase == "running":
            for pid in descendants(os.getpid()):
                if b"resilience\0serve" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, 9)

    short = experiment("duration=2.5", "faults.0.duration=0.5", "faults.0.at=1.5")
    info = await runner.run(short, 1, tmp_path, toxiproxy=binary.path, progress=watcher)
    assert info.status == RunStatus.COMPLETED
    assert "the server ended by itself with exit code -9" in (info.cause or "")
    assert K.FAULT_CONFIRMED not in kinds(tmp_path)


async def test_a_server_that_starts_too_slowly_gets_more_time_once(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that has come too close is given up for a later one; twice too late is the machine's fault."""
    monkeypatch.setattr(runner, "START_LEADS_S", (0.6, 0.7))
    with pytest.raises(HarnessError, match="too slow or too busy"):
        await run(experiment(), tmp_path, binary)
    assert not descendants(os.getpid())
    assert K.RUN_STARTED not in kinds(tmp_path)


async def test_a_run_cancelled_from_within_is_interrupted_and_cleans_up(binary: Binary, tmp_path: Path) -> None:
    """Whoever runs it as a task may cancel it at any moment."""
    task = asyncio.create_task(runner.run(experiment(), 1, tmp_path, toxiproxy=binary.path))
    await eventually(lambda: len(descendants(os.getpid())) >= 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert read_run_info(tmp_path).status == RunStatus.INTERRUPTED
    assert not descendants(os.getpid())


# --- signals ----------------------------------------------------------------------------------------------------------


@contextmanager
def run_in_mid_fault(folder: Path, binary: Binary) -> Iterator[tuple[subprocess.Popen[bytes], set[int], set[int]]]:
    """`chaos run` in its own process with a refusal in force: it, its children's ids, their ports."""
    file, out = folder / "long.toml", folder / "run"
    file.write_text(LONG_REFUSAL)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "resilience",
        "chaos",
        "run",
        file,
        "--out",
        out,
        "--toxiproxy",
        binary.path,
    ]
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            assert eventually_sync(lambda: kinds(out).count(K.FAULT_STARTED) == 2, SECONDS_TO_FAULT)
            children = descendants(process.pid)
            ports = listening(children)
            assert len(children) == 5
            assert len(ports) == 3
            yield process, children, ports
        finally:
            process.kill()


def nothing_left(children: set[int], ports: set[int]) -> bool:
    return not any(lives(pid) for pid in children) and not any(_listens(port) for port in ports)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["ctrl-c-twice", "term"])
def test_an_interrupted_run_leaves_nothing_behind(
    binary: Binary, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    """Exit code 4, "interrupted" on record, no process and no listener left; a second Ctrl-C changes nothing."""
    output = tmp_path / "output"
    with run_in_mid_fault(tmp_path, binary) as (process, children, ports):
        process.send_signal(signals[0])
        for number in signals[1:]:
            assert eventually_sync(lambda: "ending" in output.read_text())
            process.send_signal(number)
        process.wait(SECONDS_TO_CLEAN)
        assert process.returncode == 4, output.read_text()
    assert nothing_left(children, ports)
    assert f"interrupted by {signals[0].name}" in output.read_text()
    assert read_run_info(tmp_path / "run").status == RunStatus.INTERRUPTED
    (ended,) = (event for event in logged(tmp_path / "run") if event.kind is K.RUN_ENDED)
    assert ended.outcome == "interrupted"
    assert K.SCORE_FINAL in kinds(tmp_path / "run"), "the server was not given the time to end in order"


def test_a_killed_runner_takes_everything_with_it(binary: Binary, tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up: the kernel does, and the run still reads as interrupted."""
    with run_in_mid_fault(tmp_path, binary) as (process, children, ports):
        process.kill()
        process.wait()
        assert eventually_sync(lambda: nothing_left(children, ports))
    assert read_run_info(tmp_path / "run").status == RunStatus.INTERRUPTED


# --- parts ------------------------------------------------------------------------------------------------------------


async def test_a_server_whose_port_is_taken_is_started_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port lost between the choice and the listening costs another start, not the run."""
    from chaos.ports import free_ports  # noqa: PLC0415 - the real one, before it is replaced

    free = free_ports(1)[0]
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        offers = iter([taken.getsockname()[1], free])
        monkeypatch.setattr("chaos.target.free_ports", lambda n, host: [next(offers)])
        loop = asyncio.get_running_loop()
        target = await Target.start(experiment(), 1, tmp_path, epoch=loop.time() + 10, by=loop.time() + 10)
        assert target.address.port == free
        await target.stop()


def test_open_files_are_counted_before_the_run_and_missing_ones_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too low a hard limit says what is needed, what is there and what to do; an ample one is made use of."""
    big = experiment("cohorts.0.clients=5000")
    assert limits.files_needed(big) == 2 * 5000 + 128
    made: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr("resource.setrlimit", lambda what, value: made.append((what, value)))
    monkeypatch.setattr("resource.getrlimit", lambda what: (1024, 4096))
    with pytest.raises(HarnessError, match=r"10128 open files .* limit here is 4096: raise it .* --scale"):
        limits.raise_open_files(limits.files_needed(big))
    assert not made
    limits.raise_open_files(2000)
    assert [value for _, value in made] == [(4096, 4096)]


def test_the_server_gets_the_experiments_settings_and_nobody_elses(tmp_path: Path) -> None:
    """Its file reads back to the experiment's values, and the user's environment does not override them."""
    chosen = experiment("server.heartbeat_interval=7.0", "quiz.questions=3")
    file = tmp_path / "server.toml"
    file.write_text(settings_of(chosen))
    environ = clean_environment({"HEARTBEAT_INTERVAL": "1", "RESILIENCE_BACKLOG": "2", "PATH": "kept"})
    assert environ == {"PATH": "kept"}
    assert server_settings(file, environ, {}) == (chosen.server, chosen.quiz)
