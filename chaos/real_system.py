"""The running system of the real lane: server, links and workers as processes, supervised until the run ends.

Knows processes and how well they keep up; knows no schedule and decides nothing about verdicts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.spec import Experiment
from resilience.lab.asyncio_clock import AsyncioClock, run_with_helpers
from resilience.lab.participants import EVENT
from resilience.lab.recorder import RunRecorder
from resilience.lab.stored_run import StoredRun
from resilience.lab.stored_run_reader import read_stored_run
from resilience.runtime import RunClock
from resilience.units import Seconds

from .proxied_link import ProxiedLink
from .targets.quiz import QuizTarget
from .workers import WorkerPool

T = TypeVar("T")

MAX_LAG_S: Seconds = 1.0
"""A fleet whose loops run later than this measures itself."""

MAX_REPORT_AGE_S: Seconds = 2.0
"""Counts older than this do not show the steady state."""

TICK_S: Seconds = 0.25
"""Pause between two checks of the processes."""


class RealSystem:
    """A :class:`~resilience.lab.system.System` of processes that have been started; ``RealLane`` starts and ends them.

    ``links`` are named as ``Experiment.links`` names them.
    """

    def __init__(  # noqa: PLR0913 - the parts of a running system
        self,
        experiment: Experiment,
        clock: RunClock,
        *,
        server: QuizTarget,
        links: Mapping[str, ProxiedLink],
        pool: WorkerPool,
        on_tick: Callable[[], None],
    ) -> None:
        self.clock = AsyncioClock(clock)
        self.server, self.links = server, links
        self._clients = experiment.clients
        self._pool, self._on_tick = pool, on_tick
        self._origin = time.time() - clock.now()

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

        Proxies that die are replaced, and a fleet that runs too late is reported once; both are recorded.
        """
        helpers = [self._guard(recorder), self._tick(recorder)]
        return await run_with_helpers(main, [*helpers, *(worker.read_reports() for worker in self._pool.workers)])

    def death(self) -> str | None:
        """How the server ended by itself, if it did."""
        return self.server.death()

    async def finish(self) -> StoredRun:
        """Stop the server in order, then read its database."""
        await self.server.stop()
        return await asyncio.to_thread(read_stored_run, self.server.database, EVENT, self._origin)

    def health(self) -> str:
        """How late the workers' loops ran; the percentile is known once all workers have ended in order."""
        p99 = self._pool.lag_p99
        known = "unknown" if p99 is None else f"{p99:.3f} s"
        return f"fleet loop lag: max {self._pool.lag_max:.3f} s, p99 {known}"

    async def _guard(self, recorder: RunRecorder) -> None:
        """Replace proxies that die between operations."""
        while True:
            self.server.check()
            for link in self.links.values():
                cause = await link.revive()
                if cause is not None:
                    recorder.record_run(LogEventKind.HARNESS_FAILED, cause=cause)
            await asyncio.sleep(TICK_S)

    async def _tick(self, recorder: RunRecorder) -> None:
        """Report progress, and record once when the fleet runs too late for its figures to count."""
        is_recorded = False
        while True:
            self._on_tick()
            if self._pool.lag_max > MAX_LAG_S and not is_recorded:
                is_recorded = True
                cause = f"fleet loop lag {self._pool.lag_max:.2f} s, allowed {MAX_LAG_S:g} s"
                recorder.record_run(LogEventKind.HARNESS_FAILED, cause=f"{cause}: too many clients for this machine")
            await asyncio.sleep(TICK_S)
