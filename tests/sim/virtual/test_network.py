"""Each fault as the ends of a connection see it, in virtual seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from resilience.errors import HarnessError
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork, VirtualServer

from .worlds import HOST, LATENCY, LINK, PORT, RTT, Recorder, VirtualScenario, play

EOF_THEN_LOST = [("eof", None), ("lost", None)]
RESET = [("lost", "ConnectionResetError")]


def at(when: float, entries: Sequence[tuple[str, object]]) -> list[tuple[float, str, object]]:
    """The entries, all at one instant."""
    return [(when, *entry) for entry in entries]


async def until(world: VirtualScenario, when: float) -> None:
    """Sleep until an instant."""
    await asyncio.sleep(when - world.loop.time())


# Faults that end connections.


@pytest.mark.parametrize(
    "fault, ends", [("cut", EOF_THEN_LOST), ("refuse", EOF_THEN_LOST), ("reset", RESET), ("crash", RESET)]
)
def test_what_ends_connections_ends_both_ends(fault: str, ends: list[tuple[str, object]]) -> None:
    """A cut and a refusal are FINs, a reset is a reset; bytes under way are lost; each end sees it a latency later."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        await until(world, 1.0)
        client.transport.write(b"lost")
        server.transport.write(b"lost")
        match fault:
            case "cut":
                world.link.cut()
                world.link.cut()
            case "refuse":
                world.link.refuse(True)
                world.link.refuse(True)
            case "reset":
                world.link.reset()
            case "crash":
                world.network.crash(PORT)
        await until(world, 5.0)
        assert client.after(1.0) == at(1.0 + LATENCY, ends)
        assert server.after(1.0) == at(1.0 if fault == "crash" else 1.0 + LATENCY, ends)
        assert world.link.connections == world.network.connections == []

    play(scenario, resets_cross=True)


def test_a_cut_does_not_refuse_new_connections() -> None:
    """New connections are taken at once."""

    async def scenario(world: VirtualScenario) -> None:
        await world.pair()
        world.link.cut()
        client, server = await world.pair()
        client.transport.write(b"again")
        await asyncio.sleep(1.0)
        assert server.received() == b"again"

    play(scenario)


def test_a_refusing_link_refuses_after_one_latency() -> None:
    """Until it is healed, every dial raises ConnectionRefusedError."""

    async def scenario(world: VirtualScenario) -> None:
        world.link.refuse(True)
        with pytest.raises(ConnectionRefusedError):
            await world.dial()
        assert world.loop.time() == LATENCY
        world.link.refuse(False)
        world.link.refuse(False)
        await world.dial()
        assert world.loop.time() == LATENCY + RTT

    play(scenario)


def test_a_dial_under_way_meets_the_refusal() -> None:
    """What counts is the moment the dial arrives."""

    async def scenario(world: VirtualScenario) -> None:
        world.loop.call_later(LATENCY / 2, world.link.refuse, True)
        with pytest.raises(ConnectionRefusedError):
            await world.dial()

    play(scenario)


def test_a_dial_without_a_listener() -> None:
    """Direct dials are refused after one latency; a link accepts and then ends, as a proxy without upstream does."""

    async def scenario(world: VirtualScenario) -> None:
        with pytest.raises(ConnectionRefusedError):
            await world.dial(PORT)
        assert world.loop.time() == LATENCY
        client = await world.dial()
        await asyncio.sleep(1.0)
        assert client.seen == at(LATENCY + RTT, [("made", None), *EOF_THEN_LOST])
        assert world.network.connections == []

    play(scenario, listen=False)


def test_a_crash_takes_the_listener_and_silences_its_protocols() -> None:
    """Bytes under way to the crashed side do not arrive; a new server can listen there at once."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair(PORT)
        client.transport.write(b"too late")
        world.network.crash(PORT)
        world.network.crash(PORT)
        server.transport.write(b"from the grave")
        await asyncio.sleep(1.0)
        assert [what for _, what, _ in server.seen] == ["made", "lost"]
        assert [what for _, what, _ in client.seen] == ["made", "lost"]
        with pytest.raises(ConnectionRefusedError):
            await world.dial(PORT)
        await world.listen()
        await world.dial(PORT)

    play(scenario)


def test_a_crash_during_an_accept_makes_no_protocol() -> None:
    """A dial that the crashed server had not taken yet ends."""

    async def scenario(world: VirtualScenario) -> None:
        dial = world.loop.create_task(world.dial(PORT))
        world.loop.call_at(LATENCY, world.network.crash, PORT)
        await asyncio.wait([dial])
        await asyncio.sleep(1.0)
        assert all(server.seen[-1][1] == "lost" for server in world.accepted)
        assert world.network.connections == []

    play(scenario)


# Faults that keep connections.


@pytest.mark.parametrize("up, down", [(True, False), (False, True), (True, True)])
def test_a_hole_swallows_bytes_in_its_directions(up: bool, down: bool) -> None:
    """Those under way too; nothing else is seen until it heals, and then every connection is closed."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        await until(world, 1.0)
        client.transport.write(b"up")
        server.transport.write(b"down")
        world.link.blackhole(up=up, down=down)
        world.link.blackhole(up=up, down=down)
        client.transport.write(b"up")
        server.transport.write(b"down" * 100_000)
        await until(world, 3.0)
        assert (server.received() == b"") is up
        assert (client.received() == b"") is down
        world.link.blackhole(up=False, down=False)
        world.link.blackhole(up=False, down=False)
        await until(world, 5.0)
        assert client.after(3.0) == server.after(3.0) == at(3.0 + LATENCY, EOF_THEN_LOST)

    play(scenario)


def test_healing_one_direction_of_a_hole_closes_too() -> None:
    """Bytes are missing; widening a hole closes nothing."""

    async def scenario(world: VirtualScenario) -> None:
        client, _ = await world.pair()
        world.link.blackhole(up=True, down=False)
        world.link.blackhole(up=True, down=True)
        await asyncio.sleep(1.0)
        assert not client.transport.is_closing()
        world.link.blackhole(up=False, down=True)
        await asyncio.sleep(1.0)
        assert client.transport.is_closing()

    play(scenario)


def test_a_close_passes_through_a_hole() -> None:
    """As with Toxiproxy's timeout: a hole makes no ghosts."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        world.link.blackhole(up=True, down=True)
        client.transport.write(b"swallowed")
        client.transport.close()
        await asyncio.sleep(1.0)
        assert server.seen[1:] == at(RTT + LATENCY, EOF_THEN_LOST)

    play(scenario)


def test_a_dial_into_a_hole_succeeds_and_is_never_answered() -> None:
    """The server sees the connection and none of its bytes."""

    async def scenario(world: VirtualScenario) -> None:
        world.link.blackhole(up=True, down=True)
        client, server = await world.pair()
        client.transport.write(b"hello?")
        await asyncio.sleep(60.0)
        assert [what for _, what, _ in server.seen] == ["made"]
        assert [what for _, what, _ in client.seen] == ["made"]

    play(scenario)


def test_a_stall_holds_bytes_and_what_is_behind_them() -> None:
    """All arrive at the moment it ends, in order; a close without bytes before it passes."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        other, other_server = await world.pair()
        world.link.stall(up=True, down=False)
        world.link.stall(up=True, down=False)
        await until(world, 1.0)
        client.transport.write(b"one")
        other.transport.close()
        await until(world, 2.0)
        client.transport.write(b"two")
        client.transport.close()
        server.transport.write(b"down passes")
        await until(world, 5.0)
        assert other_server.after(1.0) == at(1.0 + LATENCY, EOF_THEN_LOST)
        assert server.after(1.0) == []
        world.link.stall(up=False, down=False)
        await until(world, 9.0)
        assert server.after(5.0) == at(5.0, [("data", b"onetwo"), *EOF_THEN_LOST])

    play(scenario)


def test_a_stall_fills_the_window() -> None:
    """Held bytes count as under way, so that a pushing server meets flow control."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        world.link.stall(up=False, down=True)
        for _ in range(300):
            server.transport.write(b"x" * 1000)
        assert server.seen[-1][1] == "pause"
        world.link.stall(up=False, down=False)
        await asyncio.sleep(10.0)
        assert server.seen[-1][1] == "resume"
        assert len(client.received()) == 300_000

    play(scenario)


def test_a_freeze_holds_everything_and_loses_nothing() -> None:
    """Bytes, closes and resets wait both ways and arrive in order at the thaw."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        closing, closing_server = await world.pair()
        await until(world, 1.0)
        client.transport.write(b"under way ")
        world.link.freeze(True)
        world.link.freeze(True)
        client.transport.write(b"and held")
        server.transport.write(b"back")
        closing.transport.close()
        await until(world, 60.0)
        assert client.after(1.0) == server.after(1.0) == closing_server.after(1.0) == []
        world.link.freeze(False)
        world.link.freeze(False)
        await until(world, 90.0)
        assert server.after(1.0) == at(60.0, [("data", b"under way and held")])
        assert client.after(1.0) == at(60.0, [("data", b"back")])
        assert closing_server.after(1.0) == at(60.0, EOF_THEN_LOST)

    play(scenario)


def test_a_dial_into_a_freeze_reaches_the_server_at_the_thaw() -> None:
    """The system accepts for the stopped proxy; the server meets even a client that gave up meanwhile."""

    async def scenario(world: VirtualScenario) -> None:
        world.link.freeze(True)
        staying, leaving = await world.dial(), await world.dial()
        staying.transport.write(b"stays")
        leaving.transport.write(b"leaves")
        leaving.transport.close()
        await until(world, 30.0)
        assert world.accepted == []
        world.link.freeze(False)
        await until(world, 40.0)
        first, second = world.accepted
        assert first.seen == at(30.0, [("made", None), ("data", b"stays")])
        assert second.seen == at(30.0, [("made", None), ("data", b"leaves"), *EOF_THEN_LOST])

    play(scenario)


def test_a_freeze_under_which_the_server_dies() -> None:
    """The crash and the missing listener are noticed at the thaw."""

    async def scenario(world: VirtualScenario) -> None:
        client, _ = await world.pair()
        world.link.freeze(True)
        late = await world.dial()
        world.network.crash(PORT)
        await until(world, 10.0)
        assert client.after(1.0) == late.after(1.0) == []
        world.link.freeze(False)
        await until(world, 20.0)
        assert client.after(1.0) == at(10.0, EOF_THEN_LOST)
        assert late.after(1.0) == at(10.0 + LATENCY, EOF_THEN_LOST)

    play(scenario)


def test_heal_undoes_every_fault() -> None:
    """Whatever was on: afterwards a dial is answered."""

    async def scenario(world: VirtualScenario) -> None:
        world.link.refuse(True)
        world.link.blackhole(up=True, down=True)
        world.link.stall(up=True, down=True)
        world.link.freeze(True)
        world.link.heal()
        world.link.heal()
        client, server = await world.pair()
        client.transport.write(b"well")
        await asyncio.sleep(1.0)
        assert server.received() == b"well"

    play(scenario)


# Latency, doors, numbers.


def test_a_slow_accept_delays_the_connect() -> None:
    """A connect takes its round trip and the delay."""

    async def scenario(world: VirtualScenario) -> None:
        world.link.accept_delay_s = 2.0
        await world.dial()
        assert world.loop.time() == RTT + 2.0

    play(scenario)


def test_each_direction_has_its_latency() -> None:
    """Changes count from the next packet on, for live connections too, and nothing overtakes."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        world.link.set_latency(up=2.0, down=0.5)
        await until(world, 1.0)
        client.transport.write(b"slow")
        world.link.latency_s = 0.25
        client.transport.write(b"fast")
        server.transport.write(b"down")
        await until(world, 9.0)
        assert server.after(1.0) == at(3.0, [("data", b"slowfast")])
        assert client.after(1.0) == at(1.25, [("data", b"down")])

    play(scenario)


def test_a_cancelled_dial_leaves_nothing_behind() -> None:
    """The server's end of a connect that timed out ends too."""

    async def scenario(world: VirtualScenario) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LATENCY * 1.5):
                await world.dial()
        await asyncio.sleep(1.0)
        assert [what for _, what, _ in world.accepted[0].seen] == ["made", "eof", "lost"]
        assert world.network.connections == []

    play(scenario)


def test_connections_are_numbered_in_the_order_of_their_dials() -> None:
    """Numbers count all dials of the network; links list their own live ones."""

    async def scenario(world: VirtualScenario) -> None:
        first, _, _ = await world.dial(), await world.dial(PORT), await world.dial()
        assert [connection.number for connection in world.network.connections] == [1, 2, 3]
        assert [connection.number for connection in world.link.connections] == [1, 3]
        first.transport.abort()
        await asyncio.sleep(1.0)
        assert [connection.number for connection in world.link.connections] == [3]

    play(scenario)


def test_doors_are_one_per_address() -> None:
    """A second listener or link on a port is EADDRINUSE; port 0 finds a free one; the backlog is on record."""

    async def scenario(world: VirtualScenario) -> None:
        for port in (PORT, LINK):
            with pytest.raises(OSError, match="already in use"):
                await world.loop.create_server(Recorder, HOST, port)
        with pytest.raises(OSError, match="already in use"):
            world.network.link("another", port=LINK, upstream=(HOST, PORT))
        with pytest.raises(HarnessError):
            world.network.link("cohort", port=9, upstream=(HOST, PORT))
        assert isinstance(world.server, VirtualServer)
        assert world.server.backlog == 7
        chosen = await world.loop.create_server(Recorder, HOST, 0, start_serving=False)
        assert isinstance(chosen, VirtualServer)
        port = chosen.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await world.dial(port)
        await chosen.start_serving()
        await world.dial(port)

    play(scenario)


def test_a_closed_server_waits_for_its_connections() -> None:
    """New dials are refused at once, open connections stay, and wait_closed returns when the last has ended."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        world.server.close()
        with pytest.raises(ConnectionRefusedError):
            await world.dial(PORT)
        waiting = world.loop.create_task(world.server.wait_closed())
        await until(world, 5.0)
        client.transport.write(b"still here")
        client.transport.close()
        await waiting
        assert server.received() == b"still here"
        assert world.loop.time() == 5.0 + LATENCY

    play(scenario)


def test_a_network_serves_one_loop() -> None:
    """Two runs must not share state."""
    network = VirtualNetwork(1)
    run_virtual(lambda _: asyncio.sleep(0), network)
    with pytest.raises(HarnessError):
        VirtualLoop(network)
