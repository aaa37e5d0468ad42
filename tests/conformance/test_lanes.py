"""The conformance suite: pair, model, virtual and real tell the same story of every client."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.experiment.loader import load_file
from tests.conformance import lanes

SMALL = load_file(Path(__file__).with_name("small.toml"))
SEED = SMALL.seed


@pytest.fixture(scope="module")
def expected() -> dict[str, list[str]]:
    """The story as the two bare machines tell it."""
    return lanes.stories(lanes.pair(SMALL, SEED))


def test_the_story_is_worth_comparing(expected: dict[str, list[str]]) -> None:
    """Every client is cut, refused and left in silence, and comes back each time with its answers."""
    assert len(expected) == SMALL.clients
    for story in expected.values():
        kinds = [line.split()[0] for line in story]
        assert kinds.count("session.restored") == 3
        assert {"peer.declared_dead", "transport.failed", "answer.acked"} <= set(kinds)


@pytest.mark.parametrize("latency", [0.005, 0.02, 0.04])
def test_the_story_does_not_hang_on_milliseconds(latency: float, expected: dict[str, list[str]]) -> None:
    """A link eighty times as slow tells it too, so a busy machine may not be taken for a disagreement."""
    assert lanes.stories(lanes.pair(SMALL, SEED, latency)) == expected


@pytest.mark.parametrize("lane", [lanes.model, lanes.virtual], ids=["model", "virtual"])
def test_a_simulated_lane_tells_the_same_story(lane: lanes.Lane, expected: dict[str, list[str]]) -> None:
    """The same kinds in the same order, with the same causes and verdicts, for each client."""
    assert lanes.stories(lane(SMALL, SEED)) == expected
