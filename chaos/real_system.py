"""The running system of the real lane: server, links and workers as processes, supervised until the run ends.

Knows processes and how well they keep up; knows no schedule and decides nothing about verdicts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

from resilience.errors import HarnessError, SystemFailedError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.spec import Experiment
from resilience.lab.asyncio_clock import AsyncioClock, run_with_helpers
from resilience.lab.client_control import ControlledClients
from resilience.lab.health import RECORDED_LAG_S, LabHealth, LagMeter, ReferenceFigures
from resilience.lab.participants import EVENT
from resilience.lab.recorder import RunRecorder
from resilience.lab.recording import Recording
from resilience.lab.server_watch import ServerWatch, SilenceMeter
from resilience.lab.stored_run import StoredRun
from resilience.lab.stored_run_reader import read_stored_run
from resilience.runtime import RunClock
from resilience.units import Seconds

from .client_worker import WorkerPool
from .process_meter import WaitMeter, cpu_seconds, lag_summary, load_per_processor, measure_loop, throttled_seconds
from .proxied_link import ProxiedLink, Replacement
from .targets.protocol import TargetServer

T = TypeVar("T")

MAX_REPORT_AGE_S: Seconds = 2.0
"""Counts older than this do not show the steady state."""

TICK_S: Seconds = 0.25
"""Pause between two reports of progress."""

LIFE_CHECK_S: Seconds = 0.05
"""Pause between two checks that the server's process lives, or that of a proxy."""

DIRECTORY_CHECK_S: Seconds = 0.5
"""Pause between two checks of the run directory."""

LINK_CHECK_S: Seconds = 2.0
"""Pause between two questions to a proxy that lives."""

MEASURE_S: Seconds = 1.0
"""Over how long lateness is recorded as one figure."""

RECENT_S: Seconds = 3.0
"""A silence of the server that ended so recently still explains what a canary missed."""


class RealSystem:
    """A :class:`~resilience.lab.system.System` of processes that have been started; ``RealLane`` starts and ends them.

    ``links`` are named as ``Experiment.links`` names them; the clients of those that are ``isolated`` have a worker of
    their own.
    """

    def __init__(  # noqa: PLR0913 - the parts of a running system
        self,
        experiment: Experiment,
        clock: RunClock,
        *,
        server: TargetServer,
        links: Mapping[str, ProxiedLink],
        pool: WorkerPool,
        isolated: Collection[str],
        on_tick: Callable[[], None],
        recording: Recording,
        reference: ReferenceFigures | None = None,
    ) -> None:
        self.clock = AsyncioClock(clock)
        self.server, self.links = server, links
        self._clients = experiment.clients
        self._pool, self._on_tick = pool, on_tick
        self.client_groups = {
            link: ControlledClients(worker, self.clock)
            for worker in pool.workers
            for link in worker.shard.links
            if link in isolated
        }
        self._recording, self._reference = recording, reference
        self._origin = time.time() - clock.now()
        self._silences = SilenceMeter()
        self._lag = LagMeter()
        self._hosts = [WaitMeter("server", "server host"), *map(_proxy_meter, links.items())]
        self._load, self._throttled = load_per_processor(), throttled_seconds()

    def open_sessions(self) -> Mapping[str, int]:
        """How many clients have a session, by cohort, as the workers reported last."""
        return self._pool.open

    def joined_share(self) -> float:
        """The share of all clients that have a session; raises HarnessError when the workers' reports are too old."""
        if self._pool.age > MAX_REPORT_AGE_S:
            raise HarnessError(f"the fleet's counts are {self._pool.age:.1f} s old; the machine is too busy")
        return sum(self._pool.open.values()) / self._clients

    async def supervise(self, main: Coroutine[Any, Any, T], recorder: RunRecorder) -> T:
        """Run ``main``; a worker that dies or falls silent cancels it and raises HarnessError.

        A server that ends or stops answering by itself cancels it and raises SystemFailedError. Proxies that die or
        hang are replaced, and that is recorded, as is how late the laboratory runs.
        """
        watch = ServerWatch(
            self.server.probe, self.clock.now, lambda: self.server.is_absent_by_plan, recorder, self._silences
        )
        links = [self._guard_link(link, recorder) for link in self.links.values()]
        reports = [worker.read_reports() for worker in self._pool.workers]
        guards = [self._guard_directory(), self._guard_server()]
        measures = [measure_loop(self._lag), self._measure(recorder)]
        return await run_with_helpers(main, [*guards, watch.run(), self._tick(), *links, *reports, *measures])

    def death(self) -> str | None:
        """How the server ended by itself, if it did."""
        death = self.server.death()
        return None if death is None else f"{death} at {self.clock.now():.1f} s"

    def server_log_tail(self) -> str | None:
        """The end of the server's own log."""
        return self.server.log_tail()

    def server_is_silent(self) -> bool:
        """Whether the server has not answered its own probe lately."""
        return self._silences.was_silent(self.clock.now() - RECENT_S)

    async def finish(self) -> StoredRun | None:
        """Stop the server in order, then read its database, if it has one.

        Raises SystemFailedError when the server has failed or does not obey; what its database holds is kept then too.
        """
        try:
            self.server.require_life()
            await self.server.stop()
        except SystemFailedError:
            with contextlib.suppress(HarnessError):  # it left none that can be read
                self._keep_stored(await self._stored())
            raise
        return await self._stored()

    def _keep_stored(self, stored: StoredRun | None) -> None:
        if stored is not None:
            self._recording.write_stored_run(stored)

    async def _stored(self) -> StoredRun | None:
        if self.server.database is None:
            return None
        return await asyncio.to_thread(read_stored_run, self.server.database, EVENT, self._origin)

    def measured(self) -> LabHealth:
        """How every process kept up; what the workers say is known once they have ended."""
        workers = [worker.lag for worker in self._pool.workers]
        runner = lag_summary("runner", "runner", self._lag, time.process_time())
        load, throttled = load_per_processor(), throttled_seconds()
        return LabHealth(
            processes=(runner, *workers, *(host.summary() for host in self._hosts)),
            failures=tuple(self._pool.failures),
            throttled_s=None if throttled is None or self._throttled is None else throttled - self._throttled,
            load=None if load is None or self._load is None else (self._load, load),
            reference=self._reference,
        )

    async def _guard_directory(self) -> None:
        """End the run when its directory is removed or its disk is full."""
        while True:
            self._recording.require_directory()
            await asyncio.sleep(DIRECTORY_CHECK_S)

    async def _guard_server(self) -> None:
        """End the run when the server ends by itself."""
        while True:
            self.server.require_life()
            await asyncio.sleep(LIFE_CHECK_S)

    async def _guard_link(self, link: ProxiedLink, recorder: RunRecorder) -> None:
        """Replace a proxy that dies or hangs between operations, and record each replacement, the injector's too."""

        def replaced(found: Replacement) -> None:
            lasted = found.until - found.since
            when = f"at {found.since:.1f} s of the run, and there was none for up to {lasted:.1f} s"
            recorder.record_run(LogEventKind.HARNESS_FAILED, cause=f"{found.cause}, {when}")
            recorder.record_link(link.name, since=found.since, lasted=lasted, cause=found.cause)

        link.on_replaced = replaced
        while True:
            await link.revive()
            checked_at = self.clock.now()
            while link.is_alive() and self.clock.now() < checked_at + LINK_CHECK_S:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(LIFE_CHECK_S)

    async def _measure(self, recorder: RunRecorder) -> None:
        """Record, each second, which processes ran late."""
        pids = [lambda: self.server.pid, *(_pid_of(link) for link in self.links.values())]
        while True:
            await asyncio.sleep(MEASURE_S)
            for host, pid in zip(self._hosts, pids, strict=True):
                host.read(pid())
            lags = {worker.child.name: worker.take_recent_lag() for worker in self._pool.workers}
            lags |= {"runner": self._lag.take_recent()} | {host.name: host.lag.take_recent() for host in self._hosts}
            for name, lag in lags.items():
                if lag >= RECORDED_LAG_S:
                    recorder.record_lag(name, lag)

    async def _tick(self) -> None:
        """Report progress."""
        while True:
            self._on_tick()
            await asyncio.sleep(TICK_S)


def _proxy_meter(named: tuple[str, ProxiedLink]) -> WaitMeter:
    """The meter of a link's proxy, which may have carried the reference before the run."""
    name, link = named
    pid = link.process.pid if link.process.alive else None
    return WaitMeter(f"toxiproxy-{name}", "proxy", spent=0.0 if pid is None else cpu_seconds(pid) or 0.0)


def _pid_of(link: ProxiedLink) -> Callable[[], int | None]:
    return lambda: link.process.pid if link.process.alive else None
