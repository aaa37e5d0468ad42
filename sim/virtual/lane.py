"""The virtual lane: the real server, the real clients and the real ``websockets`` under a clock we own.

Reads an experiment, writes its history; everything between is production code over an in-memory network.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventSink
from resilience.experiment.spec import Experiment
from resilience.lab.fleet import Fleet
from resilience.lab.participants import EVENT, participants_of
from resilience.runtime import RunClock, log_to
from resilience.server.app import WEBSOCKET_PATH, QuizServer
from resilience.server.event_registry import EventSpec
from resilience.server.store import MEMORY, SqlStore
from resilience.units import Seconds
from sim.keyed_names import keyed_ids, keyed_tokens

from .injector import Injector
from .loop import VirtualLoop, run_virtual
from .network import VirtualNetwork

HOST = "server.test"
PORT = 80
FIRST_LINK_PORT = 8001

LATENCY_S: Seconds = 0.0005
"""One way. Half the heartbeat round trip of the real lane (0.85 to 1.1 ms on loopback through Toxiproxy)."""


class StoppableSink:
    """Lets events through until the run is over."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.is_open = True

    def write(self, event: LogEvent) -> None:
        """Take one event."""
        if self.is_open:
            self._sink.write(event)


def simulate(experiment: Experiment, seed: int, sink: EventSink) -> None:
    """Run the experiment in virtual time and write its history; the same seed writes the same bytes."""
    network = VirtualNetwork(seed, latency_s=LATENCY_S)
    with _no_collector_pauses():
        run_virtual(lambda loop: _run(experiment, seed, sink, network, loop), network)


@contextmanager
def _no_collector_pauses() -> Iterator[None]:
    """The cyclic collector finds next to nothing in a run this short and costs a fifth of its time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _run(experiment: Experiment, seed: int, sink: EventSink, network: VirtualNetwork, loop: VirtualLoop) -> None:
    clock, gate = RunClock(0.0, loop.time), StoppableSink(sink)
    store = SqlStore(MEMORY)
    server = _server(experiment, seed, store, clock, gate)
    with loop.instant_executor():
        await server.start(HOST, PORT)
    links = {
        cohort.name: network.link(cohort.name, port=FIRST_LINK_PORT + i, upstream=(HOST, PORT))
        for i, cohort in enumerate(experiment.cohorts)
    }
    urls = {name: f"ws://{HOST}:{link.port}{WEBSOCKET_PATH}" for name, link in links.items()}
    fleet = Fleet(participants_of(experiment), experiment, urls, seed, clock=clock, sink=gate, lane=Lane.VIRTUAL)
    injector = Injector(links, (HOST, PORT), clock, gate)
    runner = _Runner(experiment, clock, gate)
    runner.write(LogEventKind.RUN_STARTED, value=experiment.duration)
    fleet.start()
    await asyncio.sleep(experiment.hypothesis.within)
    if runner.steady(fleet.open_count() / experiment.clients):
        await injector.walk(experiment.windows(seed), until=experiment.duration)
        await asyncio.sleep(experiment.duration - clock.now())
    await server.flush_and_write_final_records()
    runner.end()
    gate.is_open = False
    await fleet.stop()
    await server.stop()
    store.close()


def _server(experiment: Experiment, seed: int, store: SqlStore, clock: RunClock, sink: EventSink) -> QuizServer:
    return QuizServer(
        [EventSpec(EVENT, experiment.quiz.plan(seed), "1", seed)],
        experiment.server,
        store,
        clock=clock,
        log=log_to(sink, Lane.VIRTUAL, Role.SERVER, "server"),
        new_id=keyed_ids(seed),
        new_token=keyed_tokens(seed),
        wall_clock=clock.now,
    )


class _Runner:
    """Writes what the run itself does."""

    def __init__(self, experiment: Experiment, clock: RunClock, sink: EventSink) -> None:
        self._experiment, self._clock, self._sink = experiment, clock, sink
        self._steady = True

    def write(self, kind: LogEventKind, *, outcome: str | None = None, value: float | None = None) -> None:
        """Record something of the run."""
        cause = "not steady" if kind is LogEventKind.RUN_ENDED and not self._steady else None
        self._sink.write(
            LogEvent(
                self._clock.now(), Lane.VIRTUAL, Role.RUNNER, "runner", kind, outcome=outcome, value=value, cause=cause
            )
        )

    def steady(self, share: float) -> bool:
        """Judge the hypothesis on the share of clients with an open session."""
        self._steady = share >= self._experiment.hypothesis.joined
        self.write(LogEventKind.RUN_STEADY, outcome="pass" if self._steady else "fail", value=share)
        return self._steady

    def end(self) -> None:
        """The run is over."""
        self.write(LogEventKind.RUN_ENDED, outcome="completed" if self._steady else "failed")
