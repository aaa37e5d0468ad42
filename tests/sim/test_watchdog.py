"""Simulations in which virtual time stands still: they end, as the system's failure, with the stack that shows it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.build import build_report
from resilience.errors import ExitCode, SystemFailedError
from resilience.eventlog.vocabulary import LogEventKind, Verdict
from resilience.experiment.loader import load
from resilience.experiment.spec import Experiment
from resilience.lab.cancellation import Cancellation
from resilience.lab.run import STOPPED_LOG, execute
from resilience.lab.run_directory import RunStatus, read_run_info
from resilience.protocol.messages import ClientMessage, Resume
from resilience.protocol.server.room import Room
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane
from sim.watchdog import WATCH_INTERVAL_S, StallMeter, Watchdog
from tests.support.stored_lines import read_events

SMALL: Experiment = msgspec.structs.replace(load("smoke"), expectations=())
STALL_S = 0.5


def spin() -> None:
    """Never return, in Python code."""
    while True:
        pass


def block() -> None:
    """Never return, inside the interpreter: no exception can reach this thread."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@pytest.mark.parametrize("stop", [spin, block], ids=["spins", "blocks"])
@pytest.mark.parametrize("lane", [VirtualLane, ModelLane], ids=["virtual", "model"])
def test_a_server_that_stops_at_a_resume_fails_with_its_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: Callable[..., Any], stop: Callable[[], None]
) -> None:
    """The run ends, its report is red, and a file shows where the server stands."""
    real = Room.receive
    seen: list[float] = []

    def receive(room: Room, message: ClientMessage, connection: int, now: float) -> None:
        if isinstance(message, Resume):
            seen.append(now)
            stop()
        real(room, message, connection, now)

    monkeypatch.setattr(Room, "receive", receive)
    outcome = execute(lane(stall_after=STALL_S), SMALL, 1, tmp_path)
    assert seen
    assert outcome.status is RunStatus.COMPLETED
    assert "the server stopped: no virtual time passed for" in (outcome.cause or "")
    assert stop.__name__ in (tmp_path / STOPPED_LOG).read_text()
    failed = [event for event in read_events(tmp_path) if event.kind is LogEventKind.SERVER_FAILED]
    assert [event.cause for event in failed] == [outcome.cause]
    summary = build_report(tmp_path)
    assert (summary.verdict, summary.exit_code) == (Verdict.FAIL, ExitCode.FAIL)
    assert summary.reasons[0] == outcome.cause
    assert read_run_info(tmp_path).cause == outcome.cause


def test_a_loop_with_nothing_left_to_do_is_the_systems_failure() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(SystemFailedError, match="the server stopped: deadlock at"):
        VirtualLane().run(wait, Cancellation())


def test_a_simulation_that_ends_returns_its_result_or_raises() -> None:
    def fail() -> None:
        raise ZeroDivisionError("planted")

    watchdog = Watchdog()
    assert watchdog.run(lambda: 7, Cancellation()) == 7
    with pytest.raises(ZeroDivisionError, match="planted"):
        watchdog.run(fail, Cancellation())


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 100.0)), max_size=30), st.floats(0.1, 20.0))
def test_only_observed_time_at_one_virtual_instant_counts(notes: list[tuple[int, float]], limit: float) -> None:
    """A clock that moved is never called stalled, nor is one that was not observed for longer than the limit."""
    meter, shown, since = StallMeter(limit), None, 0.0
    for now, step in notes:
        since = since + min(step, 2 * WATCH_INTERVAL_S) if now == shown else 0.0
        shown = now
        assert meter.note(now, step) is (since >= limit)
