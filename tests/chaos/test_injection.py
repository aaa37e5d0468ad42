"""The core's injector on a real link: every fault is seen, and a proxy that hangs or lies costs its window only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chaos.proxied_link import ProxiedLink
from chaos.toxiproxy.chain import ToxicChain
from chaos.toxiproxy.toxics import Toxic
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.eventlog.writer import EventList
from resilience.experiment.faults import (
    AnyFault,
    BandwidthFault,
    BlackholeFault,
    CutFault,
    CutMidMessageFault,
    FreezeFault,
    LatencyFault,
    RefuseFault,
    ResetFault,
    SliceFault,
    SlowCloseFault,
    StallFault,
)
from resilience.experiment.primitives import Direction, LinkOperation
from resilience.experiment.schedule import FaultWindow
from resilience.lab.asyncio_clock import AsyncioClock
from resilience.lab.canary import ProbeResult, probe
from resilience.lab.injector import FaultInjector
from resilience.lab.recorder import RunRecorder
from resilience.lab.system import CallTimes
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from ..support.deadlines import HANG_S
from ..support.http_stub import HttpStub, RawConnection
from ..support.processes import eventually
from ..support.proxies import process_of

ALPHA = ("alpha",)
UNTIL = 1000.0
K = LogEventKind


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a test that sets a limit of its own has a canary that gives up."""
    monkeypatch.setattr("resilience.lab.injector.CONFIRM_S", HANG_S)
    monkeypatch.setattr("resilience.lab.injector.CLEAR_S", HANG_S)


class EventClock(AsyncioClock):
    """The next planned moment comes when all that belongs before it has happened, however long that takes.

    A window begins when its canaries are ready and ends when ``may_end`` says so: a process that stands still makes it
    longer, but neither late nor too short for what is to happen in it.
    """

    def __init__(self, clock: RunClock, has_begun: Callable[[], bool], may_end: Callable[[], bool]) -> None:
        super().__init__(clock)
        self._has_begun, self._may_end = has_begun, may_end

    async def sleep_until(self, when: Instant) -> None:
        """Return when the window may end, if it has begun; else at once."""
        if self._has_begun():
            await eventually(self._may_end, when - self.now())


class LinkSystem:
    """As much of a system as the injector needs: a clock and links."""

    def __init__(self, clock: AsyncioClock, links: Mapping[str, ProxiedLink]) -> None:
        self.clock, self.links = clock, links

    def server_is_silent(self) -> bool:
        """It answers."""
        return False


class Injection:
    """The injector on one link, with its records. A window ends once it was judged and ``happened`` is set."""

    def __init__(self, clock: RunClock, link: ProxiedLink) -> None:
        self.log = EventList()
        self.happened = asyncio.Event()
        self.happened.set()
        event_clock = EventClock(clock, lambda: bool(self.of(K.FAULT_STARTED)), self._may_end)
        system: Any = LinkSystem(event_clock, {"alpha": link})
        self._clock = clock
        self._injector = FaultInjector(system, RunRecorder(self.log, Lane.REAL, clock.now))

    def _may_end(self) -> bool:
        is_judged = bool(self.of(K.FAULT_CONFIRMED) or self.of(K.FAULT_INVALID))
        return is_judged and self.happened.is_set()

    async def run(self, fault: AnyFault) -> None:
        """Inject it, counted from now."""
        begins = self._clock.now() + fault.at
        window = FaultWindow(f"0.0:{fault.kind}@alpha", fault, "alpha", ALPHA, begins, begins + fault.length)
        await self._injector.run_schedule([window], until=UNTIL)

    def of(self, kind: LogEventKind) -> list[LogEvent]:
        """What was recorded, of this kind."""
        return [event for event in self.log if event.kind is kind]


@pytest.mark.parametrize(
    "fault",
    [
        CutFault(at=HANG_S, cohorts=ALPHA),
        RefuseFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S),
        BlackholeFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S),
        StallFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S),
        FreezeFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S),
        LatencyFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S, delay=0.2, spread=0.1),
        BandwidthFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S, rate=10_000),
        SliceFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S, size=16, delay=0.01),
        CutMidMessageFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S, after=500),
        SlowCloseFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S, delay=0.5),
    ],
    ids=lambda fault: fault.kind,
)
async def test_every_fault_is_injected_confirmed_and_cleared(
    link: ProxiedLink, clock: RunClock, fault: AnyFault
) -> None:
    injection = Injection(clock, link)
    await injection.run(fault)
    for kind in (K.FAULT_STARTED, K.FAULT_CONFIRMED, K.FAULT_ENDED, K.FAULT_CLEARED):
        assert len(injection.of(kind)) == 1
    assert not injection.of(K.FAULT_INVALID)
    (started,) = injection.of(K.FAULT_STARTED)
    before, after = (float(edge) for edge in (started.detail or "").split(".."))
    assert before <= after
    assert started.t == pytest.approx(before, abs=1e-5)


async def test_a_reset_is_injected_confirmed_and_cleared(resetting_link: ProxiedLink, clock: RunClock) -> None:
    injection = Injection(clock, resetting_link)
    await injection.run(ResetFault(at=HANG_S, cohorts=ALPHA))
    assert injection.of(K.FAULT_CONFIRMED)
    assert injection.of(K.FAULT_CLEARED)


class BypassedLink(ProxiedLink):
    """A link whose operations are confirmed and do nothing, as those of a proxy that no traffic passes."""

    async def apply(self, operation: LinkOperation) -> CallTimes:
        """Do nothing."""
        return CallTimes(0.0, 0.0)


@pytest.mark.parametrize(
    "fault",
    [CutFault(at=HANG_S, cohorts=ALPHA), RefuseFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S)],
    ids=["cut", "refuse"],
)
async def test_an_operation_that_was_confirmed_but_not_done_makes_its_window_invalid(
    link: ProxiedLink, clock: RunClock, monkeypatch: pytest.MonkeyPatch, fault: AnyFault
) -> None:
    link.__class__ = BypassedLink
    monkeypatch.setattr("resilience.lab.injector.CONFIRM_S", 0.6)
    injection = Injection(clock, link)
    await injection.run(fault)
    (invalid,) = injection.of(K.FAULT_INVALID)
    assert "did not see the fault begin" in (invalid.cause or "")
    assert not injection.of(K.FAULT_CONFIRMED)


async def test_a_hung_proxy_is_replaced_its_window_marked_and_the_next_one_valid(
    link: ProxiedLink, clock: RunClock
) -> None:
    link.api.close()
    link.api = link.process.api(0.4)
    link.process.suspend()
    injection = Injection(clock, link)
    await injection.run(RefuseFault(at=0.1, cohorts=ALPHA, duration=0.5))
    assert injection.of(K.FAULT_INVALID)
    assert injection.of(K.HARNESS_FAILED)
    assert process_of(link).starts == 2
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    after = Injection(clock, link)
    await after.run(CutFault(at=HANG_S, cohorts=ALPHA))
    assert after.of(K.FAULT_CONFIRMED)


class BareChain(ToxicChain):
    """Toxics added and removed as Toxiproxy offers it: no tail takes what a removed one held."""

    async def add(self, toxic: Toxic) -> CallTimes:
        return await self._api().add_toxic(self._proxy, toxic)

    async def remove(self, toxic: Toxic) -> CallTimes:
        return await self._api().remove_toxic(self._proxy, toxic.name, live=True)


LEAVING = 8
"""Clients that leave."""


async def leave_during(injection: Injection, link: ProxiedLink, stub: HttpStub) -> None:
    """Clients that are sent bytes while these are held back, and leave without having read them."""
    await eventually(lambda: bool(injection.of(K.FAULT_STARTED)), HANG_S)
    clients = [await RawConnection.open(link.address) for _ in range(LEAVING)]
    for client in clients:
        client.writer.write(b"!")
    await eventually(lambda: stub.received.count(b"!") == LEAVING, HANG_S)
    await stub.push(4)
    for client in clients:
        client.drop()


async def end_impatiently(injection: Injection, link: ProxiedLink, within: Seconds) -> None:
    """Let the window end, with so little time for each of its last operations: they meet a proxy that hangs."""
    await eventually(lambda: bool(injection.of(K.FAULT_CONFIRMED)))
    link.api.close()
    link.api = link.process.api(within)
    injection.happened.set()


STALL = StallFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S, direction=Direction.DOWN)


async def test_a_deadlocked_control_api_ends_the_window_as_invalid_and_the_proxy_is_replaced(
    link: ProxiedLink, clock: RunClock, stub: HttpStub
) -> None:
    """The real deadlock: held bytes of a client that has left, and nothing takes them."""
    link._chain = BareChain(lambda: link.api, link.name)
    injection = Injection(clock, link)
    injection.happened.clear()
    walk = asyncio.create_task(injection.run(STALL))
    await leave_during(injection, link, stub)
    await end_impatiently(injection, link, 1.0)
    await walk
    assert injection.of(K.FAULT_INVALID)
    assert any("hangs" in (event.cause or "") for event in injection.of(K.HARNESS_FAILED))
    assert process_of(link).starts == 2
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


async def test_clients_that_leave_during_a_fault_do_not_hang_the_control_api(
    link: ProxiedLink, clock: RunClock, stub: HttpStub
) -> None:
    injection = Injection(clock, link)
    injection.happened.clear()
    walk = asyncio.create_task(injection.run(STALL))
    await leave_during(injection, link, stub)
    injection.happened.set()
    await walk
    assert not injection.of(K.FAULT_INVALID)
    assert injection.of(K.FAULT_CONFIRMED)
    assert injection.of(K.FAULT_CLEARED)
    assert process_of(link).starts == 1


async def test_a_proxy_that_hangs_in_the_middle_of_a_fault_ends_the_window_as_invalid(
    link: ProxiedLink, clock: RunClock
) -> None:
    injection = Injection(clock, link)
    injection.happened.clear()
    walk = asyncio.create_task(injection.run(RefuseFault(at=HANG_S, cohorts=ALPHA, duration=HANG_S)))
    await eventually(lambda: bool(injection.of(K.FAULT_CONFIRMED)))
    link.process.suspend()
    await end_impatiently(injection, link, 0.4)
    await walk
    assert injection.of(K.FAULT_INVALID)
    assert injection.of(K.FAULT_ENDED)
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
