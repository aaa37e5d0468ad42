"""Values that cannot be carried out, or that no canary could see, are rejected under their key."""

from __future__ import annotations

import pytest

from resilience.errors import ConfigError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.fault_rules import check_values
from resilience.experiment.faults import (
    CODE_LANES,
    AnyFault,
    BandwidthFault,
    CutFault,
    CutMidMessageFault,
    FaultEdge,
    FreezeFault,
    LatencyFault,
    ServerKillFault,
    SliceFault,
    SlowCloseFault,
    StallFault,
    connections_end,
    kinds,
)
from resilience.experiment.primitives import Direction, FaultTarget, Impose, Lift
from resilience.experiment.spec import Cohort, Experiment

X = ("x",)
GOOD: tuple[AnyFault, ...] = (
    StallFault(10.0, X, duration=0.5, direction=Direction.UP),
    FreezeFault(10.0, X, duration=0.5),
    LatencyFault(10.0, X, duration=1.0, delay=0.5, spread=0.5),
    BandwidthFault(10.0, X, duration=1.5, rate=1000),
    BandwidthFault(10.0, X, duration=1.5, rate=100_000),
    SliceFault(10.0, X, duration=1.5, size=64, delay=0.064),
    SliceFault(10.0, X, duration=1.5, size=1, delay=0.001),
    CutMidMessageFault(10.0, X, duration=1.5, after=8000),
    CutMidMessageFault(10.0, X, duration=1.5, after=64, direction=Direction.DOWN),
    SlowCloseFault(10.0, X, duration=1.5, delay=3600.0),
)
BAD: tuple[tuple[AnyFault, str], ...] = (
    (StallFault(10.0, X, duration=0.4), "duration"),
    (FreezeFault(10.0, X, duration=0.4), "duration"),
    (FreezeFault(10.0, X, duration=-1.0), "duration"),
    (LatencyFault(10.0, X, duration=1.0, delay=0.6), "delay"),
    (LatencyFault(10.0, X, duration=1.0, delay=0.1, spread=0.11), "spread"),
    (LatencyFault(10.0, X, duration=1.0, delay=0.1, spread=-0.1), "spread"),
    (BandwidthFault(10.0, X, duration=1.4, rate=1000), "duration"),
    (BandwidthFault(10.0, X, duration=2.0, rate=0), "rate"),
    (BandwidthFault(10.0, X, duration=2.0, rate=1500), "rate"),
    (BandwidthFault(10.0, X, duration=2.0, rate=101_000), "rate"),
    (SliceFault(10.0, X, duration=2.0, size=0, delay=0.001), "size"),
    (SliceFault(10.0, X, duration=2.0, size=65, delay=0.001), "size"),
    (SliceFault(10.0, X, duration=2.0, size=10, delay=0.011), "delay"),
    (SliceFault(10.0, X, duration=2.0, size=10, delay=0.0), "delay"),
    (CutMidMessageFault(10.0, X, duration=2.0, after=0), "after"),
    (CutMidMessageFault(10.0, X, duration=2.0, after=8001), "after"),
    (CutMidMessageFault(10.0, X, duration=2.0, after=65, direction=Direction.DOWN), "after"),
    (SlowCloseFault(10.0, X, duration=2.0, delay=0.05), "delay"),
    (SlowCloseFault(10.0, X, duration=2.0, delay=float("nan")), "delay"),
)


@pytest.mark.parametrize("fault", GOOD, ids=repr)
def test_a_value_at_the_edge_is_accepted(fault: AnyFault) -> None:
    check_values("faults[0]", fault)


@pytest.mark.parametrize("fault, key", BAD, ids=[f"{fault.kind}.{key}.{i}" for i, (fault, key) in enumerate(BAD)])
def test_a_value_beyond_it_names_its_key(fault: AnyFault, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_values("faults[0]", fault)
    assert caught.value.key == f"faults[0].{key}"


@pytest.mark.parametrize("fault", GOOD, ids=repr)
def test_what_the_begin_imposes_the_end_lifts(fault: AnyFault) -> None:
    composition = fault.composition
    begun = [each.condition for each in composition.begin if isinstance(each, Impose)]
    lifted = [each.condition for each in composition.end if isinstance(each, Lift)]
    assert begun == lifted


def test_kinds_say_when_connections_end() -> None:
    ends = {name: connections_end(name) for name in kinds()}
    assert {name for name, edge in ends.items() if edge is FaultEdge.BEGIN} == {"cut", "reset", "refuse"}
    assert {name for name, edge in ends.items() if edge is FaultEdge.END} >= {"blackhole", "server_kill"}
    survivable = {"stall", "freeze", "latency", "bandwidth", "slice", "cut_mid_message", "slow_close"}
    assert all(ends[name] is None for name in survivable)


def test_a_silence_ends_connections_when_it_outlasts_the_timeout() -> None:
    assert not StallFault(10.0, X, duration=5.0).may_end_connections(6.0)
    assert StallFault(10.0, X, duration=7.0).may_end_connections(6.0)
    assert CutFault(10.0, X).may_end_connections(6.0)
    assert not LatencyFault(10.0, X, duration=60.0, delay=0.1).may_end_connections(6.0)


def test_the_model_carries_every_kind_but_those_of_bytes() -> None:
    links = {name: kind for name, kind in kinds().items() if kind.target is FaultTarget.LINK}
    assert {name for name, kind in links.items() if kind.lanes == CODE_LANES} == {
        "bandwidth",
        "slice",
        "cut_mid_message",
        "slow_close",
    }
    experiment = Experiment(
        "e", 60.0, (Cohort("x", 1),), faults=(CutFault(10.0, X), BandwidthFault(20.0, X, duration=2.0, rate=5000))
    )
    obstacle = experiment.obstacle(Lane.MODEL)
    assert obstacle is not None
    assert (obstacle.key, obstacle.what, obstacle.lanes) == ("faults[1]", "bandwidth", CODE_LANES)
    assert experiment.obstacle(Lane.VIRTUAL) is experiment.obstacle(Lane.REAL) is None


def test_values_at_rest_are_not_among_a_faults_own() -> None:
    assert StallFault(10.0, X, duration=5.0).own == (("direction", Direction.BOTH),)
    assert LatencyFault(10.0, X, duration=5.0, delay=0.1).own == (("delay", 0.1),)
    assert ServerKillFault(10.0, duration=5.0).own == CutFault(10.0, X).own == ()
