"""The rounds: kill, restart, wait until everybody is back, go on. Knows processes and clients; judges nothing.

The clients are real ones in this process, on direct connections; every word of theirs goes to their own event log.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from chaos.signals import SignalCancellation
from chaos.worker_main import LagMeter
from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.eventlog.writer import EventWriter
from resilience.lab.fleet import Fleet
from resilience.lab.observer import Observation, ObservingClient, make_observing_client
from resilience.lab.participants import participants_of
from resilience.protocol.states import ClientState
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .plan import PERIOD, CrashPlan, experiment, kill
from .server import Server

STEADY: Seconds = 30.0
"""How long the server may take to start, and everybody to join, before there is anything to kill."""

BACK: Seconds = 30.0
"""How long anybody may take to come back."""

TICK: Seconds = 0.01
RECENT = 8
"""A client is shown fewer things than this from one question to the next."""

AFTER_REVEAL: Seconds = 0.3
"""Scores of the last reveal are shown by then, the next question is not open yet."""


@dataclass
class Round:
    """One death. Instants on the run clock; ``in_flight``: answers sent and not acknowledged, by client and ref."""

    number: int
    aim: str
    killed_at: Instant
    in_flight: tuple[tuple[str, str], ...]
    back: dict[str, Seconds] = field(default_factory=dict)
    """Seconds from the death until each client was restored."""


@dataclass
class Campaign:
    """What happened; ``broken`` is why the rounds ended early, by rule. ``db`` is where the server wrote.

    ``origin`` is the wall time of the run clock's zero, ``lag`` the worst lateness of the clients' own loop.
    """

    db: str
    origin: float
    rounds: list[Round] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    sights: dict[str, list[Observation]] = field(default_factory=dict)
    lag: Seconds = 0.0
    wall_s: Seconds = 0.0


Say = Callable[[Round], None]
"""Told of every round when it is over."""


class _Clients:
    """The fleet, and when each of it was last welcomed."""

    def __init__(self, plan: CrashPlan, url: str, clock: RunClock, log: Path) -> None:
        self._writer = EventWriter(log)
        self._answers, self._enough = 0, asyncio.Event()
        self.welcomed: dict[str, Instant] = {}
        world = experiment(plan)
        urls = {cohort.name: url for cohort in world.cohorts}
        self.fleet = Fleet(
            participants_of(world),
            world,
            urls,
            plan.seed,
            clock=clock,
            sink=self,
            lane=Lane.REAL,
            play=make_observing_client,
        )
        self.machines = {m.actor: c.machine for m, c in self.fleet.clients if isinstance(c.machine, ObservingClient)}

    def write(self, event: LogEvent) -> None:
        """Take one event of a client."""
        self._writer.write(event)
        if event.kind in (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED):
            self.welcomed[event.actor] = event.t
        elif event.kind is LogEventKind.ANSWER_SUBMITTED:
            self._answers -= 1
            if self._answers == 0:
                self._enough.set()

    async def answers(self, count: int, within: Seconds) -> None:
        """Wait until so many more answers were given, but no longer than that."""
        self._answers = count
        self._enough.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._enough.wait()

    def missing(self, since: Instant) -> list[str]:
        """Who has not been welcomed since then, or is not connected now."""
        return [
            actor
            for actor, machine in self.machines.items()
            if machine.state is not ClientState.OPEN or self.welcomed.get(actor, since) <= since
        ]

    def in_flight(self) -> tuple[tuple[str, str], ...]:
        """Answers that are on their way over a connection."""
        return tuple(
            (actor, f"{answer.question}/{answer.key}")
            for actor, machine in self.machines.items()
            if machine.state is ClientState.OPEN
            for answer in machine.pending.values()
        )

    def closing(self) -> Instant | None:
        """When the question that was shown last closes, or closed, as it was told."""
        recent = (sight for machine in self.machines.values() for sight in machine.observations[-RECENT:])
        return max((s.t + s.remaining for s in recent if s.remaining is not None), default=None)

    async def close(self) -> None:
        """End all clients; their log is on disk afterwards."""
        await self.fleet.stop()
        self._writer.close()


class Rounds:
    """One campaign under way."""

    def __init__(self, plan: CrashPlan, run_dir: Path, say: Say) -> None:
        self._plan, self._run_dir, self._say = plan, run_dir, say
        self._clock = RunClock()
        self.server = Server(experiment(plan), run_dir, db=plan.db, seed=plan.seed, epoch=self._clock.epoch)
        self.result = Campaign(self.server.db, origin=time.time() - self._clock.now())
        self._clients = _Clients(plan, self.server.url, self._clock, run_dir / "events" / "clients.jsonl")

    async def run(self, signals: SignalCancellation) -> Campaign:
        """All rounds, then an orderly end; whatever happens, nothing is left running."""
        meter = LagMeter()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._clients.close)
            stack.push_async_callback(self.server.kill)
            metering = asyncio.create_task(meter.run())
            stack.callback(metering.cancel)
            try:
                await self._begin()
                await self._go_on()
            finally:
                signals.mask()
                self.result.lag, self.result.wall_s = meter.max, self._clock.now()
        self.result.sights = {actor: machine.observations for actor, machine in self._clients.machines.items()}
        return self.result

    async def _begin(self) -> None:
        await self.server.start(fresh=True)
        self._clients.fleet.start()
        if await self._all_back(float("-inf"), STEADY):
            why = self.server.death() or f"not everybody had joined after {STEADY:g} s"
            raise HarnessError(f"there is nothing to kill: {why}")
        while self._clients.closing() is None:
            await self._until(self._clock.now() + TICK)

    async def _go_on(self) -> None:
        for number in range(1, self._plan.rounds + 1):
            await self._round(number)
            if self.result.broken:
                return
        closes = self._clients.closing() or 0.0
        is_over = closes < self._clock.now()
        await self._until(closes + AFTER_REVEAL + (PERIOD if is_over else 0.0))
        await self.server.stop()

    async def _round(self, number: int) -> None:
        due = kill(self._plan, number, self._clock.now(), self._clients.closing() or 0.0)
        await self._until(due.at)
        if due.answer:
            await self._clients.answers(due.answer, PERIOD)
            await asyncio.sleep(due.delay)
        death = self.server.death()
        if death:
            self.result.broken["server_lives"] = f"round {number}: {death}"
            return
        this = Round(number, due.aim, self._clock.now(), self._clients.in_flight())
        self.result.rounds.append(this)
        await self.server.kill()
        await self.server.start()
        missing = await self._all_back(this.killed_at, BACK)
        this.back = {actor: t - this.killed_at for actor, t in self._clients.welcomed.items() if t > this.killed_at}
        if missing:
            why = self.server.death() or f"{len(missing)} clients, {missing[0]} among them, after {BACK:g} s"
            self.result.broken["everybody_returns"] = f"round {number}: not back: {why}"
        self._say(this)

    async def _all_back(self, since: Instant, within: Seconds) -> list[str]:
        """Wait until everybody has been welcomed since then; returns who was not."""
        until = self._clock.now() + within
        while (missing := self._clients.missing(since)) and self._clock.now() < until and not self.server.death():
            await self._until(self._clock.now() + TICK)
        return missing

    async def _until(self, when: Instant) -> None:
        await asyncio.sleep(max(when - self._clock.now(), 0.0))
