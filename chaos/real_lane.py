"""The real lane: one experiment through real processes, real sockets and a real Toxiproxy. Decides nothing.

Starting is one stack, each step undone in reverse however the run ends: Toxiproxy for each link and the workers, then
the reference through these proxies where the experiment asks for one, then the target, which sets the run's start
(epoch) a moment ahead, then its proxies.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from resilience.errors import SystemFailedError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.drivers import FleetDriver, StdioDriver
from resilience.experiment.primitives import ResetAll
from resilience.experiment.schedule import SERVER
from resilience.experiment.spec import Experiment
from resilience.lab.asyncio_clock import call_in_this_loop, canceller_of_this_task, run_all
from resilience.lab.cancellation import Cancellation
from resilience.lab.health import ReferenceFigures
from resilience.lab.recording import Recording
from resilience.lab.system import System
from resilience.runtime import RunClock

from .client_worker import ClientWorker, WorkerPool, shards
from .drivers.process import key_of, resolve_command
from .drivers.worker import DriverWorker
from .limits import client_processes, files_needed, raise_open_files
from .placeholders import provide_programs
from .proxied_link import ProxiedLink
from .real_system import RealSystem
from .reference.storm import ReferenceStorm
from .run_children import RunChildren
from .targets.choice import make_target, require_target
from .toxiproxy.external import ExternalToxiproxy, ask, require_external
from .toxiproxy.provision import Binary, find_toxiproxy
from .worker_main import Shard
from .workers import Worker

T = TypeVar("T")


class RealLane:
    """A :class:`~resilience.lab.system.LaneDriver`; runs one experiment at a time, in the thread that calls it.

    ``toxiproxy`` is the proxy's binary (``None``: found, or built once) or a server that is there already, ``workers``
    the number of client processes (``None``: one for each processor), ``database`` the quiz server's database URL
    (``None``: an SQLite file in the run directory). ``ignores_limits``: it starts with however few open files.
    """

    lane = Lane.REAL

    def __init__(
        self,
        *,
        toxiproxy: Path | ExternalToxiproxy | None = None,
        workers: int | None = None,
        database: str | None = None,
        ignores_limits: bool = False,
    ) -> None:
        self._toxiproxy, self._workers, self._database = toxiproxy, workers, database
        self._ignores_limits = ignores_limits
        self._found: Binary | ExternalToxiproxy | None = None
        self._driver: str | None = None
        self._cancellation = Cancellation()

    def versions(self) -> Mapping[str, str]:
        """The libraries and the proxy whose behaviour shows in a run; the proxy's and the driver's once they ran."""
        driver = {} if self._driver is None else {"driver": self._driver}
        return {"websockets": version("websockets"), **self._proxy_version(), **driver}

    def _proxy_version(self) -> Mapping[str, str]:
        match self._found:
            case None:
                return {}
            case Binary(known_version=known):
                return {"toxiproxy": known}
            case ExternalToxiproxy(version=reported, where=where):
                return {"toxiproxy": f"{reported} at {where}"}

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], cancellation: Cancellation) -> T:
        """Run a coroutine on an event loop of its own; a request to cancel counts until the run cleans up.

        An abort kills all processes, so nothing waits for them any more.
        """
        self._cancellation = cancellation

        async def cancellable() -> T:
            children = RunChildren()
            children.become_current()
            cancellation.bind(canceller_of_this_task(cancellation))
            cancellation.bind_abort(call_in_this_loop(children.kill))
            return await main()

        return asyncio.run(cancellable())

    def start(
        self, experiment: Experiment, seed: int, recording: Recording, on_tick: Callable[[], None]
    ) -> AbstractAsyncContextManager[System]:
        """Start all processes; the run's start is a few seconds ahead then. On exit none is left running.

        Raises HarnessError when a process does not start or the machine is too busy.
        """
        return self._start(experiment, seed, recording, on_tick)

    @asynccontextmanager
    async def _start(
        self, experiment: Experiment, seed: int, recording: Recording, on_tick: Callable[[], None]
    ) -> AsyncIterator[System]:
        provide_programs(experiment)
        require_target(experiment, database=self._database)
        for name, driver in experiment.drivers_in_use.items():
            if isinstance(driver, StdioDriver):
                resolve_command(driver.command, key_of(name))
        raise_open_files(files_needed(experiment, seed), is_enough=self._ignores_limits)
        self._found = found = await self._find_toxiproxy(experiment)
        workers = client_processes(self._workers)
        async with AsyncExitStack() as stack:
            try:
                starter = _Starter(stack, experiment, seed, recording, database=self._database)
                system = await starter.start(found, workers, on_tick)
                self._driver = starter.driver_name
            except BaseException:
                self._cancellation.mask()  # what was started is ended first
                raise
            yield system

    async def _find_toxiproxy(self, experiment: Experiment) -> Binary | ExternalToxiproxy:
        if isinstance(self._toxiproxy, ExternalToxiproxy):
            require_external(experiment, self._toxiproxy)
            return await ask(self._toxiproxy)
        return find_toxiproxy(self._toxiproxy)


class _Starter:
    """Starts the parts of one system; each is on the stack as soon as it exists."""

    def __init__(
        self, stack: AsyncExitStack, experiment: Experiment, seed: int, recording: Recording, *, database: str | None
    ) -> None:
        self._stack, self._experiment, self._seed = stack, experiment, seed
        self._recording, self._run_dir = recording, recording.directory
        self._clock = RunClock()
        self._server = make_target(experiment, seed, self._run_dir, clock=self._clock, database=database)
        self._links: dict[str, ProxiedLink] = {}
        self._pool = WorkerPool([])

    async def start(
        self, toxiproxy: Binary | ExternalToxiproxy, workers: int, on_tick: Callable[[], None]
    ) -> RealSystem:
        """Start proxies and workers at once, measure the reference, start the server, then the clients' countdown."""
        resetting = _links_that_reset(self._experiment, self._seed)
        links = [
            self._start_link(group.name, toxiproxy, resets=group.name in resetting)
            for group in self._experiment.links(self._seed)
        ]
        who = enumerate(shards(self._experiment, self._seed, workers), 1)
        await run_all([*links, *(self._start_worker(number, shard) for number, shard in who)])
        reference = await self._measure_reference(workers, on_tick)
        await self._start_server()
        opening = [link.connect(self._server.address, self._server.health) for link in self._links.values()]
        await run_all(opening)
        addresses = {SERVER: self._server.address} | {name: link.address for name, link in self._links.items()}
        urls = {name: f"ws://{address}{self._server.url_path}" for name, address in addresses.items()}
        await self._pool.go(self._clock.epoch, urls)
        return RealSystem(
            self._experiment,
            self._clock,
            server=self._server,
            links=self._links,
            pool=self._pool,
            isolated=self._experiment.isolated_links(self._seed),
            on_tick=on_tick,
            recording=self._recording,
            reference=reference,
        )

    async def _measure_reference(self, workers: int, on_tick: Callable[[], None]) -> ReferenceFigures | None:
        """What bare clients take to return through the same proxies, if the experiment asks for that."""
        storms = self._experiment.reference.storms
        if not storms:
            return None
        clients = {group.name: len(group.indices) for group in self._experiment.links(self._seed)}
        storm = ReferenceStorm(
            self._links, clients, self._clock, workers=workers, logs=self._run_dir / "logs", on_tick=on_tick
        )
        return await storm.run(storms)

    async def _start_link(self, name: str, toxiproxy: Binary | ExternalToxiproxy, *, resets: bool) -> None:
        if isinstance(toxiproxy, ExternalToxiproxy):
            link = ProxiedLink.share(name, toxiproxy, self._clock, resets=resets)
        else:
            log = self._run_dir / "logs" / f"toxiproxy-{name}.log"
            link = await ProxiedLink.start(name, toxiproxy, log, self._clock, resets=resets)
        self._stack.push_async_callback(link.close)
        self._links[name] = link

    @property
    def driver_name(self) -> str | None:
        """What the drivers that are not ours say they are."""
        names = [worker.driver_name for worker in self._pool.workers if isinstance(worker, DriverWorker)]
        return ", ".join(dict.fromkeys(names)) if names else None

    async def _start_worker(self, number: int, shard: Shard) -> None:
        is_ours = isinstance(self._experiment.driver_named(shard.driver), FleetDriver)
        kind = Worker if is_ours else DriverWorker
        worker: ClientWorker = await kind.start(self._experiment, self._seed, self._run_dir, number, shard)
        self._stack.push_async_callback(worker.stop)
        self._pool.workers.append(worker)
        await worker.prepare()

    async def _start_server(self) -> None:
        await self._server.start()
        self._stack.push_async_callback(self._stop_server)

    async def _stop_server(self) -> None:
        with contextlib.suppress(SystemFailedError):  # the run knows already, or has failed otherwise
            await self._server.stop()


def _links_that_reset(experiment: Experiment, seed: int) -> frozenset[str]:
    """The links on which some window resets connections."""
    return frozenset(
        link
        for window in experiment.windows(seed)
        if ResetAll() in (*window.fault.composition.begin, *window.fault.composition.end)
        for link in window.links
    )
