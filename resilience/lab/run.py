"""One run of an experiment in any lane: an empty directory in, a complete one out. The lifecycle of every lane.

``execute`` opens the directory, starts the lane's system, records start, steady state, schedule and end, stores what
clients were shown and what the database holds, and writes ``run.json``. It installs no signal handlers and may be
called from any thread; a :class:`~resilience.lab.cancellation.Cancellation` ends a run early. A server that ends or
stops answering by itself ends the run at once: nothing more can be learned from it, and what was recorded is kept.
Decides nothing about verdicts.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from resilience.errors import HarnessError, SystemFailedError, UsageError, describe_error
from resilience.eventlog.vocabulary import Lane, LogEventKind, Verdict
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment
from resilience.experiment.steady_state import limit_on_joins
from resilience.terminal import describe_unexpected
from resilience.units import Instant, Seconds

from .cancellation import Cancellation
from .directory_watch import NO_SPACE
from .injector import FaultInjector
from .manifest import EvidenceFile
from .progress import Progress, ProgressListener, describe_fault_record, ignore_progress
from .recorder import RunRecorder
from .recording import LINES, DirectoryRecording, LogFormat, Recording
from .run_directory import RunInfo, RunStatus, write_run_info
from .system import LaneDriver, System

FAILURE_LOG = "failure.txt"
"""Where in a run directory an unexpected error of the laboratory is kept whole."""

STOPPED_LOG = "stopped.txt"
"""Where in a run directory the stack of a simulation that stood still is kept."""

MODELLED = frozenset((Lane.MODEL, Lane.POPULATION))
"""The lanes whose server is a model."""

_KIB_PER_MIB = 1024.0


class RunOutcome(msgspec.Struct, frozen=True):
    """How a run ended, in ``run.json``'s words; ``cause`` says why it is not simply completed."""

    status: RunStatus
    cause: str | None = None


def execute(  # noqa: PLR0913 - what to run, where, and who may watch or end it
    driver: LaneDriver,
    experiment: Experiment,
    seed: int,
    run_dir: Path,
    *,
    progress: ProgressListener = ignore_progress,
    cancellation: Cancellation | None = None,
    log_format: LogFormat = LINES,
) -> RunOutcome:
    """Run ``experiment`` in the driver's lane and leave its history in ``run_dir``, which must be empty or absent.

    ``log_format`` is that of the events recorded in this process; files of other processes are JSON Lines.
    ``run.json`` says "interrupted" until the run has ended otherwise. Returns what it says at last: completed (with a
    cause when the server failed by itself), not_started (no steady state: nothing was injected) or interrupted (by a
    request on ``cancellation``). Raises :class:`~resilience.errors.UsageError` when ``run_dir`` already holds a run.
    Raises :class:`~resilience.errors.HarnessError`, in one line, when the laboratory failed in whatever way, a full
    disk included; that is in ``run.json`` too, as far as it can still be written. An unforeseen error leaves its
    traceback in :data:`FAILURE_LOG`, which the line names. Nothing is left running either way.
    """
    require_lane(experiment, driver.lane)
    cancellation = cancellation or Cancellation()
    recording = DirectoryRecording(run_dir, experiment, log_format)
    info, began = opening_info(driver.lane, experiment, seed), time.monotonic()
    _save_info(run_dir, info)
    outcome, failure = RunOutcome(RunStatus.INTERRUPTED, info.cause), None
    try:
        outcome = conduct(driver, experiment, seed, recording, progress=progress, cancellation=cancellation)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed, and run.json says so
        failure = _as_expected(error, run_dir, recording)
    finally:
        evidence, unwritten = _close(recording)
        failure = failure or unwritten
        if failure is not None:
            outcome = RunOutcome(RunStatus.HARNESS_FAILED, describe_error(failure))
        info = msgspec.structs.replace(info, evidence=evidence)
        unsaved = _save_info(run_dir, closing_info(info, driver.versions(), outcome, time.monotonic() - began))
    failure = failure or unsaved
    if failure is not None:
        raise failure
    return outcome


def _save_info(run_dir: Path, info: RunInfo) -> HarnessError | None:
    """Write ``run.json``; returns why that failed."""
    try:
        write_run_info(run_dir, info)
    except OSError as error:
        return HarnessError(f"{run_dir}: run.json cannot be written: {error.strerror or error}")
    return None


def _close(recording: DirectoryRecording) -> tuple[tuple[EvidenceFile, ...] | None, HarnessError | None]:
    """Close the event log; the list of the evidence, or the error when the last lines cannot be written."""
    try:
        return recording.close(), None
    except OSError as error:
        return None, HarnessError(f"the event log cannot be written: {error.strerror or error}")


def _as_expected(error: Exception, run_dir: Path, recording: Recording) -> HarnessError | UsageError:
    """The error itself if a run may end with it, else one that names the file in which its traceback is now.

    Where the run directory cannot be written any more, that is the error: whatever else failed may have failed of it.
    """
    if isinstance(error, UsageError):
        return error
    try:
        recording.require_directory()
    except HarnessError as cause:
        return cause
    if isinstance(error, HarnessError):
        return error
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        described = HarnessError(f"{run_dir}: cannot be written: {error.strerror}")
    else:
        described = HarnessError(describe_unexpected(error, run_dir / FAILURE_LOG))
    described.__cause__ = error
    return described


def conduct(  # noqa: PLR0913 - as execute
    driver: LaneDriver,
    experiment: Experiment,
    seed: int,
    recording: Recording,
    *,
    progress: ProgressListener = ignore_progress,
    cancellation: Cancellation | None = None,
    windows: Sequence[FaultWindow] | None = None,
) -> RunOutcome:
    """Run ``experiment`` and hand its history to ``recording``; no ``run.json``. Raises whatever ended the run.

    ``windows`` replaces the experiment's own schedule, so that the timeline of another run can be repeated.
    """
    require_lane(experiment, driver.lane)
    cancellation = cancellation or Cancellation()
    planned = experiment.windows(seed) if windows is None else windows
    run = _Run(driver, experiment, seed, planned, recording, progress, cancellation)
    try:
        outcome = driver.run(run.conduct, cancellation)
    except SystemFailedError as failed:
        outcome = run.record_failed_system(failed)
    except BaseException as error:
        interrupted = cancellation.aborted is not None or (
            isinstance(error, asyncio.CancelledError) and cancellation.reason is not None
        )
        cause = _interruption(cancellation) if interrupted else describe_error(error)
        with contextlib.suppress(OSError):  # a disk that is full already is what the caller hears of
            run.record_end("interrupted" if interrupted else "failed", cause)
        if not interrupted:
            raise
        return RunOutcome(RunStatus.INTERRUPTED, cause)
    if cancellation.aborted is not None:
        outcome = RunOutcome(RunStatus.INTERRUPTED, _interruption(cancellation))
    run.record_end(_END_RECORDS.get(outcome.status, "failed"), outcome.cause)
    return outcome


_END_RECORDS = {RunStatus.COMPLETED: "completed", RunStatus.INTERRUPTED: "interrupted"}


def _interruption(cancellation: Cancellation) -> str:
    """What interrupted the run, in words."""
    if cancellation.aborted is not None:
        return f"interrupted by {cancellation.aborted}, at once: its processes were killed"
    return f"interrupted by {cancellation.reason}"


def require_lane(experiment: Experiment, lane: Lane) -> None:
    """Raise :class:`~resilience.errors.UsageError` when the lane cannot carry out a value of the experiment."""
    obstacle = experiment.obstacle(lane)
    if obstacle is not None:
        able = " or ".join(each for each in Lane if each in obstacle.lanes)
        where = f"{experiment.name}: {obstacle.key}"
        raise UsageError(f"{where}: the lane {lane} cannot carry out {obstacle.what}; choose the lane {able}")


def opening_info(lane: Lane, experiment: Experiment, seed: int) -> RunInfo:
    """``run.json`` as it is until the run has ended."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return RunInfo(
        experiment=experiment.name,
        experiment_digest=experiment.digest,
        lane=lane,
        seed=seed,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=experiment.duration,
        status=RunStatus.INTERRUPTED,
        cause="the run was interrupted",
        versions={"python": python, "quiz-resilience": version("quiz-resilience")},
        costs=experiment.costs if lane in MODELLED else None,
    )


def closing_info(info: RunInfo, versions: Mapping[str, str], outcome: RunOutcome, wall_s: Seconds) -> RunInfo:
    """``run.json`` of a run that has ended like this after ``wall_s`` seconds; ``versions`` are those of its lane."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return msgspec.structs.replace(
        info,
        status=outcome.status,
        cause=outcome.cause,
        wall_s=wall_s,
        peak_rss_mb=peak / _KIB_PER_MIB,
        versions={**info.versions, **versions},
    )


class _Run:
    """One run under way."""

    def __init__(  # noqa: PLR0913, PLR0917 - what one run is made of
        self,
        driver: LaneDriver,
        experiment: Experiment,
        seed: int,
        windows: Sequence[FaultWindow],
        recording: Recording,
        progress: ProgressListener,
        cancellation: Cancellation,
    ) -> None:
        self._driver, self._experiment, self._seed, self._windows = driver, experiment, seed, windows
        self._recording, self._listener, self._cancellation = recording, progress, cancellation
        self._phase = "starting"
        self._system: System | None = None
        self._injector: FaultInjector | None = None
        self._recorder: RunRecorder | None = None
        self._ended_at: Instant | None = None
        self._news: list[str] = []

    async def conduct(self) -> RunOutcome:
        """Start the system, let the run happen, end everything; a cancellation cannot stop the ending."""
        outcome = RunOutcome(RunStatus.INTERRUPTED, "the run was interrupted")
        self._show()
        async with self._driver.start(self._experiment, self._seed, self._recording, self._show) as system:
            self._system = system
            try:
                outcome = await self._observe(system)
            except SystemFailedError as failed:
                outcome = self.record_failed_system(failed)
            finally:
                self._cancellation.mask()
                self._ended_at = system.clock.now()
                self._enter("ending")
            return await self._finish(system, outcome)

    async def _finish(self, system: System, outcome: RunOutcome) -> RunOutcome:
        """End the server in order, and store what its database holds; a failed server may have left nothing.

        A run that did not start says nothing about the system, however that ends.
        """
        has_failed = outcome.status is RunStatus.COMPLETED and outcome.cause is not None
        try:
            stored = await system.finish()
        except SystemFailedError as failed:
            is_decided = has_failed or outcome.status is RunStatus.NOT_STARTED
            return outcome if is_decided else self.record_failed_system(failed)
        except HarnessError:
            if not has_failed:
                raise
            return outcome
        if stored is not None:
            self._recording.write_stored_run(stored)
        return outcome

    async def _observe(self, system: System) -> RunOutcome:
        """The run itself, from its start to its end, under supervision."""
        clock = system.clock
        self._recorder = recorder = RunRecorder(
            self._recording.events, self._driver.lane, clock.now, self._recording.flush, self._tell
        )
        self._injector = FaultInjector(system, recorder)
        await clock.sleep_until(0.0)
        recorder.record_run(LogEventKind.RUN_STARTED, value=self._experiment.duration)
        return await system.supervise(self._happen(system, recorder, self._injector), recorder)

    async def _happen(self, system: System, recorder: RunRecorder, injector: FaultInjector) -> RunOutcome:
        hypothesis, duration = self._experiment.hypothesis, self._experiment.duration
        self._enter("joining")
        await system.clock.sleep_until(hypothesis.within)
        share = system.joined_share()
        steady = share >= hypothesis.joined
        recorder.record_run(LogEventKind.RUN_STEADY, outcome=Verdict.PASS if steady else Verdict.FAIL, value=share)
        if not steady:
            found = f"{share:.1%} of the clients had joined after {hypothesis.within:g} s"
            cause = f"no steady state: {found}, wanted {hypothesis.joined:.1%}; nothing was injected"
            limit = limit_on_joins(self._experiment, self._driver.lane)
            return RunOutcome(RunStatus.NOT_STARTED, cause if limit is None else f"{cause}; {limit}")
        self._enter("running")
        await injector.run_schedule(self._windows, until=duration)
        await system.clock.sleep_until(duration)
        death = system.death()
        if death is not None:
            raise SystemFailedError(death)
        return RunOutcome(RunStatus.COMPLETED)

    def record_failed_system(self, failed: SystemFailedError) -> RunOutcome:
        """The system ended or stopped by itself: that is a result, and the end of the run.

        Raises HarnessError when the run directory is gone or full, which the system may have failed of. After an abort
        the laboratory has killed it, and nothing is recorded.
        """
        if self._cancellation.aborted is not None:
            return RunOutcome(RunStatus.INTERRUPTED, _interruption(self._cancellation))
        self._recording.require_directory()
        if self._recorder is not None and self._system is not None:
            outcome, detail = "ended" if failed.has_ended else "silent", self._system.server_log_tail()
            self._recorder.record_run(LogEventKind.SERVER_FAILED, outcome=outcome, cause=str(failed), detail=detail)
        if failed.evidence is not None:
            with contextlib.suppress(HarnessError, OSError):  # in memory, or no space
                (self._recording.directory / STOPPED_LOG).write_text(failed.evidence, encoding="utf-8")
        return RunOutcome(RunStatus.COMPLETED, str(failed))

    def record_end(self, outcome: str, cause: str | None) -> None:
        """The run's last records, whatever happened, once everything has ended: only then is the lag known."""
        recorder, system = self._recorder, self._system
        if recorder is None or system is None:
            return  # the system did not start
        measured = system.measured()
        if measured is not None:
            for failure in measured.failures:
                recorder.record_run(LogEventKind.HARNESS_FAILED, t=self._ended_at, cause=failure)
            text = msgspec.json.encode(measured).decode()
            recorder.record_run(LogEventKind.LAB_HEALTH, t=self._ended_at, detail=text)
        recorder.record_run(LogEventKind.RUN_ENDED, t=self._ended_at, outcome=outcome, cause=cause)

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._show()

    def _show(self) -> None:
        experiment, system = self._experiment, self._system
        clients = {cohort.name: cohort.clients for cohort in experiment.cohorts}
        faults = tuple(sorted(self._injector.active)) if self._injector else ()
        now, open_sessions = (system.clock.now(), system.open_sessions()) if system else (0.0, {})
        news, self._news = tuple(self._news), []
        self._listener(Progress(self._phase, now, experiment.duration, open_sessions, clients, faults, news))

    def _tell(self, kind: LogEventKind, window: FaultWindow, cause: str | None) -> None:
        """Pass on at once that a fault begins, ends or is invalid."""
        words = describe_fault_record(kind, window, cause)
        if words is not None:
            self._news.append(words)
            self._show()
