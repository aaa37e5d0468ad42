"""What limits the joins of an experiment is named, and what is offered instead can be set and suffices."""

from __future__ import annotations

import re

import pytest

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import load
from resilience.experiment.steady_state import limit_on_joins

OFFER = re.compile(r"[a-z_]+\.[a-z_]+=[^, ]+")
SHARED = "costs.shared_processors=2"


def test_an_experiment_as_it_is_has_no_limit() -> None:
    assert limit_on_joins(load("demo"), Lane.MODEL) is None


@pytest.mark.parametrize(
    "overrides, limits",
    [
        (["server.join_capacity=2"], "server.join_capacity (2 joins per second)"),
        (["server.address_rate=1", "server.address_burst=2"], "server.address_rate and server.address_burst"),
        (["server.max_participants=20"], "server.max_participants (20)"),
        (["server.max_connections=20"], "server.max_connections (20)"),
        (["costs.join=1.0"], "costs (costs.processors=1: 1 joins per second)"),
        (["costs.join=100000.0"], "costs.join (0 joins per second)"),
        (["costs.join=100000.0", "costs.processors=9"], "costs.join (0 joins per second)"),
        (["costs.reply=1.0"], "costs.reply (1 joins per second)"),
        (["costs.join=1.0", SHARED], "costs.join (1 joins per second)"),
        (["costs.reply=1.0", SHARED], "costs.reply (1 joins per second)"),
        (["costs.join=0.5", "costs.handshake=0.5", SHARED], "costs.handshake and costs.join (1 joins per second)"),
        (["costs.join=1.0", "costs.reply=0.5", "server.join_capacity=2"], "costs.reply (2 joins per second)"),
    ],
)
def test_what_is_offered_can_be_set_and_suffices(overrides: list[str], limits: str) -> None:
    found = limit_on_joins(load("demo", tuple(overrides)), Lane.MODEL)
    assert found is not None
    before, _, offered = found.partition(": set ")
    assert limits in before
    remedies = OFFER.findall(offered)
    assert remedies
    assert limit_on_joins(load("demo", (*overrides, *remedies)), Lane.MODEL) is None


def test_costs_limit_only_the_lane_that_has_them() -> None:
    assert limit_on_joins(load("demo", ("costs.join=1.0",)), Lane.VIRTUAL) is None
