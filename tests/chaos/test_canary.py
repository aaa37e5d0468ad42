"""The network canary sees each fault that is there and none that is not, over real sockets and the real proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from chaos.ports import free_ports
from chaos.proxied_link import Address, ProxiedLink
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
from resilience.experiment.primitives import (
    Direction,
    LateClose,
    LinkOperation,
    SlowBytes,
    SlowReplies,
    SmallPieces,
    Symptom,
)
from resilience.lab.canary import NetworkCanary, ProbeResult, probe

from ..support.deadlines import HANG_S
from ..support.http_stub import HttpStub
from ..support.processes import eventually

ALPHA = ("alpha",)
CUT = CutFault(at=1.0, cohorts=ALPHA)
RESET = ResetFault(at=1.0, cohorts=ALPHA)
REFUSE = RefuseFault(at=1.0, cohorts=ALPHA, duration=1.0)
HOLES = {way: BlackholeFault(at=1.0, cohorts=ALPHA, duration=1.0, direction=way) for way in Direction}
STALLS = {way: StallFault(at=1.0, cohorts=ALPHA, duration=1.0, direction=way) for way in Direction}
FAULTS: dict[str, AnyFault] = {
    "cut": CUT,
    "refuse": REFUSE,
    **{f"blackhole-{way}": HOLES[way] for way in HOLES},
    **{f"stall-{way}": STALLS[way] for way in STALLS},
    "freeze": FreezeFault(at=1.0, cohorts=ALPHA, duration=1.0),
    "latency": LatencyFault(at=1.0, cohorts=ALPHA, duration=1.0, delay=0.1, spread=0.05),
    "bandwidth": BandwidthFault(at=1.0, cohorts=ALPHA, duration=1.5, rate=20_000),
    "slice": SliceFault(at=1.0, cohorts=ALPHA, duration=1.5, size=8, delay=0.008),
    "cut_mid_message": CutMidMessageFault(at=1.0, cohorts=ALPHA, duration=1.5, after=1000),
    "cut_mid_message-down": CutMidMessageFault(at=1.0, cohorts=ALPHA, duration=1.5, after=10, direction=Direction.DOWN),
    "slow_close": SlowCloseFault(at=1.0, cohorts=ALPHA, duration=1.5, delay=0.3),
    "slow_close-up": SlowCloseFault(at=1.0, cohorts=ALPHA, duration=1.5, delay=0.3, direction=Direction.UP),
}
PAUSE_S = 5.0
"""Longer than a busy machine stands still, so that its pauses are not taken for a slow link."""

SYMPTOMS: dict[str, Symptom] = {
    **{name: fault.composition.symptom for name, fault in {**FAULTS, "reset": RESET}.items()},
    "latency": SlowReplies(PAUSE_S),
    "bandwidth": SlowBytes(padding=5000, at_least=PAUSE_S),
    "slice": SmallPieces(size=8, delay=PAUSE_S),
    "slow_close": LateClose(PAUSE_S),
    "slow_close-up": LateClose(PAUSE_S),
}

SOON_S = 0.6
"""How long a canary looks for a fault that is not there."""


async def apply_all(link: ProxiedLink, operations: Sequence[object]) -> None:
    for operation in operations:
        assert isinstance(operation, LinkOperation)
        await link.apply(operation)


@asynccontextmanager
async def injected(link: ProxiedLink, fault: AnyFault) -> AsyncIterator[None]:
    await apply_all(link, fault.composition.begin)
    yield
    await apply_all(link, fault.composition.end)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_it_sees_a_fault_that_is_there_and_its_end(link: ProxiedLink, fault: AnyFault) -> None:
    async with link.canary() as canary:
        await canary.prepare(HANG_S)
        assert canary.problem is None
        async with injected(link, fault):
            assert await canary.saw_symptom(fault.composition.symptom, HANG_S)
        assert await canary.saw_health(HANG_S)


async def test_it_sees_a_reset_on_a_link_that_resets(resetting_link: ProxiedLink) -> None:
    async with resetting_link.canary() as canary:
        await canary.prepare(HANG_S)
        async with injected(resetting_link, RESET):
            assert await canary.saw_symptom(RESET.composition.symptom, HANG_S)


async def test_an_orderly_end_is_not_taken_for_a_reset(link: ProxiedLink) -> None:
    async with link.canary() as canary:
        await canary.prepare(HANG_S)
        async with injected(link, CUT):
            assert not await canary.saw_symptom(RESET.composition.symptom, SOON_S)


@pytest.mark.parametrize("symptom", SYMPTOMS.values(), ids=SYMPTOMS.keys())
async def test_it_does_not_see_a_fault_that_was_not_injected(
    link: ProxiedLink, symptom: Symptom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resilience.lab.canary.SILENCE_S", HANG_S)  # a pause of the machine is no silence here
    async with link.canary() as canary:
        await canary.prepare(HANG_S)
        assert not await canary.saw_symptom(symptom, SOON_S)


async def test_silence_is_neither_an_end_nor_a_refusal(link: ProxiedLink) -> None:
    async with link.canary() as canary, injected(link, HOLES[Direction.BOTH]):
        await canary.prepare(0.1)
        assert not await canary.saw_symptom(CUT.composition.symptom, SOON_S)
        assert not await canary.saw_symptom(REFUSE.composition.symptom, SOON_S)


async def test_a_stalled_server_is_not_taken_for_a_silent_link(link: ProxiedLink, stub: HttpStub) -> None:
    async with link.canary() as canary:
        await canary.prepare(HANG_S)
        stub.stalled = True
        symptom = HOLES[Direction.BOTH].composition.symptom
        assert not await canary.saw_symptom(symptom, 2.5)  # the server has a second for each request
        stub.stalled = False


async def test_a_server_that_drops_idle_connections_is_not_taken_for_a_cut(link: ProxiedLink, stub: HttpStub) -> None:
    async with link.canary() as canary:
        await canary.prepare(HANG_S)
        stub.drop_all()
        assert not await canary.saw_symptom(CUT.composition.symptom, SOON_S)


async def test_a_link_that_was_down_before_the_fault_is_doubted() -> None:
    nowhere = Address("127.0.0.1", free_ports(1)[0])
    async with NetworkCanary(nowhere, nowhere) as canary:
        assert canary.problem is not None
        await canary.prepare(2.0)
        assert canary.problem == "the link was not usable before the fault: refused"
    assert await probe(nowhere, HANG_S) is ProbeResult.REFUSED


async def test_a_server_that_ends_while_the_canary_prepares_is_tried_again(stub: HttpStub) -> None:
    """The link has answered when the connection straight to the server is refused; the server returns in time."""
    server = Address("127.0.0.1", free_ports(1)[0])
    accepted: list[asyncio.StreamWriter] = []
    async with NetworkCanary(stub.address, server) as canary:
        preparing = asyncio.ensure_future(canary.prepare(HANG_S))
        await eventually(lambda: b"GET" in stub.received)
        async with await asyncio.start_server(lambda _, writer: accepted.append(writer), *server):
            await preparing
            assert canary.problem is None
            assert not canary.hold_ended
    for writer in accepted:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
