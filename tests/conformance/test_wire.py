"""What each fault primitive does to plain connections: one table of expectations, over Toxiproxy and in virtual time.

Lower bounds of delays, bytes, ends and the order of events only; nothing asks a real machine to be fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chaos.proxied_link import Address, ProxiedLink
from chaos.toxiproxy.provision import Binary
from resilience.experiment.primitives import (
    CloseAll,
    CutAfter,
    Delay,
    Direction,
    Drop,
    Freeze,
    Hold,
    HoldClose,
    Refuse,
    ResetAll,
    Slice,
    Throttle,
)
from resilience.runtime import RunClock
from sim.virtual.faultable_link import FaultableVirtualLink
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork

from .wire import End, Wire, quiet, until

HOST, PORT, LINK_PORT = "127.0.0.1", 7000, 7001
BOTH, UP, DOWN = Direction.BOTH, Direction.UP, Direction.DOWN
TICK_S = 0.003
"""The proxy rounds its times to milliseconds."""

LOOKS = 5
"""A test that stands still meanwhile finds all pieces arrived at once, so it may look again."""

Scenario = Callable[[Wire], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(play: Scenario) -> Scenario:
    """Add a row to the table."""
    SCENARIOS[play.__name__] = play
    return play


async def in_the_real_lane(play: Scenario, binary: Binary, log: Path) -> None:
    accepted: list[End] = []
    server = await asyncio.get_running_loop().create_server(lambda: End(accepted), HOST, 0)
    link = await ProxiedLink.start("alpha", binary, log, RunClock(), resets="reset" in play.__name__)
    try:
        await link.connect(Address(HOST, server.sockets[0].getsockname()[1]))
        await play(Wire(link, link.address, accepted))
    finally:
        await link.close()
        server.close()
        for end in accepted:
            end.transport.abort()


def in_the_virtual_lane(play: Scenario) -> None:
    network = VirtualNetwork(1)

    async def main(loop: VirtualLoop) -> None:
        accepted: list[End] = []
        await loop.create_server(lambda: End(accepted), HOST, PORT)
        link = network.link("alpha", port=LINK_PORT, upstream=(HOST, PORT), resets_cross=False)
        faultable = FaultableVirtualLink(link, (HOST, PORT), RunClock(loop.time(), loop.time))
        await play(Wire(faultable, (HOST, LINK_PORT), accepted))

    run_virtual(main, network)


# --- ends -------------------------------------------------------------------------------------------------------------


@scenario
async def a_close_ends_connections_with_fin_and_accepts_the_next_at_once(wire: Wire) -> None:
    """A client that dials again in the very moment of its loss is accepted and served, each time."""
    for _ in range(5):
        client, server = await wire.pair()
        dialled: list[asyncio.Task[End]] = []
        client.then = lambda dialled=dialled: dialled.append(asyncio.ensure_future(wire.dial()))
        await wire.apply(CloseAll())
        await until(lambda client=client, server=server: client.ended == server.ended == "end")  # type: ignore[misc]
        again = await dialled[0]  # raises ConnectionRefusedError where it is refused
        again.say(b"again")
        await until(lambda: wire.accepted[-1].heard == b"again")
        again.close()


@scenario
async def a_reset_ends_connections_with_rst(wire: Wire) -> None:
    client, server = await wire.pair()
    await wire.apply(ResetAll())
    await until(lambda: client.ended == server.ended == "reset")
    await wire.pair()


@scenario
async def a_refusal_refuses_dials_until_it_is_lifted(wire: Wire) -> None:
    client, server = await wire.pair()
    await wire.impose(Refuse())
    await wire.apply(CloseAll())
    await until(lambda: client.ended == server.ended == "end")
    with pytest.raises(ConnectionRefusedError):
        await wire.dial()
    await wire.lift(Refuse())
    await wire.pair()


def _cut_after(direction: Direction) -> Scenario:
    async def play(wire: Wire) -> None:
        """What passed before does not count, the piece before the end is torn, and both ends see it."""
        client, server = await wire.pair()
        teller, hearer = (client, server) if direction is UP else (server, client)
        await wire.impose(CutAfter(50, direction))
        hearer.say(bytes(200))
        await until(lambda: len(teller.heard) == 200)
        teller.say(bytes(range(100)))
        await until(lambda: client.ended == server.ended == "end")
        assert hearer.heard == bytes(range(50))
        fresh = await wire.dial()  # a new connection counts from its first byte
        await until(lambda: len(wire.accepted) == 2)
        teller, hearer = (fresh, wire.accepted[1]) if direction is UP else (wire.accepted[1], fresh)
        teller.say(bytes(30))
        await until(lambda: len(hearer.heard) == 30)
        teller.say(bytes(30))
        await until(lambda: hearer.ended == "end")
        assert len(hearer.heard) == 50
        await wire.lift(CutAfter(50, direction))
        await wire.pair()

    return play


# --- silence ----------------------------------------------------------------------------------------------------------


def _silence(condition: Drop | Hold) -> Scenario:
    async def play(wire: Wire) -> None:
        """Bytes of the silent directions do not arrive; those of the other one do. A bare close passes."""
        client, server = await wire.pair()
        bare, _ = await wire.pair()
        silent = condition.direction.ways
        await wire.impose(condition)
        passing = (b"" if UP in silent else b"up", b"" if DOWN in silent else b"down")
        client.say(b"up")
        server.say(b"down")
        await until(lambda: (server.heard, client.heard) == passing)
        await quiet()
        assert (server.heard, client.heard) == passing
        assert client.ended == server.ended == ""
        bare.close()
        await until(lambda: wire.accepted[1].ended == "end")
        pending = await wire.dial()
        await until(lambda: len(wire.accepted) == 3)  # the proxy has it, not only the kernel
        pending.say(b"up")
        await quiet()
        await wire.lift(condition)
        if isinstance(condition, Drop):
            await until(lambda: client.ended == server.ended == pending.ended == "end")
            assert (server.heard, client.heard) == passing
        else:
            await until(lambda: (server.heard, client.heard) == (b"up", b"down"))
            await until(lambda: wire.accepted[2].heard == b"up")
            client.say(b" and on")
            await until(lambda: server.heard == b"up and on")
        await wire.pair()

    return play


@scenario
async def a_client_that_dials_at_the_end_of_a_drop_is_served(wire: Wire) -> None:
    """All connections of both directions are closed at once: no toxic of the fault is left for the next one."""
    client, _ = await wire.pair()
    dialled: list[asyncio.Task[End]] = []
    client.then = lambda: dialled.append(asyncio.ensure_future(wire.dial()))
    await wire.impose(Drop())
    client.say(b"lost")
    await wire.lift(Drop())
    await until(lambda: bool(dialled))
    again = await dialled[0]
    again.say(b"again")
    await until(lambda: wire.accepted[-1].heard == b"again")
    wire.accepted[-1].say(b"heard")
    await until(lambda: again.heard == b"heard")


@scenario
async def a_close_behind_held_bytes_waits_and_nothing_is_lost(wire: Wire) -> None:
    client, server = await wire.pair()
    await wire.impose(Hold())
    sent = bytes(i % 251 for i in range(20_000))
    client.say(sent)
    client.close()
    await quiet()
    assert (server.heard, server.ended) == (b"", "")
    await wire.lift(Hold())
    await until(lambda: server.ended == "end")
    assert server.heard == sent


@scenario
async def two_stalls_at_once_end_with_the_later_one(wire: Wire) -> None:
    client, server = await wire.pair()
    await wire.impose(Hold())
    await wire.impose(Hold(UP))
    client.say(b"held")
    await wire.lift(Hold())
    await quiet()
    assert server.heard == b""
    await wire.lift(Hold(UP))
    await until(lambda: server.heard == b"held")


@scenario
async def a_freeze_holds_bytes_closes_and_new_connections_and_loses_nothing(wire: Wire) -> None:
    client, server = await wire.pair()
    leaving, left = await wire.pair()
    await wire.impose(Freeze())
    client.say(b"one ")
    client.say(b"two")
    server.say(b"three")
    leaving.close()
    dialled = await wire.dial()
    dialled.say(b"hello")
    await quiet()
    assert (server.heard, client.heard, left.ended, len(wire.accepted)) == (b"", b"", "", 2)
    await wire.lift(Freeze())
    await until(lambda: (server.heard, client.heard) == (b"one two", b"three"))
    await until(lambda: left.ended == "end" and len(wire.accepted) == 3)
    await until(lambda: wire.accepted[2].heard == b"hello")
    assert client.ended == server.ended == ""


@scenario
async def what_is_ordered_during_a_freeze_is_done_at_its_end(wire: Wire) -> None:
    client, server = await wire.pair()
    await wire.impose(Freeze())
    await wire.apply(CloseAll())
    await wire.impose(Hold())
    await wire.lift(Hold())
    await wire.impose(Refuse())
    await quiet()
    assert client.ended == server.ended == ""
    await wire.lift(Freeze())
    await until(lambda: client.ended == server.ended == "end")
    with pytest.raises(ConnectionRefusedError):
        await wire.dial()
    await wire.lift(Refuse())
    await wire.pair()


# --- slow links -------------------------------------------------------------------------------------------------------


@scenario
async def a_delay_delays_bytes_keeps_their_order_and_ends_without_loss(wire: Wire) -> None:
    client, server = await wire.pair()
    delay = Delay(0.2, 0.1)
    await wire.impose(delay)
    sent = [client.say(bytes([i])) for i in range(1)]
    for i in range(1, 10):
        await asyncio.sleep(0.004)
        sent.append(client.say(bytes([i])))
    await until(lambda: len(server.heard) == 10)
    assert server.heard == bytes(range(10))
    assert server.pieces[0][0] - sent[0] >= 0.1 - TICK_S
    server.say(b"late")
    await wire.lift(delay)
    await until(lambda: client.heard == b"late")
    client.say(b"on")
    await until(lambda: server.heard.endswith(b"on"))


@scenario
async def a_throttle_limits_each_connection_both_ways(wire: Wire) -> None:
    client, server = await wire.pair()
    throttle = Throttle(10_000)
    await wire.impose(throttle)
    for _ in range(LOOKS):
        up_at, down_at = client.say(bytes(5000)), server.say(bytes(5000))
        await until(lambda: len(server.heard) == len(client.heard) == 5000)
        assert server.pieces[-1][0] - up_at >= 0.5 * 0.9
        assert client.pieces[-1][0] - down_at >= 0.5 * 0.9
        pieces = [end.take_pieces() for end in (server, client)]
        if min(pieces) > 2:
            break
    assert min(pieces) > 2  # a tenth of a second's bytes at a time
    client.say(bytes(5000))
    await wire.lift(throttle)  # the rest passes at once
    await until(lambda: len(server.heard) == 5000)


@scenario
async def a_slicer_makes_small_pieces_and_changes_no_byte(wire: Wire) -> None:
    client, server = await wire.pair()
    slicing = Slice(16, 0.02)
    await wire.impose(slicing)
    for _ in range(LOOKS):
        said_at = client.say(bytes(range(160)))
        await until(lambda: len(server.heard) == 160)
        assert server.heard == bytes(range(160))
        assert server.pieces[-1][0] - said_at >= 9 * 0.02 - TICK_S
        pieces = server.take_pieces()
        if pieces > 1:
            break
    assert pieces > 1
    client.say(bytes(160))
    await wire.lift(slicing)
    await until(lambda: len(server.heard) == 160)


def _slow_close(direction: Direction) -> Scenario:
    async def play(wire: Wire) -> None:
        """Bytes pass at once, the close behind them late; a close that still waits at the lift passes then."""
        client, server = await wire.pair()
        held, holder = await wire.pair()
        leaving, left = (client, server) if direction is UP else (server, client)
        slow = HoldClose(0.3, direction)
        await wire.impose(slow)
        leaving.say(b"bye")
        closed_at = leaving.close()
        await until(lambda: left.ended == "end")
        assert left.heard == b"bye"
        assert left.ended_at - closed_at >= 0.3 - TICK_S
        assert left.ended_at - left.pieces[0][0] > 0
        await wire.lift(slow)
        longer = HoldClose(3600.0, direction)
        await wire.impose(longer)
        (held if direction is UP else holder).close()
        await quiet()
        other = holder if direction is UP else held
        assert other.ended == ""
        await wire.lift(longer)
        await until(lambda: other.ended == "end")

    return play


SCENARIOS |= {f"a_cut_{way}_after_50_bytes": _cut_after(way) for way in (UP, DOWN)}
SCENARIOS |= {f"a_drop_{way}": _silence(Drop(way)) for way in Direction}
SCENARIOS |= {f"a_hold_{way}": _silence(Hold(way)) for way in Direction}
SCENARIOS |= {f"a_slow_close_{way}": _slow_close(way) for way in (UP, DOWN)}

each = pytest.mark.parametrize("play", SCENARIOS.values(), ids=SCENARIOS.keys())


@each
async def test_over_a_real_toxiproxy(play: Scenario, binary: Binary, tmp_path: Path) -> None:
    await in_the_real_lane(play, binary, tmp_path / "toxiproxy.log")


@each
def test_over_the_virtual_network(play: Scenario) -> None:
    in_the_virtual_lane(play)
