"""The orderly stop: closes spread over the window, none before its commit, and a return as spread as the way out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.protocol.server.drain import DRAIN_TICK_S, MAX_COMMIT_WAIT_S, Drain, DrainSettings

SETTINGS = DrainSettings(2.0, 1000.0, 1.0)


def never(key: int) -> bool:
    """No connection waits for a commit."""
    return False


def drained(drain: Drain) -> dict[int, tuple[float, float]]:
    """When each connection is closed and the retry time that it receives; the drain is asked at every tick from 0."""
    closes: dict[int, tuple[float, float]] = {}
    ticks = itertools.count()
    while not drain.is_over:
        now = next(ticks) * DRAIN_TICK_S
        assert now < 100.0
        for key, retry_after in drain.due(now, never):
            assert key not in closes
            closes[key] = (now, retry_after)
    return closes


@pytest.mark.parametrize("connections, window", [(0, 0.0), (1, 2.0), (2000, 2.0), (10_000, 10.0)])
def test_the_window_is_as_long_as_the_return_of_all_would_take(connections: int, window: float) -> None:
    assert SETTINGS.window(connections) == window
    assert Drain(range(connections), SETTINGS, 0.0).retry_after == window + 1.0


@given(st.integers(1, 500))
def test_closes_are_spread_evenly_and_so_are_the_returns(count: int) -> None:
    """The i-th of n is closed at i/n of the window and returns at the end of the window, the pause and its share."""
    closes = drained(Drain(range(count), SETTINGS, 0.0))
    assert list(closes) == list(range(count))
    for key, (closed_at, retry_after) in closes.items():
        share = key / count * 2.0
        assert share <= closed_at + 1e-9
        assert closed_at <= share + DRAIN_TICK_S + 1e-9
        assert closed_at + retry_after == pytest.approx(3.0 + share)


def test_without_connections_the_drain_is_over() -> None:
    drain = Drain([], SETTINGS, 5.0)
    assert drain.is_over
    assert drain.due(5.0, never) == []


def test_a_close_waits_for_its_commit_but_not_without_end() -> None:
    drain = Drain([1, 2], SETTINGS, 0.0)
    waiting = {1, 2}
    assert drain.due(0.0, waiting.__contains__) == []
    assert drain.due(1.0, waiting.__contains__) == []
    waiting.discard(2)
    ((closed, retry_after),) = drain.due(1.05, waiting.__contains__)
    assert closed == 2
    assert retry_after == pytest.approx(2.95)
    assert not drain.is_over
    assert drain.due(MAX_COMMIT_WAIT_S, waiting.__contains__) == []
    assert drain.due(MAX_COMMIT_WAIT_S + 0.01, waiting.__contains__) == [(1, 0.0)]
    assert drain.is_over


def test_only_connections_that_are_due_are_asked_about() -> None:
    """A tick costs as much as the closes that are due, not as all that are left."""
    asked: list[int] = []

    def never_noting(key: int) -> bool:
        asked.append(key)
        return False

    drain = Drain(range(1000), SETTINGS, 0.0)
    for tick in range(41):
        drain.due(tick * DRAIN_TICK_S, never_noting)
    assert sorted(asked) == list(range(1000))
