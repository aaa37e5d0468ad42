"""Signals request a run's end once, never interrupt its clean-up, and mean afterwards what they meant before."""

from __future__ import annotations

import os
import signal

from resilience.lab.cancellation import Cancellation
from resilience.lab.signals import cancelled_by_signals

from ...support.processes import eventually_sync


def test_the_first_signal_requests_the_end_and_the_second_is_only_answered() -> None:
    cancellation, said = Cancellation(), list[str]()
    with cancelled_by_signals(cancellation, said.append):
        os.kill(os.getpid(), signal.SIGTERM)
        assert eventually_sync(lambda: cancellation.reason is not None)
        assert not said
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually_sync(lambda: bool(said))
    assert cancellation.reason == "SIGTERM"
    assert "the run is ending" in said[0]


def test_a_signal_during_the_clean_up_of_a_finished_run_does_not_interrupt_it() -> None:
    cancellation, said = Cancellation(), list[str]()
    cancelled = []
    cancellation.bind(lambda: cancelled.append(True))
    with cancelled_by_signals(cancellation, said.append):
        cancellation.mask()
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually_sync(lambda: bool(said))
    assert cancellation.reason is None
    assert not cancelled


def test_afterwards_signals_mean_what_they_meant() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with cancelled_by_signals(Cancellation(), lambda _: None):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert eventually_sync(lambda: bool(heard))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
