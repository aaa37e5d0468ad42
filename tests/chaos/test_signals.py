"""Signals end a run once, in order, and never its clean-up."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from chaos.signals import SignalCancellation, interruptible

from ..support.processes import eventually


async def test_the_first_signal_cancels_and_later_ones_leave_the_clean_up_alone() -> None:
    """A second Ctrl-C during the clean-up changes nothing; the first one is remembered by name."""
    cleaned = []

    async def body() -> SignalCancellation:
        with interruptible() as signals:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                signals.mask()
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0.05)
                cleaned.append(True)
            return signals

    assert (await asyncio.create_task(body())).by == "SIGTERM"
    assert cleaned


async def test_a_signal_during_the_clean_up_of_a_finished_run_does_not_interrupt_it() -> None:
    """What was completed stays completed."""
    with interruptible() as signals:
        signals.mask()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.05)
    assert signals.by is None


async def test_afterwards_signals_mean_what_they_meant() -> None:
    """Ctrl-C is a KeyboardInterrupt again, or whatever the loop's owner made of it."""
    with interruptible():
        pass
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: bool(heard))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_only_a_task_can_be_interrupted() -> None:
    """Without a running loop there is nothing to cancel."""
    with pytest.raises(RuntimeError), interruptible():
        pass
