"""The real lane: one experiment through real processes, from an empty directory to a complete one.

The lifecycle is one stack, each step undone in reverse however the run ends: Toxiproxy per cohort, the fleet's workers,
the server, its proxies, then the run itself. The server takes the run's start (epoch) as an argument, so it is started
last, with an epoch a few seconds ahead; when it was not healthy well before, it is started again with more time.

Knows the order of things; decides nothing about verdicts.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from resilience.errors import HarnessError, ResilienceError
from resilience.eventlog.vocabulary import Lane, LogEventKind
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Experiment
from resilience.lab.run_directory import RunInfo, RunStatus, write_run_info
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .injector import Injector
from .journal import Journal
from .limits import files_needed, raise_open_files
from .progress import Progress, ProgressListener, ignore_progress
from .proxied_link import ProxiedLink
from .signals import SignalCancellation, interruptible
from .target import StartupTimeoutError, Target
from .toxiproxy.provision import Binary, find_toxiproxy
from .workers import Worker, WorkerPool

START_LEADS_S: tuple[Seconds, ...] = (3.0, 12.0)
"""How far ahead the run's start is set when the server is started: at first, and after a start that took too long."""

START_MARGIN_S: Seconds = 0.5
"""What must be left of the lead when the server is healthy: proxies are opened and clients sent off in it."""

MAX_LAG_S: Seconds = 1.0
"""A fleet whose loops come later than this measures itself."""

MAX_REPORT_AGE_S: Seconds = 2.0
"""Counts older than this say nothing about the steady state."""

TICK_S: Seconds = 0.25

_KIB_PER_MIB = 1024.0


class RunOutcome(msgspec.Struct, frozen=True):
    """How a run ended, in ``run.json``'s words."""

    status: str
    cause: str | None = None


async def run(  # noqa: PLR0913 - what to run, where, and with what
    experiment: Experiment,
    seed: int,
    run_dir: Path,
    *,
    toxiproxy: Path | None = None,
    workers: int | None = None,
    progress: ProgressListener = ignore_progress,
) -> RunInfo:
    """Run ``experiment`` against real processes and leave its history in ``run_dir``, which must be empty or absent.

    ``run.json`` says "interrupted" until the run has ended otherwise. Returns what it says at last: completed,
    not_started (no steady state: nothing was injected) or interrupted (by SIGINT or SIGTERM). Raises HarnessError when
    the laboratory failed; that is in ``run.json`` too. Nothing is left running either way. From the main thread only.
    """
    (run_dir / "events").mkdir(parents=True, exist_ok=True)
    (run_dir / "experiment.toml").write_text(to_toml(experiment), encoding="utf-8")
    info = _opening(experiment, seed)
    write_run_info(run_dir, info)
    began = time.monotonic()
    outcome = RunOutcome(RunStatus.INTERRUPTED, "the run was interrupted")
    with interruptible() as signals:
        try:
            raise_open_files(files_needed(experiment))
            binary = find_toxiproxy(toxiproxy)
            info = msgspec.structs.replace(info, versions={**info.versions, "toxiproxy": binary.version})
            count = min(workers or os.cpu_count() or 1, experiment.clients)
            outcome = await _Run(experiment, seed, run_dir, binary, count, progress).carry_out(signals)
        except asyncio.CancelledError:
            if signals.by is None:
                raise
            outcome = RunOutcome(RunStatus.INTERRUPTED, f"interrupted by {signals.by}")
            _uncancel()
        except Exception as error:
            outcome = RunOutcome(RunStatus.HARNESS_FAILED, describe_error(error))
            raise
        finally:
            info = _closing(info, outcome, time.monotonic() - began)
            write_run_info(run_dir, info)
    return info


def _opening(experiment: Experiment, seed: int) -> RunInfo:
    python = ".".join(str(part) for part in sys.version_info[:3])
    return RunInfo(
        experiment=experiment.name,
        experiment_digest=experiment.digest,
        lane=Lane.REAL,
        seed=seed,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=experiment.duration,
        status=RunStatus.INTERRUPTED,
        cause="the run was interrupted",
        versions={"python": python, **{name: version(name) for name in ("quiz-resilience", "websockets")}},
    )


def _closing(info: RunInfo, outcome: RunOutcome, wall_s: Seconds) -> RunInfo:
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return msgspec.structs.replace(
        info, status=outcome.status, cause=outcome.cause, wall_s=wall_s, peak_rss_mb=peak / _KIB_PER_MIB
    )


def describe_error(error: BaseException) -> str:
    """An error in one line; one that nobody raised on purpose with its name."""
    return str(error) if isinstance(error, ResilienceError) else f"{type(error).__name__}: {error}"


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


class _Run:
    """One run under way."""

    def __init__(  # noqa: PLR0913, PLR0917 - what one run is made of
        self, experiment: Experiment, seed: int, run_dir: Path, binary: Binary, workers: int, progress: ProgressListener
    ) -> None:
        self._experiment, self._seed, self._run_dir = experiment, seed, run_dir
        self._binary, self._workers, self._progress = binary, workers, progress
        self._clock = RunClock()
        self._journal = Journal(run_dir, self._clock)
        self._links: dict[str, ProxiedLink] = {}
        self._pool = WorkerPool([])
        self._injector: Injector | None = None
        self._phase = "starting"
        self._started = False
        self._ended_at: Instant | None = None
        self._ending = RunOutcome(RunStatus.INTERRUPTED)
        self._server_death: str | None = None

    async def carry_out(self, signals: SignalCancellation) -> RunOutcome:
        """Start everything, let the run happen, undo everything; signals cannot stop the undoing."""
        async with AsyncExitStack() as stack:
            stack.callback(self._journal.close)
            stack.push(self._write_end)
            try:
                self._show()
                await self._start_parts(stack)
                target = await self._start_server(stack)
                self._ending = await self._observe(target)
            finally:
                signals.mask()
                self._ended_at = self._clock.now()
                self._set_phase("ending")
        return self._ending

    async def _observe(self, target: Target) -> RunOutcome:
        """The run itself, from its start to its end, with everything that keeps watch beside it."""
        self._injector = Injector(self._links, target.address, self._clock, self._journal)
        await self._until(0.0)
        self._journal.run(LogEventKind.RUN_STARTED, value=self._experiment.duration)
        self._started = True
        return await run_with_helpers(
            self._run_schedule(self._injector),
            self._injector.guard(),
            self._tick(),
            self._watch_server(target),
            *(worker.read_reports() for worker in self._pool.workers),
        )

    # starting ---------------------------------------------------------------------------------------------------------

    async def _start_parts(self, stack: AsyncExitStack) -> None:
        """Toxiproxy for each cohort and the workers, all at once; each is on the stack as soon as it exists."""
        starts = [self._start_link(cohort.name, stack) for cohort in self._experiment.cohorts]
        starts += [self._start_worker(number, stack) for number in range(self._workers)]
        await _all(*starts)

    async def _start_link(self, cohort: str, stack: AsyncExitStack) -> None:
        link = await ProxiedLink.start(cohort, self._binary, self._run_dir / "logs" / f"toxiproxy-{cohort}.log")
        stack.push_async_callback(link.close)
        self._links[cohort] = link

    async def _start_worker(self, number: int, stack: AsyncExitStack) -> None:
        worker = await Worker.start(self._experiment, self._seed, self._run_dir, number, self._workers)
        stack.push_async_callback(worker.stop)
        self._pool.workers.append(worker)
        await worker.prepare()

    async def _start_server(self, stack: AsyncExitStack) -> Target:
        """The server, its proxies and the clients' marching orders, all before the run's start."""
        for lead in START_LEADS_S:
            self._clock.epoch = time.monotonic() + lead
            by = self._clock.epoch - START_MARGIN_S
            try:
                target = await Target.start(self._experiment, self._seed, self._run_dir, epoch=self._clock.epoch, by=by)
            except StartupTimeoutError as error:
                late = error
                continue
            stack.push_async_callback(target.stop)
            await _all(*(link.connect(target.address) for link in self._links.values()))
            urls = {name: f"ws://{link.address}{target.url_path}" for name, link in self._links.items()}
            await self._pool.go(self._clock.epoch, urls)
            return target
        raise HarnessError(f"the machine is too slow or too busy: {late}")

    # the run itself ---------------------------------------------------------------------------------------------------

    async def _run_schedule(self, injector: Injector) -> RunOutcome:
        hypothesis, duration = self._experiment.hypothesis, self._experiment.duration
        self._set_phase("joining")
        await self._until(hypothesis.within)
        share = self._share_open()
        steady = share >= hypothesis.joined
        self._journal.run(LogEventKind.RUN_STEADY, outcome="pass" if steady else "fail", value=share)
        if not steady:
            rule = (
                f"{share:.1%} of the clients had joined after {hypothesis.within:g} s, wanted {hypothesis.joined:.1%}"
            )
            return RunOutcome(RunStatus.NOT_STARTED, f"no steady state: {rule}; nothing was injected")
        self._set_phase("running")
        await injector.run_schedule(self._experiment.windows(self._seed), until=duration)
        await self._until(duration)
        return RunOutcome(RunStatus.COMPLETED, self._server_death)

    def _share_open(self) -> float:
        if self._pool.age > MAX_REPORT_AGE_S:
            raise HarnessError(f"the fleet's counts are {self._pool.age:.1f} s old; the machine is too busy")
        return sum(self._pool.open.values()) / self._experiment.clients

    async def _tick(self) -> None:
        """Keep watchers informed, and note once when the fleet itself is too slow to be believed."""
        noted = False
        while True:
            self._show()
            if self._pool.lag_max > MAX_LAG_S and not noted:
                noted = True
                cause = f"fleet loop lag {self._pool.lag_max:.2f} s, allowed {MAX_LAG_S:g} s"
                self._journal.run(LogEventKind.HARNESS_FAILED, cause=f"{cause}: too many clients for this machine")
            await asyncio.sleep(TICK_S)

    async def _watch_server(self, target: Target) -> None:
        self._server_death = await target.wait_for_exit()

    async def _until(self, when: Instant) -> None:
        await asyncio.sleep(max(when - self._clock.now(), 0.0))

    def _write_end(self, _: object, error: BaseException | None, __: object) -> None:
        """The run's last event, whatever happened; written when all workers have ended, for then their lag is known."""
        if not self._started:
            return
        outcome, cause = ("completed" if self._ending.status == RunStatus.COMPLETED else "failed"), self._ending.cause
        if error is not None:
            interrupted = isinstance(error, asyncio.CancelledError)
            outcome, cause = ("interrupted", "interrupted") if interrupted else ("failed", describe_error(error))
        self._journal.run(LogEventKind.RUN_ENDED, t=self._ended_at, outcome=outcome, cause=cause, detail=self._lag())

    def _lag(self) -> str:
        p99 = self._pool.lag_p99
        return f"fleet loop lag: max {self._pool.lag_max:.3f} s, p99 " + ("unknown" if p99 is None else f"{p99:.3f} s")

    # watchers ---------------------------------------------------------------------------------------------------------

    def _set_phase(self, phase: str) -> None:
        self._phase = phase
        self._show()

    def _show(self) -> None:
        experiment = self._experiment
        clients = {cohort.name: cohort.clients for cohort in experiment.cohorts}
        faults = tuple(sorted(self._injector.active)) if self._injector else ()
        self._progress(Progress(self._phase, self._clock.now(), experiment.duration, self._pool.open, clients, faults))


async def run_with_helpers(main: Coroutine[Any, Any, RunOutcome], *helpers: Coroutine[Any, Any, None]) -> RunOutcome:
    """Run ``main`` while the helpers run; a helper that fails ends it, its end ends them."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(helper) for helper in helpers]
            outcome = await main
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise _first(failures) from failures
    return outcome


async def _all(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all at once; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as failures:
        raise _first(failures) from failures


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to tell of: the first that was raised on purpose, else the first."""
    leaves = [
        _first(failure) if isinstance(failure, BaseExceptionGroup) else failure for failure in failures.exceptions
    ]
    return next((leaf for leaf in leaves if isinstance(leaf, ResilienceError)), leaves[0])
