"""Toxics are checked before the server, which checks nothing, receives them."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.toxiproxy.toxics import (
    MAX_MS,
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

EXAMPLES = [
    (Latency(stream="upstream", latency_ms=50, jitter_ms=5), "latency", {"latency": 50, "jitter": 5}),
    (Bandwidth(stream="upstream", rate_kb_s=0), "bandwidth", {"rate": 0}),
    (SlowClose(stream="downstream", delay_ms=3), "slow_close", {"delay": 3}),
    (Timeout(stream="downstream", timeout_ms=0), "timeout", {"timeout": 0}),
    (ResetPeer(stream="downstream", timeout_ms=1), "reset_peer", {"timeout": 1}),
    (
        Slicer(stream="upstream", average_size=8, size_variation=7, delay_us=10),
        "slicer",
        {"average_size": 8, "size_variation": 7, "delay": 10},
    ),
    (LimitData(stream="upstream", limit_bytes=100), "limit_data", {"bytes": 100}),
]


@pytest.mark.parametrize("toxic,kind,attributes", EXAMPLES)
def test_the_body_has_the_servers_names(toxic: Toxic, kind: str, attributes: dict[str, int]) -> None:
    """Attributes are nested under the server's names, the direction is explicit, toxicity is 1."""
    assert toxic.body() == {
        "name": f"{kind}_{toxic.stream}",
        "type": kind,
        "stream": toxic.stream,
        "toxicity": 1.0,
        "attributes": attributes,
    }


@pytest.mark.parametrize(
    "make,settings,named",
    [
        (Latency, {"latency_ms": -1, "jitter_ms": 0}, "latency_ms"),
        (Latency, {"latency_ms": 10.0, "jitter_ms": 0}, "latency_ms"),
        (Latency, {"latency_ms": "10", "jitter_ms": 0}, "latency_ms"),
        (Latency, {"latency_ms": True, "jitter_ms": 0}, "latency_ms"),
        (Latency, {"latency_ms": 10, "jitter_ms": 11}, "jitter_ms"),
        (Bandwidth, {"rate_kb_s": -1}, "rate_kb_s"),
        (SlowClose, {"delay_ms": MAX_MS + 1}, "delay_ms"),
        (Timeout, {"timeout_ms": -5}, "timeout_ms"),
        (ResetPeer, {"timeout_ms": -5}, "timeout_ms"),
        (Slicer, {"average_size": 0, "size_variation": 0, "delay_us": 0}, "average_size"),
        (Slicer, {"average_size": 5, "size_variation": 5, "delay_us": 0}, "size_variation"),
        (Slicer, {"average_size": 5, "size_variation": 4, "delay_us": -1}, "delay_us"),
        (LimitData, {"limit_bytes": -1}, "limit_bytes"),
    ],
)
def test_values_out_of_range_name_their_field(make: type[Toxic], settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} = "):
        make(stream="upstream", **settings)


@pytest.mark.parametrize("settings", [{}, {"average_size": 3}, {"average_size": 3, "size_variation": 1}])
def test_a_slicer_needs_everything(settings: dict[str, Any]) -> None:
    """A slicer without all its settings crashes the server, so it cannot be created."""
    with pytest.raises(TypeError, match="missing"):
        Slicer(stream="upstream", **settings)


def test_the_direction_is_never_assumed() -> None:
    with pytest.raises(TypeError, match="stream"):
        Timeout(timeout_ms=0)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="stream = 'both'"):
        Timeout(stream="both", timeout_ms=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a/b", "../proxies", "a b", "-", "a?b"])
def test_a_name_that_changes_the_path_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=r"^name = "):
        Timeout(stream="upstream", timeout_ms=0, name=name)


def test_the_common_base_cannot_be_created() -> None:
    with pytest.raises(TypeError, match="base"):
        Toxic(stream="upstream")
