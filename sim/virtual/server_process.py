"""A quiz server in memory as a process: it starts, listens, and may die in the middle of anything. Knows no faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from resilience.errors import InjectionError
from resilience.eventlog.vocabulary import Lane, Role
from resilience.eventlog.writer import EventSink
from resilience.experiment.primitives import Crash, CrashPoint, FaultTarget
from resilience.experiment.spec import Experiment
from resilience.lab.participants import EVENT
from resilience.random_streams import uniform
from resilience.runtime import RecordSink, RunClock, log_to
from resilience.server.app import QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.store import Store
from resilience.units import Seconds

from ..keyed_names import keyed_ids, keyed_tokens
from .crash_doubles import BoundaryHook, CrashingLog, CrashingStore, InstrumentedClock
from .loop import VirtualLoop, process_context
from .network import VirtualNetwork

HOST, PORT = "server.test", 80

ORIGIN_S: Seconds = 1.7e9
"""Wall time of the run's start, seconds since 1970: so large that rounding shows."""

END_TIMEOUT_S: Seconds = 10.0
"""How long a server may take to end after the time that its fault left it."""

LARGEST_SHIFT_S: Seconds = 5.0
"""The clock of a process that can be killed shows zero up to so long before the process starts."""


class VirtualHost:
    """The machine that the server's processes run on: its database, network and address; survives every process.

    ``is_struck``: whether a fault of the experiment acts on processes here. Where none does, a process has the run's
    own clock and writes its log directly, which is faster.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a machine has
        self,
        experiment: Experiment,
        seed: int,
        loop: VirtualLoop,
        network: VirtualNetwork,
        sink: EventSink,
        store: Store,
    ) -> None:
        self.experiment, self.seed, self.loop, self.network, self.sink = experiment, seed, loop, network, sink
        self.is_struck = any(fault.target is FaultTarget.SERVER for fault in experiment.faults)
        self.store = store
        self._new_id, self._new_token = keyed_ids(seed), keyed_tokens(seed)

    def wall_clock(self) -> float:
        """Seconds since 1970."""
        return self.loop.time() + ORIGIN_S

    def make_server(
        self, number: int, store: Store, clock: RunClock, log: RecordSink, flush: Callable[[], None]
    ) -> QuizServer:
        """The server of process ``number``, from 1."""
        return QuizServer(
            [EventSpec(EVENT, self.experiment.quiz.plan(self.seed), str(number), self.seed)],
            self.experiment.server,
            store,
            clock=clock,
            log=log,
            new_id=self._new_id,
            new_token=self._new_token,
            wall_clock=self.wall_clock,
            flush=flush,
        )


class VirtualServerProcess:
    """One server process that can be killed. ``reached`` is called at each boundary that it crosses while it lives.

    ``died`` is done when it is dead or has ended in order.
    """

    def __init__(self, host: VirtualHost, number: int, reached: BoundaryHook) -> None:
        self._host, self._reached_by = host, reached
        self.died: asyncio.Future[None] = host.loop.create_future()
        self.is_listening = False
        self.name = f"server {number}"
        self._tasks: list[asyncio.Task[None]] = []
        self._starting: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        shift = host.loop.time() - LARGEST_SHIFT_S * uniform(host.seed, "clock", number) if host.is_struck else 0.0
        self._store = CrashingStore(host.store, self._reached)
        self._log = CrashingLog(host.sink, shift, self._reached)
        clock, sink = RunClock(0.0, host.loop.time), host.sink
        if host.is_struck:
            clock, sink = InstrumentedClock(shift, host.loop.time, self._reached), self._log
        log = log_to(sink, Lane.VIRTUAL, Role.SERVER, "server")
        self.server = host.make_server(number, self._store, clock, log, self._log.flush)

    @property
    def is_alive(self) -> bool:
        """Whether it has not been killed."""
        return not self.died.done()

    async def start(self) -> None:
        """Start; returns when it listens or is dead. Raises what the server raises when it cannot start."""
        self._starting = starting = self._begin(self.server.start(HOST, PORT))
        await asyncio.wait((starting, self.died), return_when=asyncio.FIRST_COMPLETED)
        if self.is_alive:
            starting.result()
            self.is_listening = True
            self._reached(CrashPoint.LISTENING)

    def drain(self) -> None:
        """Begin an orderly stop, unless one is under way; as ``resilience serve`` does, once it has started."""
        if self._draining is None:
            self._draining = self._begin(self._stop())

    async def _stop(self) -> None:
        if self._starting is not None:
            await self._starting
        await self.server.stop()

    async def end(self) -> None:
        """Return once the orderly stop that was begun is complete, or the process is dead.

        InjectionError when it takes longer than :data:`END_TIMEOUT_S`.
        """
        draining = self._draining
        if draining is None or not self.is_alive:
            return
        ends = (draining, self.died)
        done, _ = await asyncio.wait(ends, timeout=END_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise InjectionError(f"the server did not end within {END_TIMEOUT_S:g} s of the end of its window")
        if self.is_alive:
            draining.result()
            self._log.save()
            self.died.set_result(None)

    def suspend(self) -> None:
        """Stand still: nothing that arrives is read, no timer fires, new connections wait to be accepted."""
        self._host.network.suspend(self.name)
        self._host.loop.suspend(self.name)

    def resume(self) -> None:
        """Continue: what has arrived is read first, then come the timers that have passed."""
        self._host.network.resume(self.name)
        self._host.loop.resume(self.name)

    def die(self, crash: Crash) -> None:
        """End as a killed process: in the middle of a call, perhaps of its own."""
        if self.died.done():
            return
        self.resume()  # only what is left of it: a dead process does nothing
        self.died.set_result(None)
        self._store.die(lands=crash.lands)
        self._log.die(crash.kept)
        self.server.simulate_kill()
        self._host.network.crash(PORT, flush=crash.flushes)
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Write the final records."""
        await self.server.flush_and_write_final_records()
        self._log.save()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        context = process_context(self.name) if self._host.is_struck else None
        task = self._host.loop.create_task(work, context=context)
        task.add_done_callback(self._ignore_if_dead)
        self._tasks.append(task)
        return task

    def _ignore_if_dead(self, task: asyncio.Task[None]) -> None:
        """What a dead process raises is not a failure: retrieve it, so that the loop does not report it."""
        if not self.is_alive and not task.cancelled():
            task.exception()

    def _reached(self, point: CrashPoint) -> None:
        if not self.died.done():
            self._reached_by(point)
