"""How much faster than real time the simulators are, at the demo's size."""

from __future__ import annotations

import time

import msgspec
import pytest
from rich.console import Console

from resilience.eventlog.vocabulary import LogEventKind
from resilience.eventlog.writer import EventList
from resilience.experiment.loader import load
from resilience.experiment.spec import Experiment
from resilience.lab.recording import Recording
from resilience.lab.run import conduct
from resilience.lab.run_directory import RunStatus
from resilience.lab.system import LaneDriver
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane
from tests.conformance.lanes import SMALL

DEMO = load("demo")
SCENARIO = msgspec.structs.replace(
    DEMO, duration=3600.0, quiz=msgspec.structs.replace(DEMO.quiz, questions=100, question_time=30.0)
)
"""The demo's three hundred clients and nine faults in an hour of quiz."""


def joined(recording: Recording) -> int:
    """How many clients had a session."""
    assert isinstance(recording.events, EventList)
    return len({event.actor for event in recording.events if event.kind is LogEventKind.SESSION_JOINED})


def speed(driver: LaneDriver, experiment: Experiment) -> float:
    """Virtual seconds per second of wall time; the best of three, since a busy machine can only make it worse."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        recording = Recording.in_memory()
        outcome = conduct(driver, experiment, experiment.seed, recording)
        best = min(best, time.perf_counter() - began)
        assert outcome.status is RunStatus.COMPLETED, outcome.cause
        assert joined(recording) == experiment.clients
    return experiment.duration / best


@pytest.mark.parametrize("driver", [VirtualLane(), ModelLane()], ids=["virtual", "model"])
def test_a_small_run_is_timed(driver: LaneDriver) -> None:
    assert speed(driver, SMALL) > 0


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_speed_against_real_time() -> None:
    """Prints the multiples; fails only when a lane is slower than the real one would be."""
    console = Console()
    drivers: tuple[LaneDriver, ...] = (VirtualLane(), ModelLane())
    for driver in drivers:
        for title, experiment in (("demo, 60 s", DEMO), ("same faults in an hour", SCENARIO)):
            multiple = speed(driver, experiment)
            console.print(f"{driver.lane:8} {title:24} {multiple:7.1f} times real time")
            assert multiple > 1
