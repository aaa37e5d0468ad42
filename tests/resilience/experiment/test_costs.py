"""The table of costs: its rules, where it is kept, and that the default server is as fast as its policy believes."""

from __future__ import annotations

import msgspec
import pytest

from resilience.config import ServerConfig
from resilience.errors import ConfigError, ExperimentError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.costs import ModelCosts, ServiceDistribution
from resilience.experiment.loader import parse, to_toml
from resilience.lab.run import opening_info

TEXT = 'name = "x"\nduration = 60.0\ncohorts = [{name = "a", clients = 2}]\n'
DURATIONS = ("latency", "connect", "handshake", "join", "restore", "message", "commit", "startup", "close_timeout")


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize("value", [-0.001, 0.0, float("inf"), float("nan")])
def test_a_cost_must_be_a_positive_duration(key: str, value: float) -> None:
    """It is refused by its name."""
    with pytest.raises(ConfigError, match=key):
        msgspec.convert({key: value}, ModelCosts)


@pytest.mark.parametrize(
    "override, complaint",
    [
        ("costs.handshake=0", "x.toml: costs.handshake: 0.0: must be a positive, finite number of seconds"),
        ("costs.processors=0", "x.toml: costs.processors: 0: must be from 1 to 1000"),
        ("costs.backlog=-1", "x.toml: costs.backlog: -1: must be from 0 to 1,000,000,000"),
        ("costs.service_sigma=9", "x.toml: costs.service_sigma: 9.0: must be above 0 and at most 4"),
        ("costs.service=uniform", "x.toml: costs.service: "),
        ("costs.handshakes=1", "x.toml: costs.handshakes: "),
        ("costs=1", "x.toml: costs: "),
    ],
)
def test_a_bad_cost_is_named_by_file_key_and_rule(override: str, complaint: str) -> None:
    with pytest.raises(ExperimentError) as refused:
        parse(TEXT, "x.toml", (override,))
    assert str(refused.value).startswith(complaint)


def test_costs_can_be_set_and_are_kept_with_the_run() -> None:
    found = parse(TEXT, "x.toml", ("costs.handshake=0.002", "costs.service=lognormal"))
    assert found.costs == ModelCosts(handshake=0.002, service=ServiceDistribution.LOGNORMAL)
    assert parse(to_toml(found), "again.toml") == found
    assert found.digest != parse(TEXT, "x.toml").digest
    kept = {lane: opening_info(lane, found, 1).costs for lane in (Lane.REAL, Lane.VIRTUAL, Lane.MODEL, Lane.POPULATION)}
    assert kept == {Lane.REAL: None, Lane.VIRTUAL: None, Lane.MODEL: found.costs, Lane.POPULATION: found.costs}


@pytest.mark.parametrize(
    "costs, most",
    [
        (ModelCosts(handshake=0.003, restore=0.001), 250.0),
        (ModelCosts(handshake=0.003, restore=0.001, reply=0.001, processors=2), 500.0),
        (ModelCosts(handshake=0.003, restore=0.001, reply=0.004, processors=2), 250.0),
        (ModelCosts(handshake=0.003, restore=0.001, reply=0.004, shared_processors=2), 125.0),
    ],
)
def test_the_most_returns_of_a_second_are_those_of_the_slowest_stage(costs: ModelCosts, most: float) -> None:
    """By hand: two processors serve 4 ms each, one thread replies; where processors are shared it does both."""
    assert costs.returns_per_s == pytest.approx(most)


def test_a_server_of_default_costs_is_faster_than_its_admission_control_lets_joins_in() -> None:
    costs = ModelCosts()
    assert 1 / (costs.handshake + max(costs.join, costs.restore)) > 1.1 * ServerConfig().join_capacity
