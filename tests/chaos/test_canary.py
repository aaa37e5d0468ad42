"""The canary sees each fault that is there, and none that is not."""

from __future__ import annotations

import asyncio

import pytest

from chaos.link_faults import injected
from chaos.ports import free_ports
from chaos.proxied_link import Address, ProxiedLink
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault
from resilience.experiment.primitives import Direction
from resilience.lab.canary import Canary, ProbeResult, probe

from ..support.deadlines import HANG_S
from ..support.http_stub import HttpStub

ALPHA = ("alpha",)
CUT = CutFault(at=1.0, cohorts=ALPHA)
REFUSE = RefuseFault(at=1.0, cohorts=ALPHA, duration=1.0)
HOLES = {way: BlackholeFault(at=1.0, cohorts=ALPHA, duration=1.0, direction=way) for way in Direction}
FAULTS: dict[str, AnyFault] = {"cut": CUT, "refuse": REFUSE, **{f"blackhole-{way}": HOLES[way] for way in HOLES}}

every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


LOOK_S = 0.6
"""How long a canary looks for a fault that is not there."""


async def sees(canary: Canary, fault: AnyFault, within: float = LOOK_S) -> bool:
    """Whether the canary sees the fault in time."""
    try:
        async with asyncio.timeout(within):
            await canary.wait_until_faulty(fault)
    except TimeoutError:
        return False
    return True


@every_fault
async def test_it_sees_a_fault_that_is_there_and_its_end(link: ProxiedLink, stub: HttpStub, fault: AnyFault) -> None:
    """Over real sockets and the real proxy."""
    async with Canary(link.address, stub.address) as canary:
        await canary.prepare(HANG_S)
        assert canary.problem is None
        async with injected(link, fault):
            assert await sees(canary, fault, HANG_S)
        async with asyncio.timeout(HANG_S):
            await canary.wait_until_healthy()


@every_fault
async def test_it_does_not_see_a_fault_that_was_not_injected(
    link: ProxiedLink, stub: HttpStub, fault: AnyFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A healthy link shows no fault, however long the canary looks; a pause of the machine is no silence here."""
    monkeypatch.setattr("resilience.lab.canary.MIN_SILENCE_S", HANG_S)
    async with Canary(link.address, stub.address) as canary:
        await canary.prepare(HANG_S)
        assert not await sees(canary, fault)


async def test_a_cut_is_not_taken_for_a_blackhole_nor_a_blackhole_for_a_cut(link: ProxiedLink, stub: HttpStub) -> None:
    """Each kind shows in its own way only."""
    async with Canary(link.address, stub.address) as canary, injected(link, HOLES[Direction.BOTH]):
        await canary.prepare(0.1)
        assert not await sees(canary, CUT, within=0.5)
        assert not await sees(canary, REFUSE, within=0.5)


async def test_a_stalled_server_is_not_taken_for_a_blackhole(link: ProxiedLink, stub: HttpStub) -> None:
    """Silence counts only while the server answers a direct request, which the canary gives a second."""
    async with Canary(link.address, stub.address) as canary:
        await canary.prepare(HANG_S)
        stub.stalled = True
        assert not await sees(canary, HOLES[Direction.BOTH], within=2.5)
        stub.stalled = False


async def test_a_server_that_drops_idle_connections_is_not_taken_for_a_cut(link: ProxiedLink, stub: HttpStub) -> None:
    """The end counts only while a direct connection goes on."""
    async with Canary(link.address, stub.address) as canary:
        await canary.prepare(HANG_S)
        stub.drop_all()
        assert not await sees(canary, CUT)


async def test_a_link_that_was_down_before_the_fault_is_doubted() -> None:
    """What was broken already proves nothing."""
    nowhere = Address("127.0.0.1", free_ports(1)[0])
    async with Canary(nowhere, nowhere) as canary:
        assert canary.problem is not None
        await canary.prepare(2.0)
        assert canary.problem == "the link was not usable before the fault: refused"
    assert await probe(nowhere, HANG_S) is ProbeResult.REFUSED
