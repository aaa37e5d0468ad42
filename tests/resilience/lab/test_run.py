"""One lifecycle for every lane: what a run leaves behind, however it ends."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

import msgspec
import pytest

from resilience.errors import HarnessError, SystemFailedError, UsageError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.eventlog.writer import EventList, EventWriter
from resilience.experiment.faults import CutFault
from resilience.experiment.loader import load_file
from resilience.experiment.spec import Cohort, Experiment
from resilience.lab.cancellation import Cancellation
from resilience.lab.command import run_experiment
from resilience.lab.health import LabHealth, ProcessLag
from resilience.lab.progress import Progress
from resilience.lab.recording import Recording, read_stored_run_file
from resilience.lab.run import FAILURE_LOG, RunOutcome, conduct, execute
from resilience.lab.run_directory import RunStatus, read_run_info
from resilience.lab.stored_run import StoredRun
from resilience.quiz.game import QuizState
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import Question
from resilience.terminal import make_console
from tests.support.fake_system import FakeLane, FakeSystem
from tests.support.stored_lines import read_events

K = LogEventKind
EXPERIMENT = Experiment("small", 40.0, (Cohort("a", 4),), faults=(CutFault(20.0, ("a",)),))
STORED = StoredRun(QuizPlan((Question("q1", "?", ("1", "2"), 0, 5.0),)), QuizState(), {"p": 3}, (), 1)


def test_a_completed_run_leaves_its_history(tmp_path: Path) -> None:
    def prepare(system: FakeSystem) -> None:
        system.stored = STORED

    lane = FakeLane(prepare)
    assert execute(lane, EXPERIMENT, 7, tmp_path) == RunOutcome(RunStatus.COMPLETED)
    info = read_run_info(tmp_path)
    assert (info.status, info.cause, info.seed, info.lane) == (RunStatus.COMPLETED, None, 7, lane.lane)
    assert {"python", "quiz-resilience", "fake"} <= set(info.versions)
    assert info.wall_s is not None
    assert load_file(tmp_path / "experiment.toml") == EXPERIMENT
    assert read_stored_run_file(tmp_path) == STORED
    kinds = [event.kind for event in read_events(tmp_path)]
    assert kinds[:3] == [K.RUN_STARTED, K.RUN_STEADY, K.FAULT_STARTED]
    assert kinds[-1] is K.RUN_ENDED
    ended = read_events(tmp_path)[-1]
    assert (ended.t, ended.outcome, ended.detail) == (40.0, "completed", None)
    assert lane.open == 0


def test_a_second_run_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    """Two histories in one directory would be judged as one run."""
    execute(FakeLane(), EXPERIMENT, 7, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = FakeLane()
    with pytest.raises(UsageError, match="already holds a run"):
        execute(again, EXPERIMENT, 8, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert again.system is None


def test_without_a_steady_state_nothing_is_injected(tmp_path: Path) -> None:
    def prepare(system: FakeSystem) -> None:
        system.joined = 0.5

    lane = FakeLane(prepare)
    outcome = execute(lane, EXPERIMENT, 7, tmp_path)
    assert outcome.status is RunStatus.NOT_STARTED
    assert outcome.cause == (
        "no steady state: 50.0% of the clients had joined after 10 s, wanted 99.0%; nothing was injected"
    )
    assert lane.system is not None
    assert not lane.system.links["a"].applied
    assert lane.system.finished


def test_a_run_that_did_not_start_says_nothing_of_a_server_that_does_not_end(tmp_path: Path) -> None:
    """It is a run without a steady state still, and its files agree."""

    def prepare(system: FakeSystem) -> None:
        system.joined, system.stop_failure = 0.5, SystemFailedError("the server did not end within 12 s of SIGTERM")

    assert execute(FakeLane(prepare), EXPERIMENT, 7, tmp_path).status is RunStatus.NOT_STARTED
    assert K.SERVER_FAILED not in [event.kind for event in read_events(tmp_path)]


def test_a_server_that_ended_by_itself_is_named(tmp_path: Path) -> None:
    """Its end is on record with the end of its log; the run has a result."""

    def prepare(system: FakeSystem) -> None:
        system.dead = "the server ended by itself"

    assert execute(FakeLane(prepare), EXPERIMENT, 7, tmp_path).cause == "the server ended by itself"
    assert read_run_info(tmp_path).status is RunStatus.COMPLETED
    failed, ended = [event for event in read_events(tmp_path) if event.kind in {K.SERVER_FAILED, K.RUN_ENDED}]
    assert (failed.kind, failed.cause, failed.detail) == (
        K.SERVER_FAILED,
        "the server ended by itself",
        "the end of its log",
    )
    assert (ended.kind, ended.outcome, ended.cause) == (K.RUN_ENDED, "completed", "the server ended by itself")


def test_a_server_that_fails_meanwhile_ends_the_run_at_once(tmp_path: Path) -> None:
    """What was recorded is kept; the system is ended in order; its failure is a result, not an error."""

    def prepare(system: FakeSystem) -> None:
        system.fails_at = 14.0

    lane = FakeLane(prepare)
    cause = "the server ended by itself (SIGKILL) at 14.0 s"
    assert execute(lane, EXPERIMENT, 7, tmp_path) == RunOutcome(RunStatus.COMPLETED, cause)
    assert lane.system is not None
    assert lane.system.finished
    ended = read_events(tmp_path)[-1]
    assert (ended.kind, ended.t, ended.cause) == (K.RUN_ENDED, 14.0, cause)


def test_what_the_laboratory_measured_of_itself_is_recorded_at_the_end(tmp_path: Path) -> None:
    measured = LabHealth(
        (ProcessLag("runner", "runner", 0.001, 0.01, 0.2, 1.5),), ("clients-1 is gone",), 0.5, (1.0, 2)
    )

    def prepare(system: FakeSystem) -> None:
        system.lab = measured

    execute(FakeLane(prepare), EXPERIMENT, 7, tmp_path)
    failed, health, ended = read_events(tmp_path)[-3:]
    assert (failed.kind, failed.cause) == (K.HARNESS_FAILED, "clients-1 is gone")
    assert msgspec.json.decode(health.detail or "", type=LabHealth) == measured
    assert ended.kind is K.RUN_ENDED


@pytest.mark.parametrize("error", [HarnessError("the proxy is gone"), ZeroDivisionError("oops")])
def test_a_laboratory_that_fails_leaves_a_directory_that_says_so(tmp_path: Path, error: Exception) -> None:
    def prepare(system: FakeSystem) -> None:
        system.failure = error

    lane = FakeLane(prepare)
    with pytest.raises(HarnessError, match=str(error)) as caught:
        execute(lane, EXPERIMENT, 7, tmp_path)
    info = read_run_info(tmp_path)
    assert info.status is RunStatus.HARNESS_FAILED
    assert info.cause is not None
    assert str(error) in info.cause
    assert read_events(tmp_path)[-1].outcome == "failed"
    assert lane.open == 0
    told = tmp_path / FAILURE_LOG
    assert told.exists() is not isinstance(error, HarnessError)
    assert not told.exists() or "Traceback" in told.read_text()
    assert (str(told) in info.cause) is told.exists()
    assert str(caught.value) == info.cause


def test_an_unforeseen_error_leaves_one_traceback_and_a_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the run directory; in the temporary directory only where the run directory takes no file."""

    def prepare(system: FakeSystem) -> None:
        system.failure = ZeroDivisionError("oops")

    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    run_dir = tmp_path / "run"
    outcome = run_experiment(FakeLane(prepare), EXPERIMENT, 7, run_dir, make_console())
    assert outcome.status is RunStatus.HARNESS_FAILED
    assert not list(elsewhere.iterdir())
    line = f"harness_failed: unexpected ZeroDivisionError: oops; its traceback is in {run_dir / FAILURE_LOG}"
    assert capsys.readouterr().out.splitlines() == [line]
    (tmp_path / "blocked" / FAILURE_LOG).mkdir(parents=True)
    run_experiment(FakeLane(prepare), EXPERIMENT, 7, tmp_path / "blocked", make_console())
    (log,) = elsewhere.iterdir()
    assert f"its traceback is in {log}" in capsys.readouterr().out
    assert "Traceback" in log.read_text()


class FullDisk(EventList):
    """A log on a disk that has no space left."""

    def write(self, event: LogEvent) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_the_laboratorys_failure_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of the log is lost, run.json says what happened, and no other kind of error leaves."""
    monkeypatch.setattr(EventWriter, "flush", lambda _: FullDisk().write(LogEvent(0.0, Lane.MODEL, "r", "a", "k")))  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="No space left on device") as caught:
        execute(FakeLane(), EXPERIMENT, 7, tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    info = read_run_info(tmp_path)
    assert info.status is RunStatus.HARNESS_FAILED
    assert "No space left on device" in (info.cause or "")


def test_a_directory_that_is_removed_meanwhile_is_the_laboratorys_failure(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"

    def remove(progress: Progress) -> None:
        if progress.phase == "running":
            shutil.rmtree(run_dir, ignore_errors=True)

    with pytest.raises(HarnessError, match=r"run\.json cannot be written"):
        execute(FakeLane(), EXPERIMENT, 7, run_dir, progress=remove)


def test_a_request_ends_the_run_early(tmp_path: Path) -> None:
    cancellation = Cancellation()

    def request(progress: Progress) -> None:
        if progress.phase == "running":
            assert cancellation.request("SIGINT")

    lane = FakeLane()
    outcome = execute(lane, EXPERIMENT, 7, tmp_path, progress=request, cancellation=cancellation)
    assert outcome == RunOutcome(RunStatus.INTERRUPTED, "interrupted by SIGINT")
    assert read_run_info(tmp_path).cause == "interrupted by SIGINT"
    assert (read_events(tmp_path)[-1].kind, read_events(tmp_path)[-1].outcome) == (K.RUN_ENDED, "interrupted")
    assert lane.open == 0


def test_a_request_while_the_run_ends_has_no_effect(tmp_path: Path) -> None:
    cancellation = Cancellation()
    answers: list[bool] = []

    def request(progress: Progress) -> None:
        if progress.phase == "ending":
            answers.append(cancellation.request("SIGINT"))

    outcome = execute(FakeLane(), EXPERIMENT, 7, tmp_path, progress=request, cancellation=cancellation)
    assert (outcome.status, answers) == (RunStatus.COMPLETED, [False])


def test_a_request_before_the_start_ends_the_run_at_once(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.request("the test")
    assert execute(FakeLane(), EXPERIMENT, 7, tmp_path, cancellation=cancellation).status is RunStatus.INTERRUPTED


def test_a_run_may_be_executed_in_any_thread(tmp_path: Path) -> None:
    outcomes: list[RunOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(execute(FakeLane(), EXPERIMENT, 7, tmp_path)))
    thread.start()
    thread.join()
    assert outcomes == [RunOutcome(RunStatus.COMPLETED)]


def test_a_run_may_be_conducted_in_memory() -> None:
    recording = Recording.in_memory()
    assert conduct(FakeLane(), EXPERIMENT, 7, recording).status is RunStatus.COMPLETED
    assert isinstance(recording.events, list)
    assert recording.events[-1].kind is K.RUN_ENDED
    with pytest.raises(HarnessError, match="needs a run directory"):
        _ = recording.directory
