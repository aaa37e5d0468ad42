"""Simulations in which virtual time stands still: they end, as the system's failure, with the stack that shows it."""

from __future__ import annotations

import asyncio
import signal
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
from resilience.lab.progress import Progress
from resilience.lab.run import STOPPED_LOG, RunOutcome, execute
from resilience.lab.run_directory import RunStatus, read_run_info
from resilience.lab.signals import cancelled_by_signals
from resilience.protocol.messages import ClientMessage, Resume
from resilience.protocol.server.room import Room
from sim.model.lab_clock import SimLabClock
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane
from sim.watchdog import WATCH_INTERVAL_S, StallMeter, Watchdog
from tests.support.processes import eventually_sync
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


@pytest.fixture
def left_running() -> Callable[[], set[threading.Thread]]:
    """Threads that the test started and that still run; those that are blocked for good stay from other tests."""
    before = set(threading.enumerate())
    return lambda: set(threading.enumerate()) - before


LANES = pytest.mark.parametrize("lane", [VirtualLane, ModelLane], ids=["virtual", "model"])


@LANES
def test_a_signal_ends_a_simulation_in_order(
    tmp_path: Path, lane: Callable[..., Any], left_running: Callable[[], set[threading.Thread]]
) -> None:
    """The handler runs in the thread that watches, the run in another: it is interrupted, recorded, and gone."""
    cancellation = Cancellation()

    def interrupt(progress: Progress) -> None:
        if progress.phase == "running" and cancellation.reason is None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert eventually_sync(lambda: cancellation.reason is not None)

    with cancelled_by_signals(cancellation, print):
        outcome = execute(lane(), SMALL, 1, tmp_path, progress=interrupt, cancellation=cancellation)
    assert (outcome.status, outcome.cause) == (RunStatus.INTERRUPTED, "interrupted by SIGINT")
    assert read_run_info(tmp_path).status is RunStatus.INTERRUPTED
    assert read_events(tmp_path)[-1].outcome == "interrupted"
    assert not left_running()


def test_an_interrupt_without_a_handler_ends_the_simulation_first(
    left_running: Callable[[], set[threading.Thread]],
) -> None:
    """As in a test or a notebook: KeyboardInterrupt in the caller's thread, and nothing left running."""
    cancellation = Cancellation()

    async def interrupted() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        while True:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1.0)

    with pytest.raises(KeyboardInterrupt):
        VirtualLane().run(interrupted, cancellation)
    assert cancellation.reason == "SIGINT"
    assert not left_running()


@LANES
def test_a_simulation_may_be_executed_in_any_thread(tmp_path: Path, lane: Callable[..., Any]) -> None:
    outcomes: list[RunOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(execute(lane(), SMALL, 1, tmp_path)))
    thread.start()
    thread.join()
    assert outcomes == [RunOutcome(RunStatus.COMPLETED)]


def test_a_simulation_may_run_another(left_running: Callable[[], set[threading.Thread]]) -> None:
    """Each with a watchdog of its own; what stops inside is what stops outside."""
    inner = Watchdog(STALL_S)
    assert Watchdog().run(lambda: inner.run(lambda: 7, Cancellation()), Cancellation()) == 7
    with pytest.raises(SystemFailedError, match="no virtual time passed"):
        Watchdog().run(lambda: inner.run(spin, Cancellation()), Cancellation())
    assert not left_running()


@LANES
def test_a_request_that_arrives_while_the_run_ends_does_not_cancel_its_end(
    monkeypatch: pytest.MonkeyPatch, lane: Callable[..., Any]
) -> None:
    """It was made before and is carried out after: the requester is another thread."""
    cancellation = Cancellation()
    bound: list[Callable[[], None]] = []
    monkeypatch.setattr(cancellation, "bind", bound.append)

    async def end() -> str:
        cancellation.mask()
        bound[0]()
        await SLEEP[lane](driver)
        return "ended in order"

    driver = lane()
    assert driver.run(end, cancellation) == "ended in order"


SLEEP: dict[Any, Callable[[Any], Any]] = {
    VirtualLane: lambda _: asyncio.sleep(1.0),
    ModelLane: lambda driver: SimLabClock(driver._environment).sleep_until(1.0),
}


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 100.0)), max_size=30), st.floats(0.1, 20.0))
def test_only_observed_time_at_one_virtual_instant_counts(notes: list[tuple[int, float]], limit: float) -> None:
    """A clock that moved is never called stalled, nor is one that was not observed for longer than the limit."""
    meter, shown, since = StallMeter(limit), None, 0.0
    for now, step in notes:
        since = since + min(step, 2 * WATCH_INTERVAL_S) if now == shown else 0.0
        shown = now
        assert meter.note(now, step) is (since >= limit)
