"""The virtual lane: the real server, the real clients and the real ``websockets`` under a clock of its own.

Starts them over an in-memory network for ``lab.run``, which does the rest; the same experiment, seed and conditions
write the same bytes. Knows no fault kinds: links and server carry out primitive operations.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from importlib.metadata import version
from typing import Any, TypeVar

from resilience.errors import HarnessError, SystemFailedError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.eventlog.writer import EventSink
from resilience.experiment.faults import REPLACES_SERVER
from resilience.experiment.schedule import SERVER
from resilience.experiment.spec import Experiment
from resilience.experiment.virtual_conditions import VirtualConditions
from resilience.lab.asyncio_clock import AsyncioClock, canceller_of_this_task
from resilience.lab.cancellation import Cancellation
from resilience.lab.client_control import ControlledClients
from resilience.lab.fleet import Fleet
from resilience.lab.participants import EVENT, participants_of
from resilience.lab.recording import Recording
from resilience.lab.stored_run import StoredRun
from resilience.random_streams import uniform
from resilience.runtime import RunClock
from resilience.server.app import WEBSOCKET_PATH
from resilience.server.store import MEMORY, SqlStore, Store
from resilience.units import Seconds

from ..simulated_system import SimulatedSystem
from ..watchdog import STALL_S, Watchdog
from .client_process import VirtualClientProcess
from .faultable_link import FaultableVirtualLink
from .faultable_server import FaultableVirtualServer
from .loop import DeadlockError, VirtualLoop, run_virtual
from .memory_store import MemoryStore
from .network import VirtualNetwork
from .pipe import LatencySource
from .server_process import HOST, ORIGIN_S, PORT, VirtualHost

T = TypeVar("T")

FIRST_LINK_PORT = 8001

RELAXED_THRESHOLDS = (100_000, 20, 100)
"""Of the cyclic collector, for its three generations: every 100,000 objects instead of 700."""

_YOUNG = 1
"""The generations of the collector that hold what was made lately: the first two."""

OBSERVATIONS = "virtual"
"""The name under which a run keeps what its clients were shown."""


class VirtualLane:
    """The :class:`~resilience.lab.system.LaneDriver` of this lane.

    A run keeps its rows in a :class:`MemoryStore`, or, when a fault replaces the server's process, in a SQL database in
    memory that outlives the process. ``store``: a database to use for every run instead, emptied before each; the
    tables of a new one take longer to make than a short run takes. ``stall_after``: for how many seconds of real time
    virtual time may stand still.
    """

    lane = Lane.VIRTUAL

    def __init__(self, store: SqlStore | None = None, *, stall_after: Seconds = STALL_S) -> None:
        self._store = store
        self._watchdog = Watchdog(stall_after)

    def versions(self) -> Mapping[str, str]:
        """The library whose behaviour shows in a run."""
        return {"websockets": version("websockets")}

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], cancellation: Cancellation) -> T:
        """Run a coroutine in virtual time; a requested cancellation cancels it.

        Raises :class:`~resilience.errors.SystemFailedError` when virtual time stands still, or nothing is scheduled.
        """

        async def cancellable(loop: VirtualLoop) -> T:
            self._watchdog.now = loop.time
            cancellation.bind(canceller_of_this_task(cancellation))
            return await main()

        with collector_relaxed() if gc.isenabled() else nullcontext():
            try:
                return self._watchdog.run(lambda: run_virtual(cancellable), cancellation)
            except DeadlockError as error:
                raise SystemFailedError(f"the server stopped: {error}") from error

    def start(
        self, experiment: Experiment, seed: int, recording: Recording, on_tick: Callable[[], None]
    ) -> AbstractAsyncContextManager[VirtualSystem]:
        """Start server, links and clients; there are no ticks, since nothing takes real time."""
        del on_tick
        self._watchdog.expect_clients(experiment.clients)
        return self._started(experiment, seed, recording)

    @asynccontextmanager
    async def _started(self, experiment: Experiment, seed: int, recording: Recording) -> AsyncIterator[VirtualSystem]:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise HarnessError("the virtual lane runs in a virtual loop only")
        network = network_of(experiment.virtual, seed)
        loop.connect_network(network)
        with self._empty_store(experiment) as store:
            async with self._running(VirtualSystem(experiment, seed, recording, loop, network, store), loop) as system:
                yield system

    @asynccontextmanager
    async def _running(self, system: VirtualSystem, loop: VirtualLoop) -> AsyncIterator[VirtualSystem]:
        with loop.instant_executor():
            await system.server.start()
        set_storage(loop, system.conditions, system.seed)
        system.start_clients()
        try:
            yield system
        finally:
            await system.stop()

    @contextmanager
    def _empty_store(self, experiment: Experiment) -> Iterator[Store]:
        if self._store is not None:
            self._store.clear()
            yield self._store
            return
        if not any(fault.kind in REPLACES_SERVER for fault in experiment.faults):
            yield MemoryStore()
            return
        store = SqlStore(MEMORY)
        try:
            yield store
        finally:
            store.close()


def network_of(conditions: VirtualConditions, seed: int) -> VirtualNetwork:
    """The network of one run."""
    latency: LatencySource = conditions.latency if conditions.is_even else conditions.packet_s
    return VirtualNetwork(seed, latency_s=latency, shuffled=conditions.shuffled)


def set_storage(loop: VirtualLoop, conditions: VirtualConditions, seed: int) -> None:
    """Let every call of the store from now on take its time."""
    numbers = itertools.count()
    if conditions.storage_spread or conditions.storage_stalls:
        loop.executor_latency = lambda: conditions.storage_s(uniform(seed, "storage", next(numbers)))
    else:
        loop.executor_latency = conditions.storage
    loop.executor_share = conditions.storage_share


@contextmanager
def collector_paused() -> Iterator[None]:
    """Run without the cyclic collector: it finds next to nothing in a run of seconds and costs a fifth of its time.

    Collects before; within another such block it does nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def collector_relaxed() -> Iterator[None]:
    """Run with a cyclic collector that looks rarely, and only at what the run itself has made.

    A long run leaves cycles behind, of closed connections, that would fill the memory without it. What was there before
    is never traversed: the modules of the laboratory alone take longer than a short run.
    """
    thresholds = gc.get_threshold()
    gc.collect(_YOUNG)
    gc.freeze()
    gc.set_threshold(*RELAXED_THRESHOLDS)
    try:
        yield
    finally:
        gc.collect()
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class VirtualSystem(SimulatedSystem):
    """One running system; a :class:`~resilience.lab.system.System`."""

    def __init__(  # noqa: PLR0913, PLR0917 - what one run is made of
        self,
        experiment: Experiment,
        seed: int,
        recording: Recording,
        loop: VirtualLoop,
        network: VirtualNetwork,
        store: Store,
    ) -> None:
        self.seed = seed
        run_clock = RunClock(loop.time(), loop.time)
        self.clock = AsyncioClock(run_clock)
        self._experiment, self._recording, self.conditions = experiment, recording, experiment.virtual
        self._sink = StoppableSink(recording.events, self._on_dial)
        self._host = VirtualHost(experiment, seed, loop, network, self._sink, store)
        self.server = FaultableVirtualServer(self._host, run_clock)
        links = {
            group.name: network.link(group.name, port=FIRST_LINK_PORT + i, upstream=(HOST, PORT))
            for i, group in enumerate(experiment.links(seed))
        }
        self.links = {name: FaultableVirtualLink(link, (HOST, PORT), run_clock) for name, link in links.items()}
        isolated = sorted(experiment.isolated_links(seed))
        self._processes = {name: VirtualClientProcess(name, loop, network) for name in isolated}
        self._groups = {name: ControlledClients(process, self.clock) for name, process in self._processes.items()}
        ports = {SERVER: PORT} | {name: link.port for name, link in links.items()}
        self.fleet = Fleet(
            participants_of(experiment, seed),
            experiment,
            {name: f"ws://{HOST}:{port}{WEBSOCKET_PATH}" for name, port in ports.items()},
            seed,
            clock=run_clock,
            sink=self._sink,
            lane=Lane.VIRTUAL,
            contexts={name: process.context for name, process in self._processes.items()},
            make_rows=recording.rows_of_a_client,
        )
        for process in self._processes.values():
            process.fleet = self.fleet

    @property
    def client_groups(self) -> Mapping[str, ControlledClients]:
        """The clients that some fault acts on, by the names of their links."""
        return self._groups

    def start_clients(self) -> None:
        """Let the clients dial, each at its moment."""
        for process in self._processes.values():
            process.start()
        self.fleet.start()

    def open_sessions(self) -> Mapping[str, int]:
        """How many clients have a session now, by cohort."""
        open_ = self.fleet.open_counts()
        return {cohort.name: open_[cohort.name] for cohort in self._experiment.cohorts}

    def joined_share(self) -> float:
        """The share of all clients that have a session now."""
        return self.fleet.open_counts().total() / self._experiment.clients

    def death(self) -> str | None:
        """Why the server could not start again, if it could not."""
        return self.server.failure

    async def finish(self) -> StoredRun | None:
        """Have the server write its final records; returns what its database holds. Nothing is recorded after it."""
        if self.server.process.is_alive:
            await self.server.process.finish()
        self._sink.is_open = False
        self._sink.require_written()
        self._recording.write_observations(OBSERVATIONS, self.fleet)
        return self._stored_run()

    async def stop(self) -> None:
        """End the clients, then the server."""
        self._sink.is_open = False
        for process in self._processes.values():
            process.resume()
            process.stop()
        await self.fleet.stop()
        if self.server.process.is_alive:
            await self.server.process.server.stop()

    def _on_dial(self) -> None:
        self.server.on_dial()

    def _stored_run(self) -> StoredRun | None:
        stored = self._host.store.latest(EVENT, ORIGIN_S)
        if stored is None:
            return None
        scores, incarnation = self._host.store.scores(stored.lease.key), stored.lease.incarnation
        return StoredRun(stored.plan, stored.progress, scores, stored.answers, incarnation)


class StoppableSink:
    """Passes events on until it is closed; ``on_dial`` is called when a client dials.

    An event that cannot be written closes it: the error is the run's, and no server or client may handle it as its own.
    """

    def __init__(self, sink: EventSink, on_dial: Callable[[], None]) -> None:
        self._sink, self._on_dial = sink, on_dial
        self.is_open = True
        self._failure: OSError | None = None

    def write(self, event: LogEvent) -> None:
        """Take one event."""
        if not self.is_open:
            return
        try:
            self._sink.write(event)
        except OSError as error:
            self._failure, self.is_open = error, False
            return
        if event.kind is LogEventKind.TRANSPORT_OPENING:
            self._on_dial()

    def require_written(self) -> None:
        """Raise the error of the event that could not be written, if there was one."""
        if self._failure is not None:
            raise self._failure
