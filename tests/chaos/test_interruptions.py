"""Every signal in every phase of `chaos run`, once and twice, on a system of values in virtual time.

What the command does around a run is its own code; only the search for the proxy, the lane and the report are fakes,
each of which sends the signals at its moment.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from chaos.toxiproxy.provision import Binary
from reports.build import analyse, build_report
from resilience import cli
from resilience.errors import ExitCode, SystemFailedError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.lab.cancellation import Cancellation
from resilience.lab.progress import Progress
from resilience.lab.run_directory import RunStatus, read_run_info
from resilience.lab.signals import SIGNALS
from resilience.lab.stored_run import StoredRun
from tests.support.fake_system import FakeLane, FakeSystem
from tests.support.stored_lines import read_events

T = TypeVar("T")
EXPERIMENT = """
name = "small"
duration = 40.0
cohorts = [{name = "a", clients = 4}]
faults = [{kind = "refuse", at = 20.0, duration = 5.0, cohorts = ["a"]}]
"""
RUN_PHASES = ("starting", "joining", "running", "fault", "ending")
PHASES = ("finding", *RUN_PHASES, "reporting")


class Striker:
    """Sends the signals of one test when ``phase`` comes."""

    def __init__(self, phase: str, *signals: signal.Signals) -> None:
        self._phase, self._left = phase, list(signals)

    def at(self, phase: str) -> None:
        """Send all of them, if this is the phase; each has had its effect when the next one comes."""
        try:
            while phase == self._phase and self._left:
                signal.raise_signal(self._left.pop(0))
        finally:
            if phase == self._phase and self._left:  # the first one ended what was done: this is the clean-up
                signal.raise_signal(self._left.pop(0))


class EndlessSystem(FakeSystem):
    """A system whose end would take a day, unless it is killed."""

    is_killed = False

    async def finish(self) -> StoredRun | None:
        """Wait until it is killed, or for a day."""
        while not self.is_killed and self.clock.now() < 86_400.0:
            await self.clock.sleep_until(self.clock.now() + 60.0)
        return await super().finish()


class StruckLane(FakeLane):
    """A lane of endless systems, in which each phase is struck. ``dies``: a killed server reads as one that failed."""

    def __init__(self, striker: Striker, *, dies: bool = False) -> None:
        super().__init__(self._note)
        self._striker, self._dies = striker, dies
        self.ended_at = 0.0

    def _note(self, system: FakeSystem) -> None:
        system.__class__ = EndlessSystem
        self._striker.at("starting")

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], cancellation: Cancellation) -> T:
        def kill() -> None:
            if isinstance(self.system, EndlessSystem):
                self.system.is_killed = True

        cancellation.bind_abort(kill)
        result = super().run(main, cancellation)
        self.ended_at = self.system.clock.now() if self.system is not None else 0.0
        if self._dies and cancellation.aborted is not None:
            raise SystemFailedError("the server ended by itself (SIGKILL)")
        return result


class Played(NamedTuple):
    """How a command ended: exit code, the lines that it printed, how often it reported, its lane, its run directory."""

    code: int
    out: str
    err: list[str]
    reports: int
    lane: StruckLane
    run_dir: Path


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Played]:
    """Run `chaos run` with these signals in this phase."""

    def played(phase: str, *signals: signal.Signals, dies: bool = False, options: tuple[str, ...] = ()) -> Played:
        striker, reports = Striker(phase, *signals), list[Path]()
        lane = StruckLane(striker, dies=dies)

        def find(_: object, **__: object) -> Binary:
            striker.at("finding")
            return Binary(Path("toxiproxy-server"), "explicit", "2.12.0")

        def show(progress: Progress) -> None:
            striker.at("fault" if progress.faults and progress.phase == "running" else progress.phase)

        def report(run_dir: Path, _: object) -> int:
            reports.append(run_dir)
            striker.at("reporting")
            return {RunStatus.COMPLETED: ExitCode.PASS}.get(read_run_info(run_dir).status, ExitCode.HARNESS)

        class View:
            def __init__(self, _: object) -> None: ...
            def __call__(self, progress: Progress) -> None:
                show(progress)

        file, run_dir = tmp_path / "small.toml", tmp_path / "run"
        file.write_text(EXPERIMENT)
        monkeypatch.setattr("sys.argv", ["resilience", "chaos", "run", str(file), "--out", str(run_dir), *options])
        monkeypatch.setattr("chaos.toxiproxy.choice.find_toxiproxy", find)
        monkeypatch.setattr("chaos.real_lane.RealLane", lambda **_: lane)
        monkeypatch.setattr("resilience.lab.progress_view.ProgressLines", View)
        monkeypatch.setattr("reports.run_cli.report_own_run", report)
        handlers = [signal.getsignal(number) for number in SIGNALS]
        code = cli._run()
        assert [signal.getsignal(number) for number in SIGNALS] == handlers
        assert lane.open == 0
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Played(code, said.out, said.err.splitlines(), len(reports), lane, run_dir)

    return played


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("phase", RUN_PHASES[:-1])
def test_one_signal_ends_a_run_in_order(play: Callable[..., Played], phase: str, number: signal.Signals) -> None:
    """It says so at once, the history is whole and says it too, the report is built, the exit code is 4."""
    played = play(phase, number)
    advice = "it stops its processes and stores its history first. A second signal ends it at once"
    assert played.err == [f"{number.name}: the run ends now; {advice}"]
    assert (played.code, played.reports) == (ExitCode.HARNESS, 1)
    assert f"interrupted: interrupted by {number.name}\n" in played.out
    info = read_run_info(played.run_dir)
    assert (info.status, info.cause) == (RunStatus.INTERRUPTED, f"interrupted by {number.name}")
    assert info.evidence is not None
    assert all(file.complete for file in info.evidence)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_run_that_is_ending_says_so_and_keeps_its_result(play: Callable[..., Played], number: signal.Signals) -> None:
    played = play("ending", number)
    assert [line.partition(";")[0] for line in played.err] == [f"{number.name}: the run is ending"]
    assert (played.code, played.reports) == (ExitCode.PASS, 1)
    assert read_run_info(played.run_dir).status is RunStatus.COMPLETED
    assert played.lane.ended_at >= 86_400.0


@pytest.mark.parametrize("second", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("phase", RUN_PHASES)
@pytest.mark.parametrize("dies", [False, True], ids=["obeys", "dies"])
def test_a_second_signal_ends_a_run_at_once(
    play: Callable[..., Played], phase: str, second: signal.Signals, dies: bool
) -> None:
    """Nothing is waited for, no report is built, and a server that was killed for it has not failed by itself."""
    played = play(phase, signal.SIGINT, second, dies=dies)
    assert played.code == ExitCode.HARNESS
    assert played.reports == 0
    assert [line.partition(";")[0] for line in played.err] == [
        f"SIGINT: {'the run is ending' if phase == 'ending' else 'the run ends now'}",
        f"{second.name}: the run ends at once",
        f"error: interrupted by {second.name}, at once",
    ]
    assert played.err[-1].endswith(f"resilience report build {played.run_dir}")
    info = read_run_info(played.run_dir)
    cause = f"interrupted by {second.name}, at once: its processes were killed"
    assert (info.status, info.cause) == (RunStatus.INTERRUPTED, cause)
    assert LogEventKind.SERVER_FAILED not in {event.kind for event in read_events(played.run_dir)}
    assert played.lane.ended_at < 86_400.0


@pytest.mark.parametrize("signals", [(number,) * times for number in SIGNALS for times in (1, 2)], ids=str)
@pytest.mark.parametrize("phase", ["finding", "reporting"])
def test_outside_the_run_a_signal_ends_the_command_with_one_line(
    play: Callable[..., Played], phase: str, signals: tuple[signal.Signals, ...]
) -> None:
    """A second one does not interrupt the removal of what was begun."""
    played = play(phase, *signals)
    name, build = signals[0].name, f"what it recorded is reported by: resilience report build {played.run_dir}"
    remedy = "nothing was started" if phase == "finding" else build
    answer = [f"{name}: the command is ending; it removes what it began. A third signal ends it at once"]
    assert played.err == [*answer[: len(signals) - 1], f"error: interrupted by {name}; {remedy}"]
    assert played.code == ExitCode.HARNESS
    assert played.run_dir.exists() is (phase == "reporting")
    if phase == "reporting":
        assert read_run_info(played.run_dir).status is RunStatus.COMPLETED


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("phase", [*RUN_PHASES, "reporting"])
def test_what_an_interrupted_run_left_can_be_reported(play: Callable[..., Played], phase: str, times: int) -> None:
    """`report build` reads every such directory and says whether the run was interrupted, and by what."""
    played = play(phase, *[signal.SIGTERM] * times)
    _, _, summary = analyse(played.run_dir)
    is_complete = phase == "reporting" or (phase, times) == ("ending", 1)
    assert ("the run was interrupted: interrupted by SIGTERM" in summary.reasons[0]) is not is_complete
    assert summary.exit_code is ExitCode.HARNESS, "a system of values leaves no observations"


def test_a_signal_in_the_report_leaves_files_that_the_next_build_replaces(
    play: Callable[..., Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    played = play("ending")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as struck:
        struck.setattr("reports.build.write_csv", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_report(played.run_dir)
    build_report(played.run_dir)
    assert (played.run_dir / "episodes.csv").exists()


@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_in_a_repetition_is_the_end_of_the_repetitions(play: Callable[..., Played], times: int) -> None:
    """After one signal with a verdict on the runs so far, after two with nothing more."""
    played = play("running", *[signal.SIGTERM] * times, options=("--repeat", "3"))
    assert played.code == ExitCode.HARNESS
    assert [path.name for path in played.run_dir.glob("seed-*")] == ["seed-1"]
    assert read_run_info(played.run_dir / "seed-1").status is RunStatus.INTERRUPTED
    assert ("report: " in played.out) is (times == 1)
    last = {1: "SIGTERM: the run ends now", 2: "error: interrupted by SIGTERM, at once"}[times]
    assert played.err[-1].startswith(last)


def test_the_command_without_a_signal_is_the_same_command(play: Callable[..., Played]) -> None:
    played = play("none")
    assert (played.code, played.err, played.reports) == (ExitCode.PASS, [], 1)
