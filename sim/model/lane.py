"""The model lane: server, links, clients and faults of one experiment in one SimPy environment. No decision lives here.

:class:`ModelLane` is the laboratory's way in; what a run is, from its start to its end, is ``resilience.lab.run``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from resilience.errors import InjectionError
from resilience.eventlog.vocabulary import Lane, Role
from resilience.experiment.costs import ModelCosts
from resilience.experiment.primitives import (
    CloseAll,
    DrainServer,
    Impose,
    Kill,
    Lift,
    LinkOperation,
    ResetAll,
    ResumeServer,
    ServerOperation,
    Start,
    SuspendServer,
)
from resilience.experiment.schedule import SERVER
from resilience.experiment.spec import Experiment
from resilience.lab.cancellation import Cancellation
from resilience.lab.client_control import ControlledClients
from resilience.lab.recording import Recording
from resilience.lab.stored_run import StoredRun
from resilience.lab.system import CallTimes
from resilience.protocol.server.drain import DRAIN_TICK_S
from resilience.random_streams import uniform
from resilience.runtime import log_to
from resilience.units import Instant, Seconds

from ..simulated_system import SimulatedSystem
from ..watchdog import STALL_S, Watchdog
from .canary import ModelCanary
from .clock import SimEnvironment
from .encoding import IdentityCodec, MessageCodecHook
from .fleet import ModelFleet, Participant
from .lab_clock import SimLabClock, run_to_end
from .link import ModelLink
from .server import ModelServerDriver
from .threads import ModelProcessors

T = TypeVar("T")

END_TIMEOUT_S: Seconds = 10.0
"""How long a server may take to end after the time that its fault left it."""


class ModelLinkControl:
    """One modelled link as the laboratory's injector uses it."""

    def __init__(self, link: ModelLink, clock: SimLabClock, server: ModelServerDriver, costs: ModelCosts) -> None:
        self.link, self._clock, self._server, self._costs = link, clock, server, costs

    async def apply(self, operation: LinkOperation) -> CallTimes:
        """Carry out one operation, as late as the costs say. InjectionError for a condition to lift that does not hold.

        To impose a condition takes no time.
        """
        ordered, costs = self._clock.now(), self._costs
        match operation:
            case CloseAll() | ResetAll():
                effect, done = costs.injection, max(costs.injection, costs.injection_call)
            case Lift():
                effect = done = costs.healing
            case Impose():
                effect = done = 0.0
        await self._wait_until(ordered + effect)
        self.link.apply(operation)
        await self._wait_until(ordered + done)
        return CallTimes(ordered, self._clock.now())

    async def _wait_until(self, when: Instant) -> None:
        if when > self._clock.now():
            await self._clock.sleep_until(when)

    def canary(self) -> ModelCanary:
        """A canary that crosses this link."""
        return ModelCanary(self._clock, self.link, self._server)

    async def repair(self) -> None:
        """Lift every condition."""
        self.link.repair()


class ModelServerControl:
    """The modelled server as the laboratory's injector uses it."""

    def __init__(
        self, server: ModelServerDriver, links: Sequence[ModelLink], clock: SimLabClock, costs: ModelCosts
    ) -> None:
        self._server, self._links, self._clock, self._costs = server, links, clock, costs
        self._kills = self._suspensions = 0
        server.on_end = self._end_connections

    async def apply(self, operation: ServerOperation) -> CallTimes:
        """Carry out one operation.

        Kills and drains add up: the server starts with as many starts as there were of both. So do suspensions of one
        process. An order to end wakes a suspended process, and so does the start of the next one.
        """
        before = self._clock.now()
        match operation:
            case Kill():
                self._kills += 1
                if self._costs.kill:
                    await self._clock.sleep_until(before + self._costs.kill)
                self._server.kill()
                self._end_connections()
            case DrainServer():
                self._kills += 1
                self._server.resume()
                self._server.drain()
            case Start():
                self._kills = max(self._kills - 1, 0)
                if not self._kills:
                    await self._replace()
            case SuspendServer():
                self._suspensions += 1
                self._server.suspend()
            case ResumeServer():
                self._suspensions = max(self._suspensions - 1, 0)
                if not self._suspensions:
                    self._server.resume()
        return CallTimes(before, self._clock.now())

    async def _replace(self) -> None:
        """Start the next process once an orderly end is over; InjectionError when that takes too long."""
        deadline = self._clock.now() + END_TIMEOUT_S
        self._server.resume()
        while self._server.is_draining:
            if self._clock.now() >= deadline:
                raise InjectionError(f"the server did not end within {END_TIMEOUT_S:g} s of the end of its window")
            await self._clock.sleep_until(self._clock.now() + DRAIN_TICK_S)
        self._server.start()

    def _end_connections(self) -> None:
        for link in self._links:
            link.upstream_died()

    def canary(self) -> ModelCanary:
        """A canary that goes straight to the server."""
        return ModelCanary(self._clock, None, self._server)

    async def repair(self) -> None:
        """Let the server run; nothing else can break here but by kill and start."""
        self._kills = self._suspensions = 0
        self._server.resume()


class ModelSystem(SimulatedSystem):
    """Everything that takes part in one run; a :class:`~resilience.lab.system.System`."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        recording: Recording,
        environment: SimEnvironment,
        wire: MessageCodecHook,
    ) -> None:
        sink = recording.events
        self._experiment, self._seed, self._sink = experiment, seed, sink
        costs = experiment.costs
        self.environment, self.clock = environment, SimLabClock(environment)
        log = log_to(sink, Lane.MODEL, Role.SERVER, "server")
        processors = ModelProcessors(environment, costs)
        self.driver = ModelServerDriver(experiment, seed, clock=environment, processors=processors, log=log, wire=wire)
        names = [group.name for group in experiment.links(seed)]
        links = {
            name: ModelLink(
                environment, costs, self.driver, partial(uniform, seed, "spread", name), thread=processors.thread()
            )
            for name in (*names, SERVER)
        }
        direct = links.pop(SERVER)
        self.links = {name: ModelLinkControl(link, self.clock, self.driver, costs) for name, link in links.items()}
        self.server = ModelServerControl(self.driver, (*links.values(), direct), self.clock, costs)
        self.fleet = ModelFleet(
            experiment,
            seed,
            clock=environment,
            processors=processors,
            links=links,
            direct=direct,
            sink=sink,
            wire=wire,
            make_rows=recording.rows_of_a_client,
        )
        self._groups = {name: ControlledClients(process, self.clock) for name, process in self.fleet.isolated().items()}

    @property
    def client_groups(self) -> Mapping[str, ControlledClients]:
        """The clients that some fault acts on, by the names of their links."""
        return self._groups

    @property
    def clients(self) -> Sequence[Participant]:
        """Every participant, and every second tab."""
        return self.fleet.clients

    def open_sessions(self) -> Mapping[str, int]:
        """How many clients have a session now, by cohort."""
        return Counter(client.cohort for client in self.clients if client.is_open)

    def joined_share(self) -> float:
        """The share of all clients that have a session now."""
        return sum(client.is_open for client in self.clients) / self._experiment.clients

    def death(self) -> str | None:
        """A modelled server never ends by itself."""
        return None

    async def finish(self) -> StoredRun:
        """Write the server's final records; returns what its store holds."""
        self.driver.write_final_records()
        store = self.driver.store
        plan = self._experiment.quiz.plan(self._seed)
        answers = tuple(store.answers.values())
        return StoredRun(plan, store.state, store.scores(), answers, self.driver.incarnation)


class ModelLane:
    """The SimPy model of server, links and clients, all running the production machines.

    The same experiment and seed give the same events, byte for byte, in any process. ``wire`` may replace what
    each end receives of a message. ``system`` is that of the last run. ``stall_after``: for how many seconds of real
    time modelled time may stand still.
    """

    lane = Lane.MODEL

    def __init__(
        self,
        wire: MessageCodecHook | None = None,
        *,
        stall_after: Seconds = STALL_S,
    ) -> None:
        self._watchdog = Watchdog(stall_after)
        self._wire = wire or IdentityCodec()
        self._environment = SimEnvironment()
        self.system: ModelSystem | None = None

    def versions(self) -> Mapping[str, str]:
        """SimPy's, which orders the events."""
        return {"simpy": version("simpy")}

    def run(self, main: Callable[[], Coroutine[Any, Any, T]], cancellation: Cancellation) -> T:
        """Run a coroutine to its end in an environment of its own.

        Raises :class:`~resilience.errors.SystemFailedError` when modelled time stands still, or nothing is scheduled.
        """
        self._environment = environment = SimEnvironment()

        def simulate() -> T:
            self._watchdog.now = lambda: environment.now
            return run_to_end(environment, main, cancellation)

        return self._watchdog.run(simulate, cancellation)

    @asynccontextmanager
    async def start(
        self, experiment: Experiment, seed: int, recording: Recording, on_tick: Callable[[], None]
    ) -> AsyncIterator[ModelSystem]:
        """Start the system; its clients dial from now on."""
        del on_tick
        self._watchdog.expect_clients(experiment.clients)
        system = ModelSystem(experiment, seed, recording, self._environment, self._wire)
        self.system = system
        system.fleet.ramp_up()
        yield system
        recording.write_observations("clients", system.fleet)
