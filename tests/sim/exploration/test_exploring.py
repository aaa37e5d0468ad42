"""An exploration keeps what it ran and found, continues after an interruption, and its findings replay from a file."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from reports.build import build_report
from resilience.errors import CommandInterruptedError, ExitCode, HarnessError, UsageError
from resilience.protocol.server.room import Room
from sim import cli
from sim.exploration import exploring
from sim.exploration.records import SEEDS, ExplorationPlan, SeedRecord
from sim.exploration.schedule_experiments import schedule_experiment
from sim.exploration.seeds import SYSTEM_FAILED, UNEXPECTED_ERROR, Generator, SeedRunner
from sim.exploration.workers import run_seeds
from sim.virtual.lane import VirtualLane

CLIENTS = 4


def explore(out: Path, *arguments: str) -> Result:
    """Run the command without shrinking, unless the arguments say otherwise."""
    given = ["explore", "--clients", str(CLIENTS), "--shrink", "0", "--out", str(out), *arguments]
    return CliRunner().invoke(cli.sim, given, standalone_mode=False)


def lines(out: Path) -> list[SeedRecord]:
    """What is kept of each seed."""
    return [msgspec.json.decode(line, type=SeedRecord) for line in (out / SEEDS).read_bytes().splitlines()]


def records(broken: dict[int, dict[str, str]] | None = None) -> Callable[..., Iterator[SeedRecord]]:
    """Stands for :func:`~sim.exploration.workers.run_seeds`: no simulation, and these seeds broke something."""

    def run_none(_: ExplorationPlan, seeds: Sequence[int], __: int) -> Iterator[SeedRecord]:
        for seed in seeds:
            yield SeedRecord(seed, (broken or {}).get(seed, {}))

    return run_none


def test_what_was_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More seeds in the same directory run the rest only; a torn last line counts as not run."""
    monkeypatch.setattr(exploring, "run_seeds", records())
    out = tmp_path / "out"
    assert explore(out, "--seeds", "3").return_value is ExitCode.PASS
    with (out / SEEDS).open("ab") as file:
        file.write(b'{"seed":4,"bro')
    again = explore(out, "--seeds", "5")
    assert "continued after 3 seeds" in again.output
    assert [record.seed for record in lines(out)] == [1, 2, 3, 4, 5]


def test_an_interrupted_exploration_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was run before the signal is counted, and how to continue."""

    def interrupted(_: ExplorationPlan, seeds: Sequence[int], __: int) -> Iterator[SeedRecord]:
        yield SeedRecord(seeds[0])
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(exploring, "run_seeds", interrupted)
    out = tmp_path / "out"
    result = explore(out, "--seeds", "3")
    assert isinstance(result.exception, CommandInterruptedError)
    said = f"1 of 3 seeds are kept in {out}; the same command with --out {out} continues"
    assert str(result.exception) == f"interrupted by SIGINT; {said}"
    assert [record.seed for record in lines(out)] == [1]


def test_another_plan_or_another_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploring, "run_seeds", records())
    out = tmp_path / "out"
    explore(out, "--seeds", "1")
    for arguments, said in ((("--clients", "5"), "another plan"), (("crash",), "another plan")):
        refused = explore(out, *arguments, "--seeds", "1")
        assert isinstance(refused.exception, UsageError)
        assert said in str(refused.exception)
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    assert "not empty" in str(explore(other, "--seeds", "1").exception)


def test_a_directory_that_was_removed_ends_the_exploration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the laboratory's exit code and one line."""
    out = tmp_path / "out"

    def removed(_: ExplorationPlan, seeds: Sequence[int], __: int) -> Iterator[SeedRecord]:
        for path in (out / "exploration.json", out):
            path.unlink() if path.is_file() else path.rmdir()
        yield SeedRecord(seeds[0])

    monkeypatch.setattr(exploring, "run_seeds", removed)
    result = explore(out, "--seeds", "1")
    assert result.return_value is ExitCode.HARNESS
    assert "cannot be written: No such file or directory" in result.output


def test_a_worker_that_dies_ends_the_exploration() -> None:
    """Real worker processes, all of which are killed after the first record."""
    running = run_seeds(ExplorationPlan(Generator.SCHEDULE, 1), range(40), 2)
    next(running)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(HarnessError, match="a worker process ended"):
        list(running)


def test_a_finding_is_shrunk_and_replays_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed command runs the stored experiment, and its report names the rule; one experiment for several rules.

    The planted defect forgets which participant a token belongs to.
    """
    resume = Room.receive

    def forget(self: Room, message: object, connection: int, now: float) -> None:
        if type(message).__name__ == "Resume":
            message = msgspec.structs.replace(message, token="forgotten")  # type: ignore[type-var]
        resume(self, message, connection, now)  # type: ignore[arg-type]

    monkeypatch.setattr(Room, "receive", forget)
    out = tmp_path / "out"
    result = explore(out, "--clients", "2", "--seeds", "1", "--from", "3", "--shrink", "10")
    assert result.return_value is ExitCode.FAIL
    folders = sorted((out / "findings").iterdir())
    assert folders
    command = next(line for line in result.output.splitlines() if "replay:" in line).partition("replay: resilience ")[2]
    arguments = command.split()
    assert arguments[:2] == ["sim", "run"]
    run_dir = tmp_path / "run"
    replayed = CliRunner().invoke(cli.sim, [*arguments[1:], "--out", str(run_dir)], standalone_mode=False)
    assert replayed.return_value == ExitCode.FAIL
    failed = {item.name for item in build_report(run_dir).invariants if item.verdict == "fail"}
    assert Path(arguments[2]).parent.name in failed


def test_a_server_that_stands_still_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog ends the run, and the exploration continues."""
    real = Room.receive

    def receive(room: Room, message: object, connection: int, now: float) -> None:
        while now > 1.0:
            pass
        real(room, message, connection, now)  # type: ignore[arg-type]

    monkeypatch.setattr(Room, "receive", receive)
    runner = SeedRunner()
    runner._in_memory = runner._on_database = VirtualLane(stall_after=0.3)
    broken = runner.run(schedule_experiment(1, 1)).broken
    assert "the server stopped" in broken[SYSTEM_FAILED]


def test_an_error_that_the_server_did_not_expect_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the connection's handler logs it and every client comes back."""
    real = Room.receive
    raised: list[float] = []

    def receive(room: Room, message: object, connection: int, now: float) -> None:
        if not raised:
            raised.append(now)
            raise ZeroDivisionError("planted")
        real(room, message, connection, now)  # type: ignore[arg-type]

    monkeypatch.setattr(Room, "receive", receive)
    found = SeedRunner().run(schedule_experiment(1, 2)).broken
    assert "ZeroDivisionError: planted" in found[UNEXPECTED_ERROR]
