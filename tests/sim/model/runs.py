"""Small experiments for the model lane, and ways to look into their logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEvent, LogEventKind
from resilience.eventlog.writer import EventList, EventSink
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import AnyFault
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.lab.recording import Recording
from resilience.lab.run import conduct
from sim.model import ModelLane
from sim.model.encoding import MessageCodecHook
from sim.model.lane import ModelSystem

QUIET = QuizConfig(lobby=1000.0)
"""A quiz that never leaves its lobby: nothing on the wire but what a test is about."""

LIVELY = QuizConfig(questions=4, lobby=1.0, question_time=4.0, reveal_time=1.0, leaderboard_time=1.0)


def experiment(
    *faults: AnyFault,
    clients: int = 1,
    cohorts: tuple[str, ...] = ("a",),
    duration: float = 30.0,
    ramp: float = 0.0,
    quiz: QuizConfig = QUIET,
    client: ClientConfig | None = None,
    server: ServerConfig | None = None,
) -> Experiment:
    """Some cohorts of the same size, steady after a second."""
    return Experiment(
        "small",
        duration,
        tuple(Cohort(name, clients) for name in cohorts),
        ramp=ramp,
        quiz=quiz,
        faults=faults,
        client=client or ClientConfig(),
        server=server or ServerConfig(),
        hypothesis=Hypothesis(within=max(1.0, ramp + 0.5)),
    )


def run(plan: Experiment, seed: int = 1, costs: ModelCosts | None = None) -> EventList:
    """The log of one run."""
    return system_of(plan, seed, costs)[1]


def system_of(
    plan: Experiment,
    seed: int = 1,
    costs: ModelCosts | None = None,
    *,
    sink: EventSink | None = None,
    wire: MessageCodecHook | None = None,
    prepare: Callable[[ModelSystem], None] = lambda _: None,
) -> tuple[ModelSystem, EventList]:
    """The system after its run, and its log; ``prepare`` may change it before its start."""

    class PreparedLane(ModelLane):
        @asynccontextmanager
        async def start(
            self, experiment: Experiment, seed: int, recording: Recording, on_tick: Callable[[], None]
        ) -> AsyncIterator[ModelSystem]:
            async with super().start(experiment, seed, recording, on_tick) as system:
                prepare(system)
                yield system

    log, lane = EventList(), PreparedLane(wire)
    plan = plan if costs is None else msgspec.structs.replace(plan, costs=costs)
    conduct(lane, plan, seed, Recording(sink or log))
    assert lane.system is not None
    return lane.system, log


def of(
    log: Iterable[LogEvent], *kinds: LogEventKind, role: str | None = None, actor: str | None = None
) -> list[LogEvent]:
    """Those events of these kinds, in their order."""
    return [
        event
        for event in log
        if event.kind in kinds and role in (None, event.role.value) and actor in (None, event.actor)
    ]
