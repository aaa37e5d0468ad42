"""The conformance suite: pair, model, virtual and real tell the same story of every client."""

from __future__ import annotations

import msgspec
import pytest

from resilience.experiment.faults import RefuseFault
from tests.conformance import lanes
from tests.conformance.lanes import SMALL

SEED = SMALL.seed


@pytest.fixture(scope="module")
def expected() -> dict[str, list[str]]:
    """The story as the two bare machines tell it."""
    return lanes.histories(lanes.pair(SMALL, SEED))


def test_the_story_is_worth_comparing(expected: dict[str, list[str]]) -> None:
    """Every client is cut, refused and left in silence, and comes back each time with its answers."""
    assert len(expected) == SMALL.clients
    for history in expected.values():
        kinds = [line.split()[0] for line in history]
        assert kinds.count("session.restored") == 3
        assert {"peer.declared_dead", "transport.failed", "answer.acked"} <= set(kinds)


@pytest.mark.parametrize("latency", [0.005, 0.02, 0.05, 0.1])
def test_the_story_does_not_hang_on_milliseconds(latency: float, expected: dict[str, list[str]]) -> None:
    """A link two hundred times as slow tells it too, so a busy machine is not taken for a disagreement."""
    assert lanes.histories(lanes.pair(SMALL, SEED, latency)) == expected


@pytest.mark.parametrize("later", [-0.1, -0.05, 0.05, 0.1])
def test_the_story_does_not_hang_on_the_injector(later: float, expected: dict[str, list[str]]) -> None:
    """Faults that come a tenth of a second early or late tell it too."""
    faults = tuple(msgspec.structs.replace(fault, at=fault.at + later) for fault in SMALL.faults)
    assert lanes.histories(lanes.pair(msgspec.structs.replace(SMALL, faults=faults), SEED)) == expected


def test_the_story_does_not_hang_on_how_long_a_cut_takes(expected: dict[str, list[str]]) -> None:
    """Closing and opening a proxy takes a busy machine a while, in which nobody must dial."""
    slow = [
        RefuseFault(fault.at, fault.cohorts, duration=0.15) if fault.kind == "cut" else fault for fault in SMALL.faults
    ]
    experiment = msgspec.structs.replace(SMALL, faults=tuple(slow))
    assert lanes.histories(lanes.pair(experiment, SEED)) == expected


@pytest.mark.parametrize("lane", [lanes.model, lanes.virtual], ids=["model", "virtual"])
def test_a_simulated_lane_tells_the_same_story(lane: lanes.Lane, expected: dict[str, list[str]]) -> None:
    """The same kinds in the same order, with the same causes and verdicts, for each client."""
    assert lanes.histories(lane(SMALL, SEED)) == expected


@pytest.mark.usefixtures("binary")
def test_the_real_lane_tells_the_same_story(expected: dict[str, list[str]]) -> None:
    """So do real processes behind a real Toxiproxy."""
    told = lanes.histories(lanes.real(SMALL, SEED))
    for actor, history in expected.items():
        assert told[actor] == history
