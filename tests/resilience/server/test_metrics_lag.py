"""The loop's own heartbeat, under a virtual clock: what it tells when the loop was held up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from resilience.runtime import RunClock
from resilience.server.lag import LoopLag
from sim.virtual.loop import VirtualLoop, run_virtual


def lags(script: Callable[[VirtualLoop, LoopLag], Awaitable[None]]) -> list[float]:
    """The lags that were reported while the script ran."""
    reported: list[float] = []

    async def main(loop: VirtualLoop) -> None:
        lag = LoopLag(RunClock(0.0, loop.time), reported.append)
        lag.start()
        await script(loop, lag)
        lag.stop()
        silent = len(reported)
        await asyncio.sleep(10)
        assert len(reported) == silent, "it woke after its stop"

    run_virtual(main)
    return reported


def test_a_loop_that_keeps_up_has_no_lag() -> None:
    async def script(loop: VirtualLoop, lag: LoopLag) -> None:
        await asyncio.sleep(10.1)
        assert lag.worst() == pytest.approx(0, abs=1e-9)

    assert len(lags(script)) == 40


def test_a_loop_that_was_held_up_says_for_how_long() -> None:
    async def script(loop: VirtualLoop, lag: LoopLag) -> None:
        await asyncio.sleep(1.1)
        loop.now += 0.8  # nothing else runs meanwhile
        await asyncio.sleep(0.1)
        assert lag.worst() == pytest.approx(0.65)

    assert [round(lag, 6) for lag in lags(script)] == [0, 0, 0, 0, 0.65]


def test_a_stall_that_has_passed_is_no_current_lag() -> None:
    """One late wake-up says that the loop was late; only the next one says that it still is."""

    async def script(loop: VirtualLoop, lag: LoopLag) -> None:
        assert lag.current() == 0
        await asyncio.sleep(1.1)
        loop.now += 15
        await asyncio.sleep(0)
        assert lag.current() == pytest.approx(0, abs=1e-9), "before its timer"
        await asyncio.sleep(0.1)
        assert lag.worst() > 14
        assert lag.current() == pytest.approx(0, abs=1e-9), "after it"
        for _ in range(3):
            loop.now += 3
            await asyncio.sleep(0.01)
        assert lag.current() == pytest.approx(2.76, abs=0.01)
        await asyncio.sleep(0.5)
        assert lag.current() == pytest.approx(0, abs=1e-9)

    lags(script)


def test_the_worst_is_forgotten_in_time() -> None:
    async def script(loop: VirtualLoop, lag: LoopLag) -> None:
        await asyncio.sleep(1.1)
        loop.now += 0.8
        await asyncio.sleep(4)
        assert lag.worst(within=5) == pytest.approx(0.65)
        await asyncio.sleep(2)
        assert lag.worst(within=5) == pytest.approx(0, abs=1e-9)
        assert lag.worst() == pytest.approx(0.65)
        assert lag.worst(within=0) == 0
        await asyncio.sleep(60)
        assert lag.worst() == pytest.approx(0, abs=1e-9)

    lags(script)
