"""The quiz server as a target: started on a free port, killed, restarted on its database, stopped, dead by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from chaos.ports import free_ports
from chaos.targets.process_target import StartupTimeoutError
from chaos.targets.quiz import STOP_TIMEOUT_S, QuizTarget, clean_environment, settings_of
from resilience.errors import HarnessError, PortInUseError, SystemFailedError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.loader import parse
from resilience.experiment.primitives import (
    DrainServer,
    Kill,
    ResumeServer,
    ServerDraining,
    ServerGone,
    ServerOperation,
    ServerSilent,
    Start,
    SuspendServer,
)
from resilience.experiment.spec import Experiment
from resilience.lab.canary import ProbeResult, probe
from resilience.runtime import RunClock
from resilience.settings import server_settings

from ..support.deadlines import HANG_S
from ..support.processes import eventually, lives, logged

TEXT = """
name = "short"
duration = 60.0
ramp = 0.2
cohorts = [{name = "alpha", clients = 1}]
hypothesis = {within = 0.5}
"""


def experiment(*overrides: str) -> Experiment:
    return parse(TEXT, "short.toml", overrides)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[QuizTarget]:
    """A server that is healthy."""
    (tmp_path / "events").mkdir()
    made = QuizTarget(experiment(), 1, tmp_path, clock=RunClock())
    await made.launch(by=time.monotonic() + HANG_S)
    try:
        yield made
    finally:
        await made.stop()


def starts(run_dir: Path) -> list[str | None]:
    return [event.outcome for event in logged(run_dir) if event.kind is LogEventKind.SERVER_STARTED]


async def test_a_killed_server_comes_back_on_its_port_database_and_log(target: QuizTarget, tmp_path: Path) -> None:
    async with target.canary() as canary:
        await canary.prepare(HANG_S)
        times = await target.apply(Kill())
        assert times.before <= times.after
        assert await canary.saw_symptom(ServerGone(), HANG_S)
        assert target.death() is None, "an ordered death is not its own"
        await target.apply(Start())
        assert await canary.saw_health(HANG_S)
    await eventually(lambda: starts(tmp_path) == ["fresh", "recovered"], HANG_S)


async def test_operations_that_are_done_already_do_nothing(target: QuizTarget) -> None:
    await target.apply(Start())
    await target.apply(Kill())
    await target.apply(Kill())
    assert await probe(target.address, HANG_S) is ProbeResult.REFUSED


async def test_a_suspended_server_is_silent_loses_nothing_and_continues(target: QuizTarget, tmp_path: Path) -> None:
    """Suspensions add up. A request that was sent meanwhile is answered afterwards."""
    async with target.canary() as canary:
        await canary.prepare(HANG_S)
        await target.apply(SuspendServer())
        await target.apply(SuspendServer())
        assert await canary.saw_symptom(ServerSilent(), HANG_S)
        waiting = asyncio.create_task(probe(target.address, HANG_S))
        await target.apply(ResumeServer())
        assert await probe(target.address, 0.3) is ProbeResult.SILENT
        assert target.is_absent_by_plan
        await target.apply(ResumeServer())
        assert await waiting is ProbeResult.ANSWERED
        assert await canary.saw_health(HANG_S)
    assert target.death() is None
    assert starts(tmp_path) == ["fresh"]


async def test_a_drained_server_ends_by_itself_and_the_next_one_starts(target: QuizTarget, tmp_path: Path) -> None:
    async with target.canary() as canary:
        await canary.prepare(HANG_S)
        await target.apply(DrainServer())
        assert await canary.saw_symptom(ServerDraining(), HANG_S)
        await eventually(lambda: target.pid is None, HANG_S)
        assert target.death() is None, "an ordered end is not its own"
        assert target.is_absent_by_plan
        await target.apply(Start())
        assert await canary.saw_health(HANG_S)
    await eventually(lambda: starts(tmp_path) == ["fresh", "recovered"], HANG_S)


async def test_a_server_that_does_not_end_when_drained_has_failed(
    target: QuizTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.targets.quiz.STOP_TIMEOUT_S", 0.3)
    os.kill(pid_of(target), signal.SIGSTOP)  # it stands still by itself
    await target.apply(DrainServer())
    with pytest.raises(SystemFailedError, match=r"did not end within 0\.3 s") as caught:
        await target.apply(Start())
    assert not caught.value.has_ended
    await target.apply(Kill())


@pytest.mark.parametrize("operations", [(SuspendServer(), DrainServer()), (DrainServer(), SuspendServer())])
async def test_a_server_that_is_to_end_is_woken(
    target: QuizTarget, operations: tuple[ServerOperation, ...], tmp_path: Path
) -> None:
    """By the order to end, or by that to start the next one: a suspended process could not end in order."""
    for operation in operations:
        await target.apply(operation)
    await target.apply(Start())
    await eventually(lambda: starts(tmp_path) == ["fresh", "recovered"], HANG_S)
    await target.apply(ResumeServer())
    assert target.death() is None


@pytest.mark.parametrize("operation", [SuspendServer(), DrainServer()])
async def test_repair_brings_back_a_server_that_a_fault_took(target: QuizTarget, operation: ServerOperation) -> None:
    await target.apply(operation)
    await target.repair()
    assert await probe(target.address, HANG_S) is not ProbeResult.SILENT
    async with target.canary() as canary:
        assert await canary.saw_health(HANG_S)


async def test_repair_starts_a_server_that_was_killed(target: QuizTarget) -> None:
    await target.apply(Kill())
    await target.repair()
    async with target.canary() as canary:
        assert await canary.saw_health(HANG_S)


def pid_of(target: QuizTarget) -> int:
    assert target._child is not None
    return target._child.process.pid


async def test_a_server_that_died_by_itself_is_named_and_stays_dead(target: QuizTarget) -> None:
    os.kill(pid_of(target), signal.SIGKILL)
    await eventually(lambda: target.death() is not None, HANG_S)
    assert target.death() == "the server ended by itself (killed by SIGKILL)"
    for operation in (Kill(), Start()):
        with pytest.raises(SystemFailedError, match="ended by itself"):
            await target.apply(operation)
    await target.repair()
    assert target.death() is not None
    assert await probe(target.address, HANG_S) is ProbeResult.REFUSED


async def test_a_server_that_ignores_sigterm_is_killed_and_has_failed(
    target: QuizTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspended process ignores it as well as any: the failure is a silence, which an observer may be wrong about."""
    monkeypatch.setattr("chaos.targets.quiz.STOP_TIMEOUT_S", 0.3)
    pid = pid_of(target)
    os.kill(pid, signal.SIGSTOP)
    within = 0.3 + experiment().server.drain_window
    with pytest.raises(
        SystemFailedError, match=rf"did not end within {within:g} s of SIGTERM, at -?\d+\.\d s"
    ) as caught:
        await target.stop()
    assert not caught.value.has_ended
    assert not lives(pid)
    assert target.death() is None, "an ordered death is not its own"


async def test_a_server_that_does_not_end_in_order_has_failed(target: QuizTarget) -> None:
    """As one that is killed by the kernel, or crashes, in its last second: its final records are not there."""
    stop = asyncio.create_task(target.stop())
    os.kill(pid_of(target), signal.SIGKILL)
    with pytest.raises(SystemFailedError, match=r"the server did not end in order \(killed by SIGKILL\)"):
        await stop


async def test_a_stopped_server_is_no_death(target: QuizTarget) -> None:
    await target.stop()
    await target.stop()
    assert target.death() is None


async def test_a_server_whose_port_is_taken_is_started_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events").mkdir()
    free = free_ports(1)[0]
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        offers = [taken.getsockname()[1], free]
        monkeypatch.setattr("chaos.targets.process_target.free_ports", lambda _n, _host: [offers.pop(0)])
        target = QuizTarget(experiment(), 1, tmp_path, clock=RunClock())
        await target.launch(by=time.monotonic() + HANG_S)
        assert target.address.port == free
        assert starts(tmp_path) == ["fresh"]
        await target.stop()


async def test_a_restart_whose_port_was_taken_meanwhile_is_the_laboratorys_failure(target: QuizTarget) -> None:
    await target.apply(Kill())
    with closing(socket.create_server(target.address)):
        await target.apply(Start())
        await eventually(lambda: target.death() is not None, HANG_S)
        with pytest.raises(PortInUseError):
            target.check()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    nowhere = f"sqlite:///{tmp_path / 'no-such-folder' / 'quiz.db'}"
    target = QuizTarget(experiment(), 1, tmp_path, clock=RunClock(), database=nowhere)
    with pytest.raises(HarnessError, match=r"exit code .*no-such-folder"):
        await target.launch(by=time.monotonic() + HANG_S)
    assert target.death() is None


async def test_a_server_that_is_not_healthy_in_time_is_ended(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    target = QuizTarget(experiment(), 1, tmp_path, clock=RunClock())
    with pytest.raises(StartupTimeoutError):
        await target.launch(by=time.monotonic())
    assert await probe(target.address, HANG_S) is ProbeResult.REFUSED


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_the_database_url_is_not_on_the_command_line(target: QuizTarget) -> None:
    words = command_line(pid_of(target))
    assert b"resilience\0serve" in words
    assert b"sqlite" not in words


def test_the_server_gets_the_experiments_settings_and_no_others(tmp_path: Path) -> None:
    """Its file reads back to the experiment's values, and the user's environment does not override them."""
    chosen = experiment("server.heartbeat_interval=7.0", "quiz.questions=3")
    file = tmp_path / "server.toml"
    file.write_text(settings_of(chosen))
    environ = clean_environment({"HEARTBEAT_INTERVAL": "1", "RESILIENCE_BACKLOG": "2", "PATH": "kept"})
    assert environ == {"PATH": "kept"}
    assert server_settings(file, environ, {}) == (chosen.server, chosen.quiz)


def test_a_stop_may_take_as_long_as_the_drain_of_all_clients(tmp_path: Path) -> None:
    """Which follows from their number and the capacity, not only from the least window."""
    crowd = experiment("cohorts.0.clients=3000", "server.join_capacity=100")
    assert QuizTarget(crowd, 1, tmp_path, clock=RunClock()).stop_timeout == STOP_TIMEOUT_S + 30.0
