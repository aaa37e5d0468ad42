"""Schedules at the edges, through both simulators: windows that overlap, touch or coincide, short ones, last ones.

In both lanes every client goes through the same, in the same order, and the injector says the same of each window. That
a cohort of strangers moves no draws is in ``tests/conformance/test_common_random_numbers.py``, that a setting moves
both lanes in ``tests/conformance/test_settings.py``, that windows add up in ``tests/sim/virtual/test_lane.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault
from resilience.experiment.primitives import Direction
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.lab.recording import Recording
from resilience.lab.run import conduct
from resilience.lab.run_directory import RunStatus
from resilience.lab.system import LaneDriver
from resilience.policy.backoff import Preset
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane
from tests.support.short_runs import ended_at

A, B = ("a",), ("b",)
LANES = {"model": ModelLane, "virtual": VirtualLane}
CONNECTING = ("transport.", "session.", "backoff.", "client.")
SAME_S = 0.05
"""Instants of the two lanes differ by what the modelled costs differ from the virtual network."""


def hole(at: float, duration: float, direction: Direction = Direction.BOTH) -> BlackholeFault:
    return BlackholeFault(at, A, duration=duration, direction=direction)


def refusal(at: float, duration: float) -> RefuseFault:
    return RefuseFault(at, A, duration=duration)


SCHEDULES: dict[str, tuple[AnyFault, ...]] = {
    "refusals that overlap": (refusal(6.0, 10.0), refusal(10.0, 16.0)),
    "holes up and down that overlap": (hole(6.0, 10.0, Direction.UP), hole(10.0, 16.0, Direction.DOWN)),
    "holes that overlap": (hole(6.0, 10.0), hole(10.0, 16.0)),
    "a refusal in a hole": (hole(6.0, 20.0), refusal(10.0, 4.0)),
    "a hole in a refusal": (refusal(6.0, 20.0), hole(10.0, 4.0)),
    "cut, refusal and hole at one instant": (CutFault(6.0, A), refusal(6.0, 5.0), hole(6.0, 9.0)),
    "the same in another order": (hole(6.0, 9.0), refusal(6.0, 5.0), CutFault(6.0, A)),
    "a refusal that ends when a hole begins": (refusal(6.0, 5.0), hole(11.0, 9.0)),
    "thirty cuts in nine seconds": (CutFault(6.0, A, flaps=30, flap_every=0.3),),
    "refusals that touch": (RefuseFault(6.0, A, duration=1.0, times=10, every=1.0),),
    "a refusal that overlaps itself": (RefuseFault(6.0, A, duration=2.0, times=10, every=1.0),),
    "a refusal of a millisecond": (refusal(6.0, 0.001),),
    "the shortest hole": (hole(6.0, 0.5),),
    "another cohort's faults": (CutFault(6.0, A), BlackholeFault(10.0, B, duration=8.0)),
}


class Seen(NamedTuple):
    """One run, as both lanes must tell it."""

    status: RunStatus
    clients: dict[str, list[tuple[str, str]]]
    injector: list[tuple[str, str | None, str | None]]
    instants: list[float]


def experiment(*faults: AnyFault, duration: float = 50.0) -> Experiment:
    return Experiment(
        "edges",
        duration,
        (Cohort("a", 2), Cohort("b", 1)),
        ramp=1.0,
        quiz=QuizConfig(lobby=100.0),
        hypothesis=Hypothesis(within=3.0),
        faults=faults,
    )


def events_of(driver: LaneDriver, run: Experiment, seed: int = 2) -> tuple[RunStatus, Sequence[LogEvent]]:
    recording = Recording.in_memory()
    outcome = conduct(driver, run, seed, recording)
    assert isinstance(recording.events, EventList)
    return outcome.status, sorted(recording.events, key=lambda event: event.t)


def seen(driver: LaneDriver, run: Experiment) -> Seen:
    status, events = events_of(driver, run)
    clients: dict[str, list[tuple[str, str]]] = {}
    instants = list[float]()
    for actor in sorted({event.actor for event in events if event.role is Role.CLIENT}):
        own = [e for e in events if e.actor == actor and e.role is Role.CLIENT and e.kind.startswith(CONNECTING)]
        clients[actor] = [(event.kind.value, event.cause or "") for event in own]
        instants += [event.t for event in own]
    injected = [event for event in events if event.role is Role.INJECTOR]
    return Seen(status, clients, sorted((e.kind.value, e.cohort, e.cause) for e in injected), instants)


@pytest.mark.parametrize("name", SCHEDULES)
def test_both_lanes_tell_the_same_of_a_schedule(name: str) -> None:
    run = experiment(*SCHEDULES[name])
    model, virtual = seen(ModelLane(), run), seen(VirtualLane(), run)
    assert model[:3] == virtual[:3]
    assert model.status is RunStatus.COMPLETED
    assert "fault.invalid" not in {kind for kind, _, _ in model.injector}
    assert model.instants == pytest.approx(virtual.instants, abs=SAME_S)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    "fault, duration",
    [(refusal(20.0, 10.0), 30.0), (refusal(6.0, 23.96), 30.0), (refusal(6.0, 23.999), 30.0), (hole(29.4, 0.5), 30.0)],
    ids=["at the end", "40 ms before", "1 ms before", "a hole 0.1 s before"],
)
def test_a_fault_that_ends_with_the_run_leaves_a_complete_run(lane: str, fault: AnyFault, duration: float) -> None:
    """Its window is not invalid because the link could not be seen healthy any more."""
    status, events = events_of(LANES[lane](), ended_at(experiment(fault), duration))
    assert status is RunStatus.COMPLETED
    assert not [e for e in events if e.kind is LogEventKind.FAULT_INVALID and "fault end" in (e.cause or "")]


@pytest.mark.parametrize("lane", LANES)
def test_faults_at_the_first_instant_meet_clients_that_have_not_joined(lane: str) -> None:
    """No time to join, and all are asked for: nothing is injected."""
    run = Experiment(
        "first", 30.0, (Cohort("a", 5),), ramp=0.0, hypothesis=Hypothesis(0.9, 0.0), faults=(CutFault(0.0, A),)
    )
    status, events = events_of(LANES[lane](), run)
    assert status is RunStatus.NOT_STARTED
    assert not [event for event in events if event.role is Role.INJECTOR]


@pytest.mark.parametrize("preset", Preset)
def test_admission_treats_a_crowd_alike_in_both_lanes(preset: Preset) -> None:
    """Sixty are cut at once where eight a second may join and half a second of them may wait."""
    run = Experiment(
        "crowd",
        60.0,
        (Cohort("a", 60),),
        ramp=12.0,
        server=ServerConfig(join_capacity=8.0, admission_seconds=0.5),
        client=ClientConfig(preset=preset),
        quiz=QuizConfig(lobby=100.0),
        hypothesis=Hypothesis(0.9, 20.0),
        faults=(CutFault(25.0, A),),
    )
    found = {}
    for name, lane in LANES.items():
        _, events = events_of(lane(), run, 3)
        returned = [
            event.t for event in events if event.kind is LogEventKind.SESSION_RESTORED and event.role is Role.CLIENT
        ]
        shed = sum(event.kind is LogEventKind.JOIN_SHED for event in events)
        found[name] = (shed, len(returned), sum(returned) / len(returned), max(returned))
    model, virtual = found["model"], found["virtual"]
    assert model[1] == virtual[1] == 60
    assert model[0] > 10
    assert model[0] == pytest.approx(virtual[0], rel=0.1)
    assert model[2:] == pytest.approx(virtual[2:], abs=0.5)
