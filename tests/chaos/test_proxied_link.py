"""What each primitive operation does on the wire, at both ends of a real Toxiproxy, and how a link is repaired."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from chaos.ports import free_ports
from chaos.proxied_link import Address, ProxiedLink
from resilience.errors import InjectionError, ToxiproxyError
from resilience.experiment.primitives import (
    CloseAll,
    Condition,
    Direction,
    Drop,
    Impose,
    Lift,
    Refuse,
    ResetAll,
)
from resilience.lab.canary import ProbeResult, probe

from ..support.deadlines import HANG_S
from ..support.http_stub import HttpStub, RawConnection
from ..support.processes import eventually
from ..support.proxies import process_of

REFUSE = Refuse()


@asynccontextmanager
async def holding(link: ProxiedLink, condition: Condition) -> AsyncIterator[None]:
    await link.apply(Impose(condition))
    yield
    await link.apply(Lift(condition))


async def test_a_close_ends_open_connections_and_accepts_new_ones_at_once(link: ProxiedLink) -> None:
    held = await RawConnection.open(link.address)
    assert await held.echo(b"hello") == b"hello"
    times = await link.apply(CloseAll())
    assert times.before <= times.after
    assert await held.hear() == b""
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    held.drop()


async def test_refuse_and_close_end_connections_and_refuse_new_ones_until_the_lift(link: ProxiedLink) -> None:
    held = await RawConnection.open(link.address)
    assert await held.echo(b"hello") == b"hello"
    async with holding(link, REFUSE):
        await link.apply(CloseAll())
        assert await held.hear() == b""
        assert await probe(link.address, HANG_S) is ProbeResult.REFUSED
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    held.drop()


async def test_drop_is_silent_without_an_end_and_its_lift_closes_the_link(link: ProxiedLink, stub: HttpStub) -> None:
    held = await RawConnection.open(link.address)
    assert await held.echo(b"before") == b"before"
    async with holding(link, Drop()):
        assert await held.echo(b"during", within=0.3) is None
        assert await probe(link.address, 0.3) is ProbeResult.SILENT
    assert await held.hear() == b""
    assert b"during" not in stub.received
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    held.drop()


@pytest.mark.parametrize("direction, arrives", [(Direction.UP, False), (Direction.DOWN, True)])
async def test_a_drop_in_one_direction_leaves_the_other(
    link: ProxiedLink, stub: HttpStub, direction: Direction, arrives: bool
) -> None:
    held = await RawConnection.open(link.address)
    assert await held.echo(b"before") == b"before"
    async with holding(link, Drop(direction)):
        assert await held.echo(b"during", within=0.3) is None
        if arrives:
            await eventually(lambda: b"during" in stub.received)
        else:
            assert b"during" not in stub.received
    held.drop()


async def test_two_refusals_at_once_end_with_the_later_one(link: ProxiedLink) -> None:
    async with holding(link, REFUSE):
        async with holding(link, REFUSE):
            pass
        assert await probe(link.address, HANG_S) is ProbeResult.REFUSED
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


@pytest.mark.parametrize("other", [Drop(), Drop(Direction.UP)], ids=["equal", "different"])
async def test_two_drops_at_once_are_undone_separately(link: ProxiedLink, other: Drop) -> None:
    async with holding(link, Drop()):
        async with holding(link, other):
            pass
        assert await probe(link.address, 0.3) is ProbeResult.SILENT
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


async def test_a_drop_under_a_refusal_outlasts_it(link: ProxiedLink) -> None:
    async with holding(link, Drop()):
        async with holding(link, REFUSE):
            assert await probe(link.address, HANG_S) is ProbeResult.REFUSED
        assert await probe(link.address, 0.3) is ProbeResult.SILENT


async def test_a_lift_of_what_does_not_hold_is_an_error_that_needs_no_repair(link: ProxiedLink) -> None:
    with pytest.raises(InjectionError, match="does not hold"):
        await link.apply(Lift(REFUSE))
    starts = process_of(link).starts
    await link.repair()
    assert process_of(link).starts == starts


@pytest.mark.parametrize("condition", [REFUSE, Drop()], ids=["refuse", "drop"])
async def test_an_operation_cancelled_halfway_can_be_undone(link: ProxiedLink, condition: Condition) -> None:
    imposing = asyncio.create_task(link.apply(Impose(condition)))
    await asyncio.sleep(0)  # it has registered the condition and sent its first order
    imposing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await imposing
    try:
        await link.apply(Lift(condition))
    except ToxiproxyError:  # the second toxic never came to be
        await link.repair()
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.006, 0.009])
async def test_a_close_cancelled_halfway_leaves_the_link_open(link: ProxiedLink, after_s: float) -> None:
    closing = asyncio.create_task(link.apply(CloseAll()))
    await asyncio.sleep(after_s)
    if closing.done():
        return
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


# --- resets -----------------------------------------------------------------------------------------------------------


class ResetStub:
    """A server that holds connections and notes how each ended: ``"reset"`` or ``"end"``."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.opened = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            self.ends.append("end" if not await reader.read() else "bytes")
        except ConnectionResetError:
            self.ends.append("reset")
        writer.close()


@pytest.mark.parametrize(
    "operation, lift",
    [(ResetAll(), None), (CloseAll(), None), (Impose(Refuse()), Lift(Refuse()))],
    ids=["reset", "close", "refuse"],
)
async def test_a_close_of_a_resetting_link_is_a_reset_at_both_ends(
    resetting_link: ProxiedLink, operation: ResetAll | CloseAll | Impose, lift: Lift | None
) -> None:
    watch = ResetStub()
    server = await asyncio.start_server(watch.serve, "127.0.0.1", 0)
    await resetting_link.api.delete_proxy(resetting_link.name)
    await resetting_link.connect(Address(*server.sockets[0].getsockname()))
    reader, writer = await asyncio.open_connection(*resetting_link.address)
    await eventually(lambda: watch.opened == 1)
    await resetting_link.apply(operation)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), HANG_S)
    await eventually(lambda: watch.ends == ["reset"])
    if lift is not None:
        await resetting_link.apply(lift)
    writer.close()
    server.close()


async def test_a_close_of_any_other_link_is_an_orderly_end_at_both_ends(link: ProxiedLink) -> None:
    watch = ResetStub()
    server = await asyncio.start_server(watch.serve, "127.0.0.1", 0)
    await link.api.delete_proxy(link.name)
    await link.connect(Address(*server.sockets[0].getsockname()))
    reader, writer = await asyncio.open_connection(*link.address)
    await eventually(lambda: watch.opened == 1)
    await link.apply(CloseAll())
    assert await asyncio.wait_for(reader.read(), HANG_S) == b""
    await eventually(lambda: watch.ends == ["end"])
    writer.close()
    server.close()


async def test_a_resetting_link_carries_traffic_and_drops_it_as_any_other(resetting_link: ProxiedLink) -> None:
    held = await RawConnection.open(resetting_link.address)
    assert await held.echo(b"before") == b"before"
    async with holding(resetting_link, Drop()):
        assert await held.echo(b"during", within=0.3) is None
    assert await held.hear() == b""
    assert await probe(resetting_link.address, HANG_S) is ProbeResult.ANSWERED
    held.drop()


async def test_a_replaced_resetting_link_still_resets(resetting_link: ProxiedLink) -> None:
    process_of(resetting_link).kill()
    assert await resetting_link.revive() is not None
    held = socket.create_connection(resetting_link.address)
    held.settimeout(HANG_S)
    held.sendall(b"hello")
    assert await asyncio.to_thread(held.recv, 5) == b"hello"
    await resetting_link.apply(ResetAll())
    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(held.recv, 5)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    held.close()


async def test_a_reset_needs_a_link_that_was_made_for_it(link: ProxiedLink) -> None:
    with pytest.raises(InjectionError, match="not made for resets"):
        await link.apply(ResetAll())


# --- repair -----------------------------------------------------------------------------------------------------------


async def test_a_condition_that_went_with_its_proxy_cannot_be_lifted(link: ProxiedLink) -> None:
    await link.apply(Impose(REFUSE))
    process_of(link).kill()
    assert "ended (killed by SIGKILL)" in (await link.revive() or "")
    with pytest.raises(InjectionError, match="replaced meanwhile"):
        await link.apply(Lift(REFUSE))
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED


async def test_a_hung_proxy_is_replaced_once_on_its_port(link: ProxiedLink) -> None:
    address, starts = link.address, process_of(link).starts
    link.api.close()
    link.api = link.process.api(0.2)
    link.process.suspend()
    for operation in (CloseAll(), Impose(REFUSE)):
        with pytest.raises(ToxiproxyError):
            await link.apply(operation)
    await asyncio.gather(link.repair(), link.repair())
    assert link.address == address
    assert process_of(link).starts == starts + 1
    assert await probe(address, HANG_S) is ProbeResult.ANSWERED


async def test_a_proxy_that_dies_while_it_is_asked_is_named_by_its_signal(link: ProxiedLink) -> None:
    """It refuses, or resets, the request before the kernel reports its end."""
    for _ in range(3):
        os.kill(process_of(link).pid, signal.SIGKILL)
        assert await link.revive() == "toxiproxy of alpha ended (killed by SIGKILL)"


async def test_a_healthy_link_is_neither_revived_nor_repaired(link: ProxiedLink) -> None:
    starts = process_of(link).starts
    assert await link.revive() is None
    await link.repair()
    assert process_of(link).starts == starts


def offering(ports: list[int]) -> Callable[[int, str], list[int]]:
    """Stands in for free_ports; offers the last port again when all others were taken."""
    return lambda _n, _host: [ports.pop(0) if len(ports) > 1 else ports[0]]


async def test_a_link_whose_port_is_taken_opens_on_another(
    link: ProxiedLink, stub: HttpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = free_ports(1)[0]
    taken = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    await link.api.delete_proxy(link.name)
    monkeypatch.setattr("chaos.proxied_link.free_ports", offering([taken.sockets[0].getsockname()[1], free]))
    await link.connect(stub.address)
    assert link.address.port == free
    assert await probe(link.address, HANG_S) is ProbeResult.ANSWERED
    taken.close()
    await taken.wait_closed()
