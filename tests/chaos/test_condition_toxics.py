"""Each condition is the toxics that the page of faults names, in the units of Toxiproxy."""

from __future__ import annotations

import pytest

from chaos.condition_toxics import toxics_of
from resilience.experiment.primitives import (
    Condition,
    CutAfter,
    Delay,
    Direction,
    Drop,
    Freeze,
    Hold,
    HoldClose,
    Refuse,
    Slice,
    Throttle,
)


@pytest.mark.parametrize(
    "condition, kind, attributes",
    [
        (Drop(), "timeout", {"timeout": 0}),
        (Hold(), "bandwidth", {"rate": 0}),
        (Delay(0.1004, 0.02), "latency", {"latency": 100, "jitter": 20}),
        (Throttle(5000), "bandwidth", {"rate": 5}),
        (Slice(16, 0.0025), "slicer", {"average_size": 16, "size_variation": 0, "delay": 2500}),
        (CutAfter(77), "limit_data", {"bytes": 77}),
        (HoldClose(1.5), "slow_close", {"delay": 1500}),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_condition_is_one_toxic_on_each_stream(condition: Condition, kind: str, attributes: dict[str, int]) -> None:
    up, down = toxics_of(condition, 1)
    assert {up.kind, down.kind} == {kind}
    assert (up.stream, down.stream) == ("upstream", "downstream")
    assert up.attributes == down.attributes == attributes
    assert up.toxicity == 1.0
    assert len({toxic.name for toxic in (up, down, *toxics_of(condition, 2))}) == 4


@pytest.mark.parametrize("condition", [Drop(Direction.UP), Hold(Direction.UP), CutAfter(1, Direction.UP)], ids=repr)
def test_a_condition_of_one_direction_is_one_toxic(condition: Condition) -> None:
    (toxic,) = toxics_of(condition, 1)
    assert toxic.stream == "upstream"


@pytest.mark.parametrize("condition", [Refuse(), Freeze()], ids=repr)
def test_what_acts_on_the_whole_proxy_has_none(condition: Condition) -> None:
    assert toxics_of(condition, 1) == []
