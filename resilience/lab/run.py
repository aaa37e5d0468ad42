"""One run of an experiment in any lane: an empty directory in, a complete one out. The lifecycle of every lane.

``execute`` opens the directory, starts the lane's system, records start, steady state, schedule and end, stores what
clients were shown and what the database holds, and writes ``run.json``. It installs no signal handlers and may be
called from any thread; a :class:`~resilience.lab.cancellation.Cancellation` ends a run early. Decides nothing about
verdicts.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from resilience.errors import ResilienceError, UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind, Verdict
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment
from resilience.units import Instant, Seconds

from .cancellation import Cancellation
from .injector import FaultInjector
from .progress import Progress, ProgressListener, describe_fault_record, ignore_progress
from .recorder import RunRecorder
from .recording import DirectoryRecording, Recording
from .run_directory import RunInfo, RunStatus, write_run_info
from .system import LaneDriver, System

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
) -> RunOutcome:
    """Run ``experiment`` in the driver's lane and leave its history in ``run_dir``, which must be empty or absent.

    ``run.json`` says "interrupted" until the run has ended otherwise. Returns what it says at last: completed,
    not_started (no steady state: nothing was injected) or interrupted (by a request on ``cancellation``). Raises
    :class:`~resilience.errors.UsageError` when ``run_dir`` already holds a run, and
    :class:`~resilience.errors.HarnessError` when the laboratory failed; that is in ``run.json`` too. Nothing is left
    running either way.
    """
    require_lane(experiment, driver.lane)
    cancellation = cancellation or Cancellation()
    recording = DirectoryRecording(run_dir, experiment)
    info = opening_info(driver, experiment, seed)
    write_run_info(run_dir, info)
    began = time.monotonic()
    outcome = RunOutcome(RunStatus.INTERRUPTED, info.cause)
    try:
        outcome = conduct(driver, experiment, seed, recording, progress=progress, cancellation=cancellation)
    except Exception as error:
        outcome = RunOutcome(RunStatus.HARNESS_FAILED, describe_error(error))
        raise
    finally:
        info = msgspec.structs.replace(info, evidence=recording.close())
        write_run_info(run_dir, _closing_info(info, driver, outcome, time.monotonic() - began))
    return outcome


def conduct(  # noqa: PLR0913 - as execute
    driver: LaneDriver,
    experiment: Experiment,
    seed: int,
    recording: Recording,
    *,
    progress: ProgressListener = ignore_progress,
    cancellation: Cancellation | None = None,
) -> RunOutcome:
    """Run ``experiment`` and hand its history to ``recording``; no ``run.json``. Raises as :func:`execute`."""
    require_lane(experiment, driver.lane)
    cancellation = cancellation or Cancellation()
    run = _Run(driver, experiment, seed, recording, progress, cancellation)
    try:
        return driver.run(run.conduct, cancellation)
    except asyncio.CancelledError:
        if cancellation.reason is None:
            raise
        return RunOutcome(RunStatus.INTERRUPTED, f"interrupted by {cancellation.reason}")


def require_lane(experiment: Experiment, lane: Lane) -> None:
    """Raise :class:`~resilience.errors.UsageError` when the lane cannot carry out a value of the experiment."""
    key = experiment.virtual_only()
    if key is not None and lane is not Lane.VIRTUAL:
        raise UsageError(f"{experiment.name}: {key}: only the lane virtual can carry this out, not the lane {lane}")


def opening_info(driver: LaneDriver, experiment: Experiment, seed: int) -> RunInfo:
    """``run.json`` as it is until the run has ended."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return RunInfo(
        experiment=experiment.name,
        experiment_digest=experiment.digest,
        lane=driver.lane,
        seed=seed,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=experiment.duration,
        status=RunStatus.INTERRUPTED,
        cause="the run was interrupted",
        versions={"python": python, "quiz-resilience": version("quiz-resilience")},
    )


def _closing_info(info: RunInfo, driver: LaneDriver, outcome: RunOutcome, wall_s: Seconds) -> RunInfo:
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return msgspec.structs.replace(
        info,
        status=outcome.status,
        cause=outcome.cause,
        wall_s=wall_s,
        peak_rss_mb=peak / _KIB_PER_MIB,
        versions={**info.versions, **driver.versions()},
    )


def describe_error(error: BaseException) -> str:
    """An error in one line; an unexpected one with its type."""
    return str(error) if isinstance(error, ResilienceError) else f"{type(error).__name__}: {error}"


class _Run:
    """One run under way."""

    def __init__(  # noqa: PLR0913, PLR0917 - what one run is made of
        self,
        driver: LaneDriver,
        experiment: Experiment,
        seed: int,
        recording: Recording,
        progress: ProgressListener,
        cancellation: Cancellation,
    ) -> None:
        self._driver, self._experiment, self._seed = driver, experiment, seed
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
        try:
            async with self._driver.start(self._experiment, self._seed, self._recording, self._show) as system:
                self._system = system
                try:
                    outcome = await self._observe(system)
                finally:
                    self._cancellation.mask()
                    self._ended_at = system.clock.now()
                    self._enter("ending")
                stored = await system.finish()
                if stored is not None:
                    self._recording.write_stored_run(stored)
        except BaseException as error:
            interrupted = isinstance(error, asyncio.CancelledError)
            reason = self._cancellation.reason
            cause = f"interrupted by {reason}" if interrupted and reason else describe_error(error)
            self._record_end("interrupted" if interrupted else "failed", cause)
            raise
        self._record_end("completed" if outcome.status is RunStatus.COMPLETED else "failed", outcome.cause)
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
            return RunOutcome(RunStatus.NOT_STARTED, cause)
        self._enter("running")
        await injector.run_schedule(self._experiment.windows(self._seed), until=duration)
        await system.clock.sleep_until(duration)
        return RunOutcome(RunStatus.COMPLETED, system.death())

    def _record_end(self, outcome: str, cause: str | None) -> None:
        """The run's last record, whatever happened, once everything has ended: only then is the lag known."""
        if self._recorder is not None and self._system is not None:
            detail = self._system.health()
            self._recorder.record_run(
                LogEventKind.RUN_ENDED, t=self._ended_at, outcome=outcome, cause=cause, detail=detail
            )

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
