"""Whole runs over real processes that end before their time: nothing is left running or listening, and what is said.

The phases of a run and the signals in each are tested in ``test_interruptions`` on a system of values.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from chaos.real_lane import RealLane
from chaos.toxiproxy.provision import Binary
from reports.build import analyse
from resilience.errors import ExitCode, HarnessError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.loader import parse
from resilience.lab import directory_watch
from resilience.lab.command import run_experiment
from resilience.lab.progress import Progress
from resilience.lab.run import RunOutcome, execute
from resilience.lab.run_directory import RunStatus, read_run_info

from ..support.deadlines import HANG_S
from ..support.processes import descendants, eventually_sync, kinds, listening, lives, logged
from .long_refusal import LONG_REFUSAL

K = LogEventKind
BRIEF, ENDLESS = (f"{LONG_REFUSAL}\n[server]\ndrain_window = {drain}\n" for drain in (0.5, 500.0))
SHORT = ("duration=5.0", "faults.0.at=2.6", "faults.0.duration=0.3")


@contextmanager
def run_in_mid_fault(
    text: str, folder: Path, binary: Binary
) -> Iterator[tuple[subprocess.Popen[bytes], set[int], set[int]]]:
    """`chaos run` in its own process with a refusal in force: it, its children's ids, their ports."""
    file, out = folder / "long.toml", folder / "run"
    file.write_text(text)
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
            assert eventually_sync(lambda: kinds(out).count(K.FAULT_STARTED) == 2, HANG_S)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["term", "hup"])
def test_an_interrupted_run_leaves_nothing_behind(binary: Binary, tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 4, "interrupted" on record, no process and no listener left."""
    output = tmp_path / "output"
    with run_in_mid_fault(BRIEF, tmp_path, binary) as (process, children, ports):
        process.send_signal(number)
        process.wait(HANG_S)
        assert process.returncode == 4, output.read_text()
    assert nothing_left(children, ports)
    assert f"{number.name}: the run ends now" in output.read_text()
    assert f"interrupted by {number.name}" in output.read_text()
    assert read_run_info(tmp_path / "run").status == RunStatus.INTERRUPTED
    (ended,) = (event for event in logged(tmp_path / "run") if event.kind is K.RUN_ENDED)
    assert ended.outcome == "interrupted"
    assert K.SCORE_FINAL in kinds(tmp_path / "run"), "the server was not given the time to end in order"


def test_a_second_ctrl_c_ends_a_run_at_once(binary: Binary, tmp_path: Path) -> None:
    """A server that takes minutes to end is killed; that is no failure of it, and what was recorded can be read."""
    output = tmp_path / "output"
    with run_in_mid_fault(ENDLESS, tmp_path, binary) as (process, children, ports):
        (server,) = (pid for pid in children if b"resilience\0serve" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(server, signal.SIGSTOP)  # without clients it would have nothing to wait for
        process.send_signal(signal.SIGINT)
        assert eventually_sync(lambda: "SIGINT: the run ends now" in output.read_text())
        assert any(lives(pid) for pid in children)
        process.send_signal(signal.SIGINT)
        process.wait(HANG_S)
    assert nothing_left(children, ports)
    lines = output.read_text().splitlines()
    assert (process.returncode, lines[-1].partition(";")[0]) == (4, "error: interrupted by SIGINT, at once")
    assert "SIGINT: the run ends at once; its processes are killed, and their last records are lost" in lines
    assert not any("report:" in line for line in lines)
    assert read_run_info(tmp_path / "run").status == RunStatus.INTERRUPTED
    assert not {K.SERVER_FAILED, K.SCORE_FINAL} & set(kinds(tmp_path / "run"))
    assert "interrupted by SIGINT, at once" in analyse(tmp_path / "run")[2].reasons[0]


def test_a_killed_runner_takes_everything_with_it(binary: Binary, tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up: the kernel does, and the run still reads as interrupted."""
    with run_in_mid_fault(BRIEF, tmp_path, binary) as (process, children, ports):
        process.kill()
        process.wait()
        assert eventually_sync(lambda: nothing_left(children, ports))
    assert read_run_info(tmp_path / "run").status == RunStatus.INTERRUPTED
    assert analyse(tmp_path / "run")[2].exit_code is ExitCode.HARNESS


# --- in this process --------------------------------------------------------------------------------------------------


@pytest.fixture
def others() -> set[int]:
    """What other tests keep running, such as a database."""
    return descendants(os.getpid())


@pytest.mark.parametrize("event", ["removed", "full"])
def test_a_run_without_its_directory_ends_at_once(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: set[int], event: str
) -> None:
    """One line names the cause, whatever failed first; a directory that was removed is not made again in part."""
    run_dir = tmp_path / "run"

    def strike(progress: Progress) -> None:
        if progress.phase == "joining" and event == "removed":
            shutil.rmtree(run_dir, ignore_errors=True)
        elif progress.phase == "joining":
            monkeypatch.setattr(directory_watch, "_free_bytes", lambda _: 0)

    text = {"removed": "the run directory was removed during the run", "full": "no space left on its disk"}[event]
    printed = Console(file=io.StringIO(), width=500)
    outcome = run_experiment(
        RealLane(toxiproxy=binary.path, workers=1), parse(BRIEF, "long.toml"), 1, run_dir, printed, strike
    )
    assert outcome == RunOutcome(RunStatus.HARNESS_FAILED, f"{run_dir}: {text}")
    assert printed.file.getvalue() == f"harness_failed: {run_dir}: {text}\n"  # type: ignore[attr-defined]
    assert descendants(os.getpid()) <= others
    if event == "removed":
        assert not run_dir.exists()
        return
    assert read_run_info(run_dir).cause == outcome.cause
    assert analyse(run_dir)[2].exit_code is ExitCode.HARNESS


def test_a_client_process_that_dies_before_the_first_fault_is_the_laboratorys_failure(
    binary: Binary, tmp_path: Path, others: set[int]
) -> None:
    """The message says which signal ended it; nothing was injected."""

    def strike(progress: Progress) -> None:
        for pid in descendants(os.getpid()) - others if progress.phase == "joining" else ():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if b"chaos.worker_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(HarnessError, match=r"clients-1 is gone \(killed by SIGKILL\)"):
        execute(
            RealLane(toxiproxy=binary.path, workers=1), parse(BRIEF, "long.toml"), 1, tmp_path / "run", progress=strike
        )
    assert descendants(os.getpid()) <= others
    assert K.FAULT_STARTED not in kinds(tmp_path / "run")


def test_two_runs_at_once_do_not_disturb_one_another(binary: Binary, tmp_path: Path, others: set[int]) -> None:
    chosen, outcomes = parse(BRIEF, "long.toml", SHORT), dict[str, RunOutcome]()

    def work(name: str) -> None:
        outcomes[name] = execute(RealLane(toxiproxy=binary.path, workers=1), chosen, 1, tmp_path / name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert outcomes == dict.fromkeys(("one", "two"), RunOutcome(RunStatus.COMPLETED))
    assert descendants(os.getpid()) <= others
    for name in outcomes:
        assert K.HARNESS_FAILED not in kinds(tmp_path / name)
        assert {event.actor for event in logged(tmp_path / name) if event.kind is K.SESSION_JOINED} == {
            "alpha-0001",
            "alpha-0002",
            "beta-0001",
        }
