"""What each fault really does, as a raw client and the server see it; and that it is undone whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from chaos.link_faults import injected
from chaos.ports import free_ports
from chaos.proxied_link import ProxiedLink
from resilience.errors import ToxiproxyError
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault
from resilience.experiment.primitives import Direction
from resilience.lab.canary import ProbeResult, probe

from ..support.deadlines import HANG_S
from ..support.http_stub import HttpStub, RawConnection
from ..support.processes import eventually

CUT = CutFault(at=1.0, cohorts=("alpha",))
REFUSE = RefuseFault(at=1.0, cohorts=("alpha",), duration=1.0)


def blackhole(direction: Direction = Direction.BOTH) -> BlackholeFault:
    return BlackholeFault(at=1.0, cohorts=("alpha",), duration=1.0, direction=direction)


async def test_a_cut_ends_open_connections_and_takes_new_ones_at_once(link: ProxiedLink) -> None:
    """The open one sees its end; the next one is answered."""
    held = await RawConnection.open(link.address)
    assert await held.echo(b"hello") == b"hello"
    async with injected(link, CUT):
        pass
    assert await held.hear() == b""
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    held.drop()


async def test_refuse_ends_connections_and_refuses_new_ones_until_it_ends(link: ProxiedLink) -> None:
    """Refused for as long as it lasts, answered right after."""
    held = await RawConnection.open(link.address)
    assert await held.echo(b"hello") == b"hello"
    async with injected(link, REFUSE) as fault:
        assert await held.hear() == b""
        assert await probe(link.address, HANG_S) is ProbeResult.REFUSED
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    assert fault.began.before <= fault.began.after < fault.ended.before <= fault.ended.after
    held.drop()


async def test_a_blackhole_is_silent_without_an_end_and_its_end_closes_the_link(
    link: ProxiedLink, stub: HttpStub
) -> None:
    """Nothing arrives at either end, new connections are accepted and never answered, healing is an end."""
    held = await RawConnection.open(link.address)
    assert await held.echo(b"before") == b"before"
    async with injected(link, blackhole()):
        assert await held.echo(b"during", within=0.3) is None
        assert await probe(link.address, 0.3) is ProbeResult.SILENT
    assert await held.hear() == b""
    assert b"during" not in stub.received
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    held.drop()


@pytest.mark.parametrize("direction, arrives", [(Direction.UP, False), (Direction.DOWN, True)])
async def test_a_blackhole_of_one_direction_leaves_the_other(
    link: ProxiedLink, stub: HttpStub, direction: Direction, arrives: bool
) -> None:
    """Upwards the server hears nothing; downwards it hears, and its echo vanishes."""
    held = await RawConnection.open(link.address)
    assert await held.echo(b"before") == b"before"
    async with injected(link, blackhole(direction)):
        assert await held.echo(b"during", within=0.3) is None
        if arrives:
            await eventually(lambda: b"during" in stub.received)
    assert (b"during" in stub.received) is arrives
    held.drop()


@pytest.mark.parametrize("fault", [REFUSE, blackhole()], ids=["refuse", "blackhole"])
async def test_a_fault_is_undone_when_its_task_is_cancelled(link: ProxiedLink, fault: AnyFault) -> None:
    """Cancelled in the middle, the link is whole again when the task has ended."""
    inside = asyncio.Event()

    async def hold() -> None:
        async with injected(link, fault):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await inside.wait()
    assert await probe(link.address, 0.3) is not ProbeResult.ANSWERED
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


async def test_two_refusals_at_once_end_with_the_later_one(link: ProxiedLink) -> None:
    """The link is down until both have ended."""
    async with injected(link, REFUSE):
        async with injected(link, REFUSE):
            pass
        assert await probe(link.address, HANG_S) is ProbeResult.REFUSED
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


async def test_two_blackholes_at_once_do_not_trip_over_each_other(link: ProxiedLink) -> None:
    """Each has toxics of its own."""
    async with injected(link, blackhole()):
        async with injected(link, blackhole(Direction.UP)):
            pass
        assert await probe(link.address, 0.3) is ProbeResult.SILENT
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


async def test_a_fault_that_went_with_its_proxy_says_so(link: ProxiedLink) -> None:
    """A proxy replaced in the middle has no fault to undo, and that is an error of the window."""
    with pytest.raises(ToxiproxyError, match="replaced meanwhile"):
        async with injected(link, REFUSE):
            assert await link.replace(link.generation)
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


async def test_a_replaced_proxy_keeps_its_port_and_is_replaced_once(link: ProxiedLink) -> None:
    """Two who found the same proxy dead get one new one, where the clients expect it."""
    seen, address, starts = link.generation, link.address, link.process.starts
    link.process.suspend()
    assert sorted(await asyncio.gather(link.replace(seen), link.replace(seen))) == [False, True]
    assert link.address == address
    assert link.process.starts == starts + 1
    assert await probe(address, HANG_S) is ProbeResult.ANSWERED


async def test_a_link_whose_port_is_taken_opens_on_another(
    link: ProxiedLink, stub: HttpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port lost between the choice and the listening costs another try, not the run."""
    free = free_ports(1)
    taken = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    offers = iter([taken.sockets[0].getsockname()[1], *free])
    await link.api.delete_proxy(link.cohort)
    monkeypatch.setattr("chaos.proxied_link.free_ports", lambda n, host: [next(offers)])
    await link.connect(stub.address)
    assert link.address.port == free[0]
    await eventually(lambda: link.process.alive)
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    taken.close()
    await taken.wait_closed()
