"""The standing probe of the server: which silence is the server's, a fault's, or the observer's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import SystemFailedError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.eventlog.writer import EventList
from resilience.lab.canary import ProbeResult
from resilience.lab.recorder import RunRecorder
from resilience.lab.server_watch import HANG_S, PROBE_INTERVAL_S, ServerWatch, SilenceMeter
from sim.virtual.loop import VirtualLoop, run_virtual

K = LogEventKind


def watched(
    answers: Callable[[float], ProbeResult | None],
    *,
    planned: Callable[[float], bool] = lambda _: False,
    until: float = 60.0,
) -> tuple[list[LogEvent], str | None]:
    """The records of a watch of ``until`` virtual seconds, and what it says of the server; no answer: it hangs."""
    log = EventList()

    async def main(loop: VirtualLoop) -> None:
        async def probe() -> ProbeResult:
            while (result := answers(loop.time())) is None:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.01)
            return result

        recorder = RunRecorder(log, Lane.REAL, loop.time)
        watch = ServerWatch(probe, loop.time, lambda: planned(loop.time()), recorder, SilenceMeter())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until):
                await watch.run()

    try:
        run_virtual(main)
    except SystemFailedError as failed:
        return log, str(failed)
    return log, None


def test_a_server_that_answers_leaves_no_record() -> None:
    assert watched(lambda _: ProbeResult.ANSWERED) == ([], None)


@pytest.mark.parametrize("met", [None, ProbeResult.REFUSED, ProbeResult.CLOSED])
def test_a_server_that_stops_answering_has_failed(met: ProbeResult | None) -> None:
    log, failure = watched(lambda t: ProbeResult.ANSWERED if t < 14.0 else met)
    assert failure == "the server stopped answering at 14.0 s, for 10 s"
    (silent,) = log
    assert silent.kind is K.SERVER_SILENT
    assert silent.t == pytest.approx(14.0, abs=PROBE_INTERVAL_S)
    assert silent.cause == (met or ProbeResult.SILENT).value


def test_a_silence_that_ends_is_recorded_with_its_length() -> None:
    log, failure = watched(lambda t: None if 14.0 <= t < 20.0 else ProbeResult.ANSWERED)
    assert failure is None
    assert [event.kind for event in log] == [K.SERVER_SILENT, K.SERVER_ANSWERS]
    assert log[1].value == pytest.approx(6.0, abs=2 * PROBE_INTERVAL_S)


def test_a_fault_explains_a_silence_of_any_length() -> None:
    log, failure = watched(
        lambda t: ProbeResult.REFUSED if 14.0 <= t < 44.0 else ProbeResult.ANSWERED, planned=lambda t: 14.0 <= t < 44.0
    )
    assert failure is None
    assert [(event.kind, event.cause) for event in log] == [(K.SERVER_SILENT, "planned"), (K.SERVER_ANSWERS, None)]


def test_a_server_that_does_not_come_back_after_a_fault_has_failed() -> None:
    _, failure = watched(
        lambda t: ProbeResult.REFUSED if t >= 14.0 else ProbeResult.ANSWERED, planned=lambda t: 14.0 <= t < 24.0
    )
    assert failure == "the server did not answer again after the fault that silenced it at 14.0 s"


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.0, 100.0)), max_size=60))
def test_a_server_fails_only_by_what_was_observed(observations: list[tuple[bool, bool, float]]) -> None:
    """Never after less than the limit, and never by time in which the observer itself stood still."""
    meter, now, seen = SilenceMeter(), 0.0, 0.0
    for answers, planned, step in observations:
        now += step
        if answers:
            meter.answer(now)
            seen = 0.0
        else:
            meter.wait(now, step, planned=planned)
            seen = 0.0 if planned else seen + min(step, 2 * PROBE_INTERVAL_S)
        assert (meter.failure is not None) is (seen >= HANG_S)
