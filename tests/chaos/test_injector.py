"""The injector walks the schedule in planned time, proves each fault, and survives its own tools."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.injector import Injector
from chaos.journal import Journal
from chaos.proxied_link import ProxiedLink
from chaos.toxiproxy.client import CallTimes
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.experiment.faults import AnyFault, Blackhole, Cut, FaultWindow, Refuse
from resilience.lab.canary import ProbeResult, probe
from resilience.runtime import RunClock

from ..support.http_stub import HttpStub
from ..support.processes import eventually, kinds, logged

ALPHA = ("alpha",)
K = LogEventKind


def window(fault: AnyFault, number: int = 0) -> FaultWindow:
    return FaultWindow(f"{number}.0:{fault.kind}@alpha", fault, "alpha", fault.at, fault.at + fault.length)


def told(folder: Path, kind: LogEventKind, number: int = 0) -> list[LogEvent]:
    return [event for event in logged(folder) if event.kind is kind and (event.ref or "").startswith(f"{number}.")]


@contextmanager
def timeout(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr("chaos.injector.CONFIRM_TIMEOUT_S", seconds)
        patch.setattr("chaos.proxied_link.API_DEADLINE_S", seconds)
        yield


async def test_every_fault_is_injected_on_time_confirmed_and_cleared(
    link: ProxiedLink, stub: HttpStub, clock: RunClock, journal: Journal, tmp_path: Path
) -> None:
    """Each window leaves four events, with planned time, bracket, cohort and fault id."""
    faults: list[AnyFault] = [
        Cut(at=0.6, cohorts=ALPHA),
        Refuse(at=1.4, cohorts=ALPHA, duration=0.4),
        Blackhole(at=2.6, cohorts=ALPHA, duration=0.9),
    ]
    windows = [window(fault, number) for number, fault in enumerate(faults)]
    injector = Injector({"alpha": link}, stub.address, clock, journal)
    await injector.run_schedule(windows, until=10.0)
    for number, planned in enumerate(windows):
        started, ended = told(tmp_path, K.FAULT_STARTED, number), told(tmp_path, K.FAULT_ENDED, number)
        assert [(event.value, event.cohort, event.role) for event in started] == [
            (planned.starts_at, "alpha", Role.INJECTOR)
        ]
        before, after = (float(edge) for edge in (started[0].detail or "").split(".."))
        assert planned.starts_at <= before <= after
        assert started[0].t == pytest.approx(before, abs=1e-5)
        assert started[0].t == pytest.approx(planned.starts_at, abs=0.3)
        assert ended[0].t == pytest.approx(planned.ends_at, abs=0.3)
        assert len(told(tmp_path, K.FAULT_CONFIRMED, number)) == len(told(tmp_path, K.FAULT_CLEARED, number)) == 1
    assert K.FAULT_INVALID not in kinds(tmp_path)
    assert not injector.active


class DeadLink(ProxiedLink):
    """A link whose orders are confirmed and do nothing, as those of a bypassed proxy."""

    async def disable(self) -> CallTimes:
        """Do nothing."""
        return CallTimes(0.0, 0.0)

    async def enable(self) -> CallTimes:
        """Do nothing."""
        return CallTimes(0.0, 0.0)


@pytest.mark.parametrize(
    "fault", [Cut(at=0.1, cohorts=ALPHA), Refuse(at=0.1, cohorts=ALPHA, duration=0.5)], ids=["cut", "refuse"]
)
async def test_a_fault_that_was_ordered_but_not_done_makes_its_window_invalid(  # noqa: PLR0917 - fixtures
    link: ProxiedLink,
    stub: HttpStub,
    clock: RunClock,
    journal: Journal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: AnyFault,
) -> None:
    """The canary does not take the proxy's word for it."""
    link.__class__ = DeadLink
    with timeout(monkeypatch, 0.6):
        await Injector({"alpha": link}, stub.address, clock, journal).run_schedule([window(fault)], until=10.0)
    (invalid,) = told(tmp_path, K.FAULT_INVALID)
    assert "did not see the fault begin" in (invalid.cause or "")
    assert not told(tmp_path, K.FAULT_CONFIRMED)


async def test_a_hung_proxy_is_replaced_its_window_marked_and_the_next_one_valid(
    link: ProxiedLink, stub: HttpStub, clock: RunClock, journal: Journal, tmp_path: Path
) -> None:
    """A proxy that stands still costs its window, not the run."""
    link.api.close()
    link.api = link.process.api(0.4)
    link.process.suspend()
    first = window(Refuse(at=0.1, cohorts=ALPHA, duration=0.5), 0)
    second = window(CutFault(at=3.5, cohorts=ALPHA), 1)
    await Injector({"alpha": link}, stub.address, clock, journal).run_schedule([first, second], until=10.0)
    assert told(tmp_path, K.FAULT_INVALID, 0)
    assert told(tmp_path, K.HARNESS_FAILED, 0)
    assert not told(tmp_path, K.FAULT_INVALID, 1)
    assert told(tmp_path, K.FAULT_CONFIRMED, 1)
    assert link.process.starts == 2
    assert await probe(link.address) is ProbeResult.ANSWERED


async def test_a_proxy_that_hangs_in_the_middle_of_a_fault_ends_the_window_as_invalid(
    link: ProxiedLink, stub: HttpStub, clock: RunClock, journal: Journal, tmp_path: Path
) -> None:
    """The fault began, nobody could end it, so the proxy is replaced and the end is on record."""
    link.api.close()
    link.api = link.process.api(0.4)
    walk = asyncio.create_task(
        Injector({"alpha": link}, stub.address, clock, journal).run_schedule(
            [window(Refuse(at=0.1, cohorts=ALPHA, duration=0.6))], until=10.0
        )
    )
    await eventually(lambda: bool(told(tmp_path, K.FAULT_CONFIRMED)))
    link.process.suspend()
    await walk
    assert told(tmp_path, K.FAULT_INVALID)
    assert told(tmp_path, K.FAULT_ENDED)
    assert await probe(link.address) is ProbeResult.ANSWERED


async def test_a_proxy_that_dies_between_faults_is_replaced(
    link: ProxiedLink, stub: HttpStub, clock: RunClock, journal: Journal, tmp_path: Path
) -> None:
    """The guard notices, says so and puts a new one on the same port."""
    guard = asyncio.create_task(Injector({"alpha": link}, stub.address, clock, journal).guard())
    link.process.kill()
    await eventually(lambda: link.generation == 1)
    (failed,) = [event for event in logged(tmp_path) if event.kind is K.HARNESS_FAILED]
    assert "ended with exit code -9" in (failed.cause or "")
    assert await probe(link.address) is ProbeResult.ANSWERED
    guard.cancel()


async def test_a_window_that_is_stuck_does_not_delay_the_next(  # noqa: PLR0917 - fixtures
    link: ProxiedLink,
    stub: HttpStub,
    clock: RunClock,
    journal: Journal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Faults start when planned even while the canary of an earlier one still looks in vain."""
    stub.stalled = True
    windows = [window(CutFault(at=at, cohorts=ALPHA), number) for number, at in enumerate((0.3, 0.6, 0.9))]
    with timeout(monkeypatch, 1.5):
        await Injector({"alpha": link}, stub.address, clock, journal).run_schedule(windows, until=2.0)
    starts = [event.t for event in logged(tmp_path) if event.kind is K.FAULT_STARTED]
    assert starts == pytest.approx([0.3, 0.6, 0.9], abs=0.25)
    assert len([kind for kind in kinds(tmp_path) if kind == K.FAULT_INVALID.value]) >= 3
