"""Kills the real server at any boundary, under a clock we own, and looks whether anything was lost.

One seed is one small world: real clients on links, a server that is killed and followed by another on the same
database, until the quiz is over and everybody is back. What must hold is read from the log, from the database and from
what clients were shown (``reports.invariants``, ``reports.durability_checks``).
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reports.durability_checks import DurabilityEvidence, StoredRun, judge
from reports.frames import RunHistory
from reports.invariants import run_checks
from resilience.errors import ResilienceError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role, Verdict
from resilience.eventlog.writer import EventList
from resilience.lab.fleet import Fleet
from resilience.lab.observer import Observation, ObservingClient, make_observing_client
from resilience.lab.participants import EVENT, participants_of
from resilience.lab.run_directory import RunInfo, RunStatus
from resilience.protocol.states import ClientState, ConnectionState
from resilience.quiz.phases import Phase
from resilience.random_streams import uniform
from resilience.runtime import RunClock, log_to
from resilience.server.app import WEBSOCKET_PATH, QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.store import MEMORY, SqlStore
from resilience.units import Instant, Seconds
from sim.keyed_names import keyed_ids, keyed_tokens

from .crash_parts import Disk, LogFile, Reached, Watch
from .crash_plan import LAST_DEATH, LAST_RESTART, ROUGH, Crash, Plan, Point, plan
from .loop import VirtualLoop, run_virtual
from .network import VirtualLink, VirtualNetwork

HOST, PORT, FIRST_LINK_PORT = "server.test", 80, 8001
ORIGIN: Seconds = 1.7e9
"""Wall time of the run's start: so much that rounding shows."""

STALLED: Seconds = 0.3
LONGEST_LIFE: Seconds = 8.0
"""A server that does not come by the boundary where it is to die dies so long after."""

HANDSHAKE_PACKETS = 6
TOLERANCE: Seconds = 0.5
"""A stalled disk may hold a server's start, or a snapshot, up for so long."""

PARTING: Seconds = 2.0
PARTING_SHARE = 0.3

PATIENCE: Seconds = 60.0
POLL: Seconds = 0.25


@dataclass
class SeedResult:
    """What became of one seed. ``broken``: each rule that did not hold, with its counterexample."""

    plan: Plan
    broken: dict[str, str]
    deaths: list[tuple[Instant, Point]]
    events: EventList
    checked: Counter[str] = field(default_factory=Counter)


def crash_seed(seed: int, clients: int) -> SeedResult:
    """Live through one seed."""
    network = VirtualNetwork(seed, latency_s=lambda u: 0.0005 + 0.01 * u * u)
    numbers = itertools.count()

    def storage_latency() -> Seconds:
        u = uniform(seed, "storage", next(numbers))
        return STALLED if u > 0.99 else 0.001 + 0.02 * u  # noqa: PLR2004 - one commit in a hundred

    made = plan(seed, clients)
    return run_virtual(
        lambda loop: World(made, loop, network).live(), network, executor_latency=storage_latency, executor_share=0.5
    )


class World:
    """One seed under way."""

    def __init__(self, made: Plan, loop: VirtualLoop, network: VirtualNetwork) -> None:
        self.plan, self.loop, self.network = made, loop, network
        self.events, self.deaths = EventList(), list[tuple[Instant, Point]]()
        self._store = SqlStore(MEMORY)
        self._new_id, self._new_token = keyed_ids(made.seed), keyed_tokens(made.seed)
        cohorts = [cohort.name for cohort in made.experiment.cohorts]
        self._links = {
            name: network.link(name, port=FIRST_LINK_PORT + i, upstream=(HOST, PORT)) for i, name in enumerate(cohorts)
        }
        self._dialled: Callable[[], None] = lambda: None
        self._witnesses: dict[str, ObservingClient] = {}
        self._gone: dict[str, ObservingClient] = {}

    async def live(self) -> SeedResult:
        """From the first start to the judgement."""
        fleet = self._fleet()
        fleet.start()
        self._disturb(self._links.get(ROUGH))
        parting = self.loop.create_task(self._part(fleet))
        trouble: dict[str, str] = {}
        try:
            for i, crash in enumerate(self.plan.crashes):
                await self._outlive(i, crash)
            last = Life(self, len(self.plan.crashes), None)
            await last.start()
            trouble = await self._settle(last.server)
            await last.end()
        except ResilienceError as error:
            trouble["no_error"] = f"{type(error).__name__}: {error}"
        parting.cancel()
        outcome = self._judged(trouble)
        await fleet.stop()
        self._store.close()
        return outcome

    async def _outlive(self, i: int, crash: Crash) -> None:
        if self.loop.time() > LAST_DEATH:
            return
        life = Life(self, i, crash)
        await life.start()
        died_at, point = await life.death()
        self.deaths.append((died_at, point))
        await asyncio.sleep(max(min(crash.pause, LAST_RESTART - self.loop.time()), 0.0))

    async def _settle(self, server: QuizServer) -> dict[str, str]:
        """Wait until the quiz is over and every client is back and up to date; what still is missing after a while."""
        until = self.loop.time() + PATIENCE
        while missing := self._unsettled(server):
            if self.loop.time() > until:
                return {"everything_settles": missing}
            await asyncio.sleep(POLL)
        return {}

    def _unsettled(self, server: QuizServer) -> str | None:
        room = server.hubs[EVENT].room
        if room.game.phase is not Phase.FINISHED:
            return f"the quiz is in {room.game.phase}"
        for actor, machine in self._witnesses.items():
            if actor in self._gone:
                continue
            if machine.state is not ClientState.OPEN:
                return f"{actor} is {machine.state}"
            if machine.pending:
                return f"{actor} waits for the verdict on {sorted(machine.pending)}"
            if (machine.epoch, machine.seq) != (room.epoch, room.seq):
                return f"{actor} is at {machine.epoch}/{machine.seq}, the room at {room.epoch}/{room.seq}"
        for actor, machine in self._gone.items():
            session = room.sessions[machine.participant or "?"]
            if session.state is not ConnectionState.DISCONNECTED:
                return f"{actor} is gone for good, the server has it {session.state}"
        return None

    # parts ------------------------------------------------------------------------------------------------------------

    def _fleet(self) -> Fleet:
        experiment, seed = self.plan.experiment, self.plan.seed
        urls = {name: f"ws://{HOST}:{link.port}{WEBSOCKET_PATH}" for name, link in self._links.items()}
        clock = RunClock(0.0, self.loop.time)
        participants = participants_of(experiment)
        fleet = Fleet(
            participants, experiment, urls, seed, clock=clock, sink=self, lane=Lane.VIRTUAL, play=make_observing_client
        )
        self._witnesses = {
            participant.actor: client.machine
            for participant, client in fleet.clients
            if isinstance(client.machine, ObservingClient)
        }
        return fleet

    def write(self, event: LogEvent) -> None:
        """Take one event of a client."""
        self.events.write(event)
        if event.kind is LogEventKind.TRANSPORT_OPENING:
            self._dialled()

    def on_dial(self, callback: Callable[[], None]) -> None:
        """Have this called at every dial from now on."""
        self._dialled = callback

    def _disturb(self, link: VirtualLink | None) -> None:
        """A few short faults on the link that does not hold."""
        if link is None:
            return
        for i in range(int(4 * uniform(self.plan.seed, "faults"))):
            kind, at, long = (uniform(self.plan.seed, "fault", i, what) for what in ("kind", "at", "long"))
            begin, end = _FAULTS[int(kind * len(_FAULTS))]
            self.loop.call_at(LAST_RESTART * at, begin, link)
            self.loop.call_at(LAST_RESTART * at + 2.0 * long, end, link)

    async def _part(self, fleet: Fleet) -> None:
        """In some worlds one participant goes for good, with a word or without, so that it must be cleaned up."""
        kind, at = uniform(self.plan.seed, "parting"), uniform(self.plan.seed, "parting", "at")
        await asyncio.sleep(PARTING + at * (LAST_DEATH - PARTING))
        participant, client = fleet.clients[0]
        machine = self._witnesses[participant.actor]
        if kind < PARTING_SHARE and machine.state is ClientState.OPEN:
            self._gone[participant.actor] = machine
            await (client.leave() if kind < PARTING_SHARE / 3 else client.stop())

    def serve(self, number: int, clock: Watch, disk: Disk, log: LogFile) -> QuizServer:
        """The ``number``-th server of this world, from 0."""
        experiment, seed = self.plan.experiment, self.plan.seed
        return QuizServer(
            [EventSpec(EVENT, experiment.quiz.plan(seed), f"run{number}", seed)],
            experiment.server,
            disk,
            clock=clock,
            log=log_to(log, Lane.VIRTUAL, Role.SERVER, "server"),
            new_id=self._new_id,
            new_token=self._new_token,
            wall_clock=lambda: self.loop.time() + ORIGIN,
            flush=log.flush,
        )

    def disk(self, reached: Reached) -> Disk:
        """A server's way to the database."""
        return Disk(self._store, reached)

    # judgement --------------------------------------------------------------------------------------------------------

    def _judged(self, trouble: dict[str, str]) -> SeedResult:
        self.events.sort(key=lambda event: event.t)
        log = RunHistory(_info(self.plan), self.plan.experiment, self.events)
        evidence = DurabilityEvidence(log, self._ledger(), self._sights(), TOLERANCE)
        verdicts = [*run_checks(log), *judge(evidence)]
        outcome = SeedResult(self.plan, dict(trouble), self.deaths, self.events)
        for item in verdicts:
            outcome.checked[item.name] += item.checked
            stumbled = item.verdict is Verdict.INCONCLUSIVE and item.detail.startswith("the check itself failed")
            if item.verdict is Verdict.FAIL or stumbled:
                outcome.broken[item.name] = item.detail
        return outcome

    def _ledger(self) -> StoredRun:
        stored = self._store.latest(EVENT, ORIGIN)
        if stored is None:
            raise LookupError("the database has no run at all")
        return StoredRun(stored.plan, stored.progress, self._store.scores(stored.lease.key), stored.answers)

    def _sights(self) -> Mapping[str, list[Observation]]:
        return {actor: machine.observations for actor, machine in self._witnesses.items()}


class Life:
    """One server from its start to its death, which may come before the start is over."""

    def __init__(self, world: World, number: int, crash: Crash | None) -> None:
        self._world, self._crash, self._loop = world, crash, world.loop
        self._armed, self._skip = False, crash.skip if crash else 0
        self._death: asyncio.Future[tuple[Instant, Point]] = world.loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        shift = world.loop.time() - world.plan.clocks[number]
        clock = Watch(shift, world.loop.time, self._reached)
        self._disk = world.disk(self._reached)
        self._log = LogFile(world.events, shift, self._reached)
        self.server = world.serve(number, clock, self._disk, self._log)

    async def start(self) -> None:
        """Start; returns when it listens or is dead."""
        crash = self._crash
        if crash is not None:
            self._aim(crash)
        starting = self._loop.create_task(self.server.start(HOST, PORT))
        self._tasks.append(starting)
        await asyncio.wait((starting, asyncio.ensure_future(self._death)), return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not starting.cancelled():
            starting.result()
            if crash is not None and crash.point is Point.LISTENING:
                self._loop.call_later(0.005 * crash.skip, self._die, Point.LISTENING)

    async def death(self) -> tuple[Instant, Point]:
        """When and at which boundary it died."""
        return await self._death

    async def end(self) -> None:
        """Write the closing records."""
        await self.server.flush_and_write_final_records()
        self._log.save()
        self.server.simulate_kill()

    # dying ------------------------------------------------------------------------------------------------------------

    def _aim(self, crash: Crash) -> None:
        """Whatever the point is, the server dies in time for another one to go on with the quiz."""
        left = LAST_DEATH - self._loop.time()
        armed_at = min(crash.armed_at, left)
        self._loop.call_later(min(armed_at + LONGEST_LIFE, left), self._die, Point.INSTANT)
        if crash.point in (Point.TAKING_UP, Point.READING):
            self._armed, self._skip = True, crash.skip % 2
        else:
            self._loop.call_later(armed_at, self._arm, crash)

    def _arm(self, crash: Crash) -> None:
        self._armed = True
        if crash.point is Point.INSTANT:
            self._die(Point.INSTANT)
        elif crash.point is Point.HANDSHAKE:
            self._world.on_dial(self._dialled)
        elif crash.point is Point.DRAIN and not self._death.done():
            self._tasks.append(self._loop.create_task(self.server.stop()))
            self._loop.call_later(0.2 * (crash.skip + crash.kept), self._die, Point.DRAIN)

    def _dialled(self) -> None:
        if self._crash is not None:
            after = 0.01 * HANDSHAKE_PACKETS * self._crash.kept
            self._loop.call_later(after, self._reached, Point.HANDSHAKE)

    def _reached(self, point: Point) -> None:
        crash = self._crash
        if crash is None or not self._armed or self._death.done():
            return
        if crash.point is Point.ORDERED and point is Point.EVENT:
            self._loop.call_soon(self._count, Point.ORDERED)
        elif point is crash.point:
            self._count(point)

    def _count(self, point: Point) -> None:
        if self._skip:
            self._skip -= 1
        else:
            self._die(point)

    def _die(self, point: Point) -> None:
        """As a process that is killed: in the middle of a call, perhaps of its own."""
        crash = self._crash
        if crash is None or self._death.done():
            return
        self._death.set_result((self._loop.time(), point))
        self._disk.die(lands=crash.lands)
        self._log.die(crash.kept)
        self.server.simulate_kill()
        self._world.network.crash(PORT, flush=crash.flushes)
        self._world.on_dial(lambda: None)
        for task in self._tasks:
            task.cancel()


def _cut(link: VirtualLink) -> None:
    link.cut()


def _nothing(link: VirtualLink) -> None:
    del link


def _refuse(link: VirtualLink) -> None:
    link.refuse(True)  # noqa: FBT003 - the link's own switch


def _allow(link: VirtualLink) -> None:
    link.refuse(False)  # noqa: FBT003 - the link's own switch


def _swallow(link: VirtualLink) -> None:
    link.blackhole(up=True, down=True)


def _pass(link: VirtualLink) -> None:
    link.blackhole(up=False, down=False)


_FAULTS: tuple[tuple[Callable[[VirtualLink], None], Callable[[VirtualLink], None]], ...] = (
    (_cut, _nothing),
    (_refuse, _allow),
    (_swallow, _pass),
)


def _info(made: Plan) -> RunInfo:
    return RunInfo(
        experiment=made.experiment.name,
        experiment_digest=made.experiment.digest,
        lane=Lane.VIRTUAL,
        seed=made.seed,
        started_at="",
        duration_s=made.experiment.duration,
        status=RunStatus.COMPLETED,
    )
