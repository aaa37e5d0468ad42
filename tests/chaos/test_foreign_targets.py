"""A server of another project as a target: started, struck and replaced by its command, or found at its address."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from chaos.ports import free_ports
from chaos.targets.choice import require_target
from chaos.targets.command import CommandTarget
from chaos.targets.external import ExternalTarget
from resilience.errors import ConfigError, HarnessError, InjectionError, SystemFailedError, UsageError
from resilience.experiment.loader import parse
from resilience.experiment.primitives import (
    DrainServer,
    Kill,
    ResumeServer,
    ServerDraining,
    ServerGone,
    ServerSilent,
    Start,
    SuspendServer,
)
from resilience.experiment.spec import Experiment
from resilience.experiment.targets import CommandTargetSpec, ExternalTargetSpec, StopSignal
from resilience.lab.canary import ProbeResult, probe
from resilience.runtime import RunClock

from ..support.deadlines import HANG_S
from ..support.http_stub import HttpStub
from ..support.processes import descendants, eventually, lives

ROOT = str(Path(__file__).resolve().parents[2])
ECHO = (sys.executable, "-m", "tests.support.echo_server", "{port}")


def spec(*words: str, ready: str | None = None, **more: object) -> CommandTargetSpec:
    return CommandTargetSpec(command=(*ECHO, *words), directory=ROOT, ready=ready, **more)  # type: ignore[arg-type]


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[CommandTarget]:
    """An echo server without a health path that has been started."""
    made = CommandTarget(spec(), tmp_path, clock=RunClock())
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def is_echoing(target: CommandTarget | ExternalTarget) -> bool:
    async with connect(f"ws://{target.address}{target.url_path}") as connection:
        await connection.send("ping")
        return await connection.recv() == "ping"


async def test_a_command_gets_its_port_is_ready_and_the_run_starts_soon(target: CommandTarget) -> None:
    assert await is_echoing(target)
    assert await target.probe() is ProbeResult.ANSWERED
    assert target.death() is None
    assert target.database is None
    assert target._clock.now() < 0


async def test_a_killed_command_is_started_again_at_its_address(target: CommandTarget) -> None:
    address, pid = target.address, target.pid
    async with target.canary() as canary:
        await canary.prepare(HANG_S)
        assert canary.problem is None
        await target.apply(Kill())
        assert await canary.saw_symptom(ServerGone(), HANG_S)
        assert target.death() is None, "an ordered death is not its own"
        await target.apply(Start())
        assert await canary.saw_health(HANG_S)
    assert target.address == address
    assert target.pid != pid
    assert await is_echoing(target)


async def test_a_suspended_command_is_silent_and_continues(target: CommandTarget) -> None:
    async with target.canary() as canary:
        await canary.prepare(HANG_S)
        await target.apply(SuspendServer())
        assert await canary.saw_symptom(ServerSilent(), HANG_S)
        await target.apply(ResumeServer())
        assert await canary.saw_health(HANG_S)


async def test_a_drained_command_may_die_of_its_stop_signal(target: CommandTarget) -> None:
    """A program that handles no signal ends by it: that is what it was asked for."""
    async with target.canary() as canary:
        await canary.prepare(HANG_S)
        await target.apply(DrainServer())
        assert await canary.saw_symptom(ServerDraining(), HANG_S)
        await eventually(lambda: target.pid is None, HANG_S)
        assert target.death() is None
        await target.apply(Start())
        assert await canary.saw_health(HANG_S)


async def test_a_command_that_ends_by_itself_is_named_with_its_signal(target: CommandTarget) -> None:
    assert target.pid is not None
    os.kill(target.pid, signal.SIGKILL)
    await eventually(lambda: target.death() is not None, HANG_S)
    assert target.death() == "the server ended by itself (killed by SIGKILL)"
    with pytest.raises(SystemFailedError):
        target.require_life()


async def test_readiness_is_a_status_of_2xx_where_a_path_is_given(tmp_path: Path) -> None:
    ready = CommandTarget(spec("--health", ready="/up"), tmp_path, clock=RunClock())
    await ready.start()
    assert await is_echoing(ready)
    await ready.stop()
    never = CommandTarget(spec("--health", ready="/missing", start_timeout=1.0), tmp_path, clock=RunClock())
    with pytest.raises(HarnessError, match=r"did not answer GET /missing with 2xx within target\.start_timeout = 1 s"):
        await never.start()
    assert never.pid is None


async def test_a_command_that_ends_at_its_start_says_why(tmp_path: Path) -> None:
    broken = CommandTarget(
        CommandTargetSpec(command=(sys.executable, "-c", "raise SystemExit('no {port}')")), tmp_path, clock=RunClock()
    )
    with pytest.raises(HarnessError, match=r"exit code 1.*no \d+"):
        await broken.start()


async def test_the_environment_is_added_to_with_the_port(tmp_path: Path) -> None:
    words = ("/bin/sh", "-c", f'exec {sys.executable} -m tests.support.echo_server "$AT"')
    from_environment = CommandTargetSpec(command=words, directory=ROOT, environment={"AT": "{port}"})
    made = CommandTarget(from_environment, tmp_path, clock=RunClock())
    await made.start()
    assert await is_echoing(made)
    await made.stop()


async def test_a_fixed_address_that_is_taken_is_said_before_the_start(tmp_path: Path) -> None:
    """Else another program would answer for the target."""
    async with HttpStub() as stub:
        made = CommandTarget(spec(address=str(stub.address)), tmp_path, clock=RunClock())
        with pytest.raises(HarnessError, match=r"target\.address.*another process listens on port"):
            await made.start()
    assert made.pid is None


async def test_what_a_wrapper_started_ends_with_it(tmp_path: Path) -> None:
    """A shell that waits for the server: a kill reaches both."""
    line = " ".join(word if word != "{port}" else '"$1"' for word in ECHO) + "; true"
    wrapped = CommandTargetSpec(command=("/bin/sh", "-c", line, "sh", "{port}"), directory=ROOT)
    made = CommandTarget(wrapped, tmp_path, clock=RunClock())
    await made.start()
    assert made.pid is not None
    started = descendants(made.pid)
    assert started
    await made.apply(Kill())
    await eventually(lambda: not any(map(lives, started)), HANG_S)
    await made.apply(Start())
    await eventually(lambda: made.pid is not None, HANG_S)
    await made.stop()
    assert await probe(made.address, HANG_S) is ProbeResult.REFUSED


async def test_a_command_that_ignores_its_stop_signal_is_killed_and_has_failed(tmp_path: Path) -> None:
    words = ("/bin/sh", "-c", f"trap '' USR1; exec {' '.join(ECHO[:-1])} $0", "{port}")
    program = CommandTargetSpec(command=words, directory=ROOT, stop_timeout=0.2, stop_signal=StopSignal.SIGUSR1)
    deaf = CommandTarget(program, tmp_path, clock=RunClock())
    await deaf.start()
    with pytest.raises(SystemFailedError, match=r"did not end within 0\.2 s of SIGUSR1"):
        await deaf.stop()


# external -------------------------------------------------------------------------------------------------------------


async def test_an_external_target_is_probed_and_left_alone() -> None:
    async with HttpStub() as stub:
        made = ExternalTarget(ExternalTargetSpec(address=str(stub.address), ready="/healthz"), clock=RunClock())
        await made.start()
        assert made.address == stub.address
        assert await made.probe() is ProbeResult.ANSWERED
        with pytest.raises(InjectionError):
            await made.apply(Kill())
        await made.stop()
        assert await made.probe() is ProbeResult.ANSWERED


async def test_an_external_target_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.targets.external.READY_TIMEOUT_S", 0.1)
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    made = ExternalTarget(ExternalTargetSpec(address=nowhere), clock=RunClock())
    with pytest.raises(HarnessError, match=f"the external target at {nowhere} did not accept a TCP connection"):
        await made.start()


# before a run ---------------------------------------------------------------------------------------------------------


def experiment(target: str) -> Experiment:
    return parse(f'name = "x"\nduration = 20.0\ncohorts = [{{name = "a", clients = 1}}]\n[target]\n{target}', "x.toml")


@pytest.mark.parametrize(
    "target, key",
    [
        ('kind = "command"\ncommand = ["no-such-program", "{port}"]', "target.command"),
        ('kind = "command"\ncommand = ["./no-such-program", "{port}"]', "target.command"),
        ('kind = "command"\ncommand = ["sh", "{port}"]\ndirectory = "/no/such/folder"', "target.directory"),
    ],
)
def test_a_program_that_is_not_there_is_bad_input(target: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        require_target(experiment(target))
    assert caught.value.key == key


def test_a_database_url_is_only_for_the_quiz_server() -> None:
    with pytest.raises(UsageError, match="--db: is for this program's own server"):
        require_target(experiment('kind = "external"\naddress = "127.0.0.1:9"'), database="sqlite://")
