"""Signals end a run in order, then at once, and mean afterwards what they meant before."""

from __future__ import annotations

import os
import signal

import pytest

from resilience.lab.cancellation import Cancellation
from resilience.lab.signals import cancelled_by_signals

from ...support.processes import eventually_sync


def test_the_first_signal_requests_the_end_and_the_second_aborts() -> None:
    """Each is answered by a line that says what happens now."""
    cancellation, said, killed = Cancellation(), list[str](), list[bool]()
    cancellation.bind_abort(lambda: killed.append(True))
    with cancelled_by_signals(cancellation, said.append):
        signal.raise_signal(signal.SIGTERM)
        assert (cancellation.reason, cancellation.aborted, killed) == ("SIGTERM", None, [])
        assert said[0].startswith("SIGTERM: the run ends now; it stops its processes and stores its history first.")
        signal.raise_signal(signal.SIGINT)
    assert (cancellation.reason, cancellation.aborted, killed) == ("SIGTERM", "SIGINT", [True])
    assert said[1].startswith("SIGINT: the run ends at once; its processes are killed")


def test_a_signal_during_the_clean_up_of_a_finished_run_does_not_interrupt_it() -> None:
    cancellation, said = Cancellation(), list[str]()
    cancelled = []
    cancellation.bind(lambda: cancelled.append(True))
    with cancelled_by_signals(cancellation, said.append):
        cancellation.mask()
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually_sync(lambda: bool(said))
    assert said[0].startswith("SIGINT: the run is ending; it stops its processes and stores its history first.")
    assert cancellation.reason is None
    assert not cancelled


def test_an_abort_before_the_lane_is_ready_kills_as_soon_as_it_is() -> None:
    cancellation, killed = Cancellation(), list[bool]()
    cancellation.abort("SIGINT")
    cancellation.abort("SIGTERM")
    assert (cancellation.reason, cancellation.aborted) == ("SIGINT", "SIGINT")
    cancellation.bind_abort(lambda: killed.append(True))
    assert killed == [True]


def test_a_third_signal_has_the_systems_own_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever hangs, it ends the process."""
    sent: list[tuple[int, object]] = []
    with cancelled_by_signals(Cancellation(), lambda _: None):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        monkeypatch.setattr(os, "kill", lambda _, number: sent.append((number, signal.getsignal(number))))
        signal.raise_signal(signal.SIGTERM)
    assert sent == [(signal.SIGTERM, signal.SIG_DFL)]


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    """As SIGHUP under nohup: the run outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    cancellation = Cancellation()
    try:
        with cancelled_by_signals(cancellation, lambda _: None):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert cancellation.reason is None


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
