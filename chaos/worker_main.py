"""One process of the fleet: ``python -m chaos.worker_main``. Orders from standard input, reports to standard output.

One JSON line each way: a :class:`Job`, answered by ``ready`` when everything is loaded; a :class:`Go`, after which a
report comes every quarter of a second; ``stop``, answered by ``ended``. The end of the input ends the process, so a
runner that is gone leaves no clients behind. It measures how late its own loop runs, but for the time in which it was
suspended, and knows nothing of faults.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import msgspec

from resilience.errors import describe_error
from resilience.eventlog.vocabulary import Lane
from resilience.eventlog.writer import EventWriter
from resilience.experiment.primitives import ClientOrder
from resilience.experiment.spec import Experiment
from resilience.lab.client_control import NOTHING_ORDERED, PULSE_S
from resilience.lab.fleet import Fleet
from resilience.lab.health import LagMeter, ProcessLag
from resilience.lab.participants import ParticipantSpec, participants_of
from resilience.lab.recording import write_lines
from resilience.lab.second_clients import OrderCounts
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .event_loop import run_on_fast_loop
from .process_meter import lag_summary, measure_loop

REPORT_INTERVAL_S: Seconds = PULSE_S

_LINE_LIMIT = 1 << 22


class Shard(msgspec.Struct, frozen=True):
    """Who is in one process: every ``parts``-th participant of these ``links``, beginning with number ``part``.

    ``driver``: which program runs them, as their cohorts name it.
    """

    links: tuple[str, ...]
    part: int = 0
    parts: int = 1
    driver: str | None = None


class Job(msgspec.Struct, frozen=True, tag="job"):
    """The participants of a shard. ``name``: the process's own.

    Their events go to the file ``log``, what they were shown at the end to the file ``observations``.
    """

    experiment: Experiment
    seed: int
    name: str
    shard: Shard
    log: str
    observations: str


class Go(msgspec.Struct, frozen=True, tag="go"):
    """The run starts at ``epoch`` of the system's monotonic clock; ``urls`` by link."""

    epoch: Instant
    urls: dict[str, str]


class Carry(msgspec.Struct, frozen=True, tag="carry"):
    """The clients of this ``link`` carry out an order of a fault."""

    order: ClientOrder
    link: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End all clients at once, without closing handshakes."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Loaded and waiting."""


class Counts(msgspec.Struct, frozen=True, tag="counts"):
    """Open sessions by cohort; the worst lateness of the loop, seconds, in all and since the last report.

    ``orders``: how far the orders of faults have come, by link; only links that had some.
    """

    open: dict[str, int]
    lag_max: Seconds
    lag_recent: Seconds = 0.0
    orders: dict[str, OrderCounts] = {}


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The clients are gone, log and observations are on disk; how the process kept up over the run."""

    lag: ProcessLag


WorkerCommand = Job | Go | Carry | Stop
WorkerReport = Ready | Counts | Ended


def say(report: WorkerReport) -> None:
    """One line to the runner."""
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


async def work() -> None:
    """Carry out the runner's orders until told to stop or left alone."""
    orders = await _orders()
    job = await _next(orders)
    if not isinstance(job, Job):
        return
    say(Ready())
    go = await _next(orders)
    if isinstance(go, Go):
        await _play(job, go, orders)


async def _play(job: Job, go: Go, orders: asyncio.StreamReader) -> None:
    writer, lag = EventWriter(Path(job.log)), LagMeter()
    participants = members(job.shard, job.experiment, job.seed)
    signal.signal(signal.SIGCONT, lambda *_: lag.skip())
    clock = RunClock(go.epoch)
    fleet = Fleet(participants, job.experiment, go.urls, job.seed, clock=clock, sink=writer, lane=Lane.REAL)
    cohorts = [cohort.name for cohort in job.experiment.cohorts]
    report = _report(fleet, cohorts, job.shard.links, lag, writer)
    helpers = [asyncio.create_task(measure_loop(lag)), asyncio.create_task(report)]
    try:
        fleet.start()
        while isinstance(order := await _order_or_failure(orders, helpers), Carry):
            fleet.carry_out(order.order, order.link)
    finally:
        for helper in helpers:
            helper.cancel()
        await fleet.stop()
        writer.close()
        write_lines(Path(job.observations), fleet.observation_lines())
    say(Ended(lag_summary(job.name, "worker", lag, time.process_time())))


async def _order_or_failure(orders: asyncio.StreamReader, helpers: list[asyncio.Task[None]]) -> WorkerCommand | None:
    """Wait for the next order; raises what ended a helper, such as a full disk: clients without a log prove nothing."""
    order = asyncio.create_task(_next(orders))
    done, _ = await asyncio.wait([order, *helpers], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return order.result()


def members(shard: Shard, experiment: Experiment, seed: int) -> list[ParticipantSpec]:
    """The participants of a shard."""
    on_links = [participant for participant in participants_of(experiment, seed) if participant.link in shard.links]
    return on_links[shard.part :: shard.parts]


async def _report(fleet: Fleet, cohorts: list[str], links: tuple[str, ...], lag: LagMeter, writer: EventWriter) -> None:
    while True:
        open_ = fleet.open_counts()
        counted = {link: fleet.order_counts(link) for link in links}
        orders = {link: counts for link, counts in counted.items() if counts != NOTHING_ORDERED}
        say(Counts({cohort: open_[cohort] for cohort in cohorts}, lag.max, lag.take_recent(), orders))
        writer.flush()
        await asyncio.sleep(REPORT_INTERVAL_S)


async def _orders() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _next(orders: asyncio.StreamReader) -> WorkerCommand | None:
    """The next order; None when the runner is gone."""
    line = await orders.readline()
    return msgspec.json.decode(line, type=WorkerCommand) if line else None


def main() -> None:
    """Run one worker; returns when it is done or the runner is gone. Ends with one line when it cannot write."""
    try:
        run_on_fast_loop(work())
    except BrokenPipeError:  # the runner is gone
        return
    except OSError as error:
        sys.exit(describe_error(error))


if __name__ == "__main__":
    main()
