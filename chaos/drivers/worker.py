"""The runner's end of a driver's process: opens its clients, greets it, and writes what it reports to the event log.

Its event log is written here, in the runner, with the driver's times on the run's clock. Decides nothing about
verdicts: a driver that breaks the protocol, ends, falls silent or lies about time raises
:class:`~resilience.errors.DriverError`, and the run ends as the laboratory's failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from resilience.errors import DriverError, HarnessError, InjectionError
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.eventlog.writer import EventWriter
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.primitives import ClientOrder
from resilience.experiment.spec import Experiment
from resilience.lab.asyncio_clock import run_all
from resilience.lab.client_control import NOTHING_ORDERED, PULSE_S
from resilience.lab.health import LagMeter, ProcessLag
from resilience.lab.participants import first_dial
from resilience.lab.recording import EVENTS, OBSERVATIONS, write_lines
from resilience.lab.second_clients import OrderCounts
from resilience.protocol.effects import Record
from resilience.random_streams import derive_key
from resilience.runtime import RunClock, log_to
from resilience.units import Instant, Seconds

from ..client_worker import ClientWorker
from ..process_meter import cpu_seconds, lag_summary
from ..supervised import SupervisedProcess
from ..worker_main import Shard, members
from .clients import DriverClient
from .clock import DriverClock, Greeting
from .messages import (
    VERSION,
    Act,
    BrokenLineError,
    ClientReport,
    DriverEnded,
    DriverReady,
    ExchangeReport,
    Hello,
    Open,
    Report,
    StopDriver,
)
from .observed import DriverObserver
from .process import DriverProcess, environment_of, key_of, resolve_command

READY_TIMEOUT_S: Seconds = 30.0
"""How long a driver may take to load and to have its clock measured."""

SILENCE_TIMEOUT_S: Seconds = 10.0
"""A driver that has not answered a greeting for this long is stuck."""

STOP_TIMEOUT_S: Seconds = 10.0

_SEED_BITS = 53
"""What every language's numbers can hold."""


def stdio_driver(experiment: Experiment, name: str | None) -> StdioDriver:
    """The driver that cohorts name so. HarnessError when that is this project's own fleet."""
    driver = experiment.driver_named(name)
    if isinstance(driver, StdioDriver):
        return driver
    raise HarnessError("this experiment's clients are the fleet's own")


class DriverWorker(ClientWorker):
    """One process of a driver, with the clients of its shard.

    Their records go to the event log below ``run_dir``, and what they were shown, if the driver reports it, to the
    observations.
    """

    def __init__(self, process: DriverProcess, shard: Shard, experiment: Experiment, seed: int, run_dir: Path) -> None:
        super().__init__(process.child, shard)
        self.process, self.driver = process, stdio_driver(experiment, shard.driver)
        self.driver_name = ""
        self._experiment, self._seed = experiment, seed
        self._participants = {who.actor: who for who in members(shard, experiment, seed)}
        must_resume = self.driver.must_resume
        self._clients = {name: DriverClient(name, must_resume=must_resume) for name in self._participants}
        self._opened: set[str] = set()
        observed = self._participants if self.driver.quiz_records else ()
        self._observers = {name: DriverObserver(name) for name in observed}
        self._observations = run_dir / OBSERVATIONS / f"{process.name}.jsonl"
        self._writer = EventWriter(run_dir / EVENTS / f"{process.name}.jsonl")
        self._logs = {
            name: log_to(self._writer, Lane.REAL, Role.CLIENT, name, who.cohort)
            for name, who in self._participants.items()
        }
        self._run, self._urls = RunClock(), dict[str, str]()
        self._clock = DriverClock()
        self._sent: dict[int, Instant] = {}
        self._greeted = 0
        self._lag = LagMeter()
        self._cpu: Seconds | None = None
        self._ended = False

    @classmethod
    async def start(cls, experiment: Experiment, seed: int, run_dir: Path, number: int, shard: Shard) -> DriverWorker:
        """Start the driver's process of this number and shard. UsageError when there is no such program."""
        name = f"clients-{number}"
        command = resolve_command(stdio_driver(experiment, shard.driver).command, key_of(shard.driver))
        log, env = run_dir / "logs" / f"{name}.log", environment_of(os.environ)
        child = await SupervisedProcess.spawn(name, command, log, piped=True, guarded=True, env=env)
        return cls(DriverProcess(child), shard, experiment, seed, run_dir)

    async def prepare(self) -> None:
        """Wait until it answers, and measure its clock."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                self._clock, ready = await self.process.measure_clock()
        except TimeoutError:
            answered = f"did not answer hello within {READY_TIMEOUT_S:g} s"
            raise DriverError(f"{self.process.name} {answered}; {self.child.log_tail()}") from None
        self._greeted, self.driver_name = ready.n, ready.name

    async def go(self, epoch: Instant, urls: Mapping[str, str]) -> None:
        """The run starts at ``epoch``; the clients of each link connect to its URL."""
        self._run, self._urls = RunClock(epoch), dict(urls)
        log = log_to(self._writer, Lane.REAL, Role.RUNNER, self.process.name)
        name, uncertainty = self.driver_name or None, self._clock.uncertainty
        log(Record(LogEventKind.DRIVER_CLOCK, self._run.now(), value=uncertainty, detail=name))

    async def read_reports(self) -> None:
        """Open the clients at their times, let them act, and write what the driver reports, until cancelled."""
        await run_all([self._read(), self._greet(), self._open_clients(), self._act()])

    async def order(self, order: ClientOrder) -> None:
        """InjectionError: a driver takes no such order, so that no experiment with one asks for it."""
        raise InjectionError(f"{self.process.name}: clients of another program cannot carry out {type(order).__name__}")

    @property
    def order_counts(self) -> OrderCounts:
        """Nothing is ever ordered."""
        return NOTHING_ORDERED

    @property
    def open(self) -> Mapping[str, int]:
        """Open sessions by cohort, by what the driver reported last."""
        return Counter(self._participants[name].cohort for name, client in self._clients.items() if client.in_session)

    @property
    def has_ended_in_order(self) -> bool:
        """Whether it reported its end and exited with 0."""
        return self._ended and self.child.exit_code == 0

    @property
    def lag(self) -> ProcessLag:
        """How late it answered greetings, and what it used."""
        return lag_summary(self.process.name, "worker", self._lag, self._cpu)

    def suspend(self) -> None:
        """Stop the process where it is; greetings under way measure nothing any more."""
        self._sent.clear()
        super().suspend()

    def resume(self) -> None:
        """Let the process continue."""
        self._sent.clear()
        super().resume()

    async def stop(self) -> None:
        """Let it end its clients and itself; killed when it does not obey. Completes what is recorded if it does."""
        self.resume()
        with contextlib.suppress(DriverError, TimeoutError):  # it is gone, or is about to be
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.process.send(StopDriver())
                while not isinstance(await self.process.receive(), DriverEnded):
                    pass
            self._ended = True
        if not await self.child.ended(STOP_TIMEOUT_S if self._ended else 0.0):
            await self.child.end_now()
        if not self.has_ended_in_order:
            self._writer.abandon()
            return
        self._writer.close()
        if self._observers:
            observed = (observer.lines() for observer in self._observers.values())
            write_lines(self._observations, itertools.chain.from_iterable(observed))

    # orders -----------------------------------------------------------------------------------------------------------

    async def _greet(self) -> None:
        """Greet it at the pace of signs of life, but while it is suspended."""
        self.heard_at = asyncio.get_running_loop().time()
        while True:
            if not self.is_suspended:
                self._require_answers()
                self._greeted += 1
                self._sent[self._greeted] = time.monotonic()
                await self.process.send(Hello(VERSION, self._greeted))
            self._writer.flush()
            self._cpu = cpu_seconds(self.child.process.pid) or self._cpu
            await asyncio.sleep(PULSE_S)

    def _require_answers(self) -> None:
        silent = asyncio.get_running_loop().time() - self.heard_at
        if silent > SILENCE_TIMEOUT_S:
            last = f"its last line was number {self.process.lines}"
            raise DriverError(f"{self.process.name} has not answered hello for {SILENCE_TIMEOUT_S:g} s; {last}")

    async def _open_clients(self) -> None:
        """Open each client at its own moment of the ramp."""
        dials = [(first_dial(self._experiment, who, self._seed), who) for who in self._participants.values()]
        for at, who in sorted(dials, key=lambda dial: dial[0]):
            await asyncio.sleep(max(at - self._run.now(), 0.0))
            seed = derive_key(self._seed, who.actor) >> (64 - _SEED_BITS)
            self._opened.add(who.actor)
            await self.process.send(Open(who.actor, self._urls[who.link], seed, self.driver.options))

    async def _act(self) -> None:
        """Let each client that has a session act at its own moment of every period."""
        period, clients = self.driver.act_every, list(self._clients.values())
        if not period or not clients:
            return
        for turn in itertools.count():
            await asyncio.sleep(max(turn * period / len(clients) - self._run.now(), 0.0))
            client = clients[turn % len(clients)]
            if client.in_session and not self.is_suspended:
                await self.process.send(Act(client.name, client.next_key()))

    # reports ----------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            report = await self.process.receive()
            try:
                self._receive(report)
            except BrokenLineError as error:
                raise self.process.broken(error) from None

    def _receive(self, report: Report) -> None:
        if isinstance(report, DriverReady):
            self._answered(report)
        elif isinstance(report, ClientReport):
            self._record(report)
        else:
            raise BrokenLineError("it ended before it received stop")

    def _answered(self, ready: DriverReady) -> None:
        self.process.check_version(ready)
        if not 1 <= ready.n <= self._greeted:
            raise BrokenLineError(f"it answers the greeting {ready.n}; the last one was number {self._greeted}")
        sent, received = self._sent.pop(ready.n, None), self.process.received
        late = 0.0
        if sent is not None:
            self._clock.compare(Greeting(sent, ready.t, received))
            late = received - sent
            self._lag.note(late)
        self._heard(late)

    def _record(self, report: ClientReport) -> None:
        if report.client not in self._opened:
            raise BrokenLineError(f"client {report.client!r} was never opened in this process")
        at = self._clock.instant(report.client, report.t, self.process.received) - self._run.epoch
        observer = self._observers.get(report.client)
        if isinstance(report, ExchangeReport):
            if observer is None:
                raise BrokenLineError("messages are reported only by a driver with quiz_records")
            observer.receive(report, at)
        for record in self._clients[report.client].receive(report, at):
            self._logs[report.client](record)
            if observer is not None:
                observer.note(record)
