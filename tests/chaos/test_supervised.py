"""A child process to its end: in order, by force, and one that not even SIGKILL ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.supervised import SupervisedProcess, describe_exit
from resilience.errors import HarnessError

from ..support.deadlines import HANG_S
from ..support.processes import descendants, eventually, eventually_sync, lives

OBEDIENT = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {OBEDIENT}"


async def child(log: Path, code: str) -> SupervisedProcess:
    return await SupervisedProcess.spawn("server", [sys.executable, "-c", code], log)


async def test_a_child_that_obeys_ends_in_order(tmp_path: Path) -> None:
    process = await child(tmp_path / "log", OBEDIENT)
    assert await process.stop(HANG_S)
    assert describe_exit(process.exit_code or 0) == "killed by SIGTERM"
    assert await process.stop(HANG_S), "a second order finds nothing to do"


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = await child(tmp_path / "log", STUBBORN)
    await eventually(lambda: (tmp_path / "log").read_text() != "")
    assert not await process.stop(0.2)
    assert describe_exit(process.exit_code or 0) == "killed by SIGKILL"


async def test_a_child_that_outlives_sigkill_is_the_machines_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that hangs in the kernel does: the laboratory does not wait without a limit."""
    process = await child(tmp_path / "log", OBEDIENT)
    with monkeypatch.context() as hung:
        hung.setattr("chaos.supervised.KILL_TIMEOUT_S", 0.1)
        hung.setattr(process, "signal", lambda _: None)
        with pytest.raises(HarnessError, match=rf"server \(pid {process.process.pid}\) outlived SIGKILL for 0.1 s"):
            await process.stop(0.1)
    await process.end_now()


def test_a_loop_that_closes_early_kills_its_children_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As at an interruption: no child is left, and asyncio finds none whose loop is gone."""
    pids: list[int] = []

    async def main() -> None:
        pids.append((await child(tmp_path / "log", OBEDIENT)).process.pid)

    asyncio.run(main())
    assert not lives(pids[0])
    assert caplog.text == ""


RUNNER = """
import asyncio, pathlib, sys
from chaos.supervised import SupervisedProcess
async def main():
    word = f"{sys.executable} -c 'import time; time.sleep(600)' & echo $! > {sys.argv[1]}/wrapped; wait"
    log = pathlib.Path(sys.argv[1]) / "log"
    child = await SupervisedProcess.spawn("server", ["/bin/sh", "-c", word], log, guarded=True)
    print(child.process.pid, flush=True)
    await child.process.wait()
asyncio.run(main())
"""


def test_what_a_wrapper_started_ends_with_a_killed_runner(tmp_path: Path) -> None:
    """SIGKILL reaches the runner alone: neither its child nor the child's child is in its group."""
    wrapped = tmp_path / "wrapped"
    command = [sys.executable, "-c", RUNNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as runner:
        try:
            assert runner.stdout is not None
            shell = int(runner.stdout.readline())
            assert eventually_sync(lambda: wrapped.exists() and wrapped.read_text().strip() != "")
            started = {shell, int(wrapped.read_text())} | descendants(runner.pid)
            assert len(started) == 3, "the shell, what it wraps, the guard"
        finally:
            runner.kill()
    assert eventually_sync(lambda: not any(map(lives, started)))


async def test_a_wrapper_that_ends_leaves_neither_what_it_wraps_nor_a_guard(tmp_path: Path) -> None:
    others = descendants(os.getpid())
    command = ["/bin/sh", "-c", f"{sys.executable} -c '{OBEDIENT}' & echo $!"]
    process = await SupervisedProcess.spawn("server", command, tmp_path / "log", guarded=True)
    assert await process.ended(HANG_S)
    wrapped = int((tmp_path / "log").read_text())
    assert descendants(os.getpid()) <= others
    await eventually(lambda: not lives(wrapped))


async def test_a_program_that_cannot_be_started_leaves_no_guard(tmp_path: Path) -> None:
    others = descendants(os.getpid())
    with pytest.raises(HarnessError, match="cannot start server"):
        await SupervisedProcess.spawn("server", ["x"], tmp_path / "log", guarded=True, cwd=tmp_path / "absent")
    assert descendants(os.getpid()) <= others


@pytest.mark.parametrize(
    "code, how", [(OBEDIENT, "killed by SIGTERM"), (STUBBORN, "killed by SIGKILL")], ids=["obedient", "stubborn"]
)
async def test_only_the_event_loop_takes_a_child_s_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, how: str
) -> None:
    """Another caller may be first, and then the loop reports 255 instead of what really ended the child."""

    def ask(_: object) -> int | None:
        raise AssertionError("the exit code was asked for past the event loop")

    process = await child(tmp_path / "log", code)
    if code == STUBBORN:
        await eventually(lambda: (tmp_path / "log").read_text() != "")
    with monkeypatch.context() as watched:
        watched.setattr(subprocess.Popen, "poll", ask)
        await process.stop(HANG_S if code == OBEDIENT else 0.2)
    assert describe_exit(process.exit_code or 0) == how
