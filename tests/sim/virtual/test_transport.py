"""What the two ends of a connection see: order, latency, windows, half-closing, ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from sim.virtual.pipe import WINDOW_BYTES

from .worlds import HOST, LATENCY, LINK, PORT, RTT, Recorder, VirtualScenario, play

BIG = WINDOW_BYTES + 100_000


def test_writes_of_one_instant_arrive_as_one_a_latency_later() -> None:
    """Bytes come in order; what was written at one instant is handed over in one call."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        client.transport.write(b"a")
        client.transport.writelines([b"b", bytearray(b"c")])
        await asyncio.sleep(0.0625)
        client.transport.write(memoryview(b"d"))
        await asyncio.sleep(1.0)
        assert server.seen[1:] == [(RTT + LATENCY, "data", b"abc"), (RTT + LATENCY + 0.0625, "data", b"d")]

    play(scenario)


def test_what_arrives_at_one_instant_is_handed_over_in_order_of_connections() -> None:
    """The order in which a sender iterates over a set of its connections changes no history."""

    async def scenario(world: VirtualScenario) -> None:
        order: list[int] = []
        clients = [await world.dial() for _ in range(8)]
        for number, server in enumerate(world.accepted):
            server.data_received = lambda _, number=number: order.append(number)  # type: ignore[method-assign,misc]
        for number in (5, 2, 7, 0, 6, 1, 4, 3):
            clients[number].transport.write(b"x")
        await asyncio.sleep(1.0)
        assert order == list(range(8))

    play(scenario)


def test_a_connection_costs_one_round_trip() -> None:
    """The server's end is made after one latency, the client's after two; a greeting needs no more."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        server.transport.write(b"hello")
        await asyncio.sleep(1.0)
        assert server.seen == [(LATENCY, "made", None)]
        assert client.seen == [(RTT, "made", None), (RTT + LATENCY, "data", b"hello")]

    play(scenario)


def test_a_transport_reports_its_addresses_and_limits() -> None:
    """Each end knows both addresses, has no socket, and keeps its marks as asyncio does."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        ours, theirs = client.transport, server.transport
        assert ours.get_extra_info("peername") == (HOST, LINK)
        assert ours.get_extra_info("sockname") == theirs.get_extra_info("peername")
        assert theirs.get_extra_info("sockname") == (HOST, PORT)
        assert ours.get_extra_info("socket", "?") is None
        assert ours.get_protocol() is client
        assert ours.get_write_buffer_limits() == (16384, 65536)
        ours.set_write_buffer_limits(low=10)
        assert ours.get_write_buffer_limits() == (10, 40)
        with pytest.raises(ValueError, match="must be >="):
            ours.set_write_buffer_limits(high=1, low=2)

    play(scenario)


def test_a_reader_that_pauses_stops_its_writer() -> None:
    """A window is under way, the rest waits in the buffer; the marks pause and resume the protocol; nothing is lost."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        client.transport.pause_reading()
        assert not client.transport.is_reading()
        sent = bytes(range(256)) * (BIG // 256)
        server.transport.write(sent)
        assert server.transport.get_write_buffer_size() == len(sent) - WINDOW_BYTES
        assert server.seen[-1] == (RTT, "pause", None)
        await asyncio.sleep(100.0)
        assert client.received() == b""
        assert server.transport.get_write_buffer_size() == len(sent) - WINDOW_BYTES
        client.transport.resume_reading()
        await asyncio.sleep(10.0)
        assert client.received() == sent
        assert server.transport.get_write_buffer_size() == 0
        assert [what for _, what, _ in server.seen] == ["made", "pause", "resume"]

    play(scenario)


def test_a_slow_link_carries_a_window_per_latency() -> None:
    """What does not fit waits until the bytes before it were taken."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        client.transport.write(b"x" * 2500)
        await asyncio.sleep(10.0)
        data = [(at, len(detail)) for at, _, detail in server.seen if isinstance(detail, bytes)]
        assert data == [(RTT + k * LATENCY, size) for k, size in ((1, 1000), (2, 1000), (3, 500))]

    play(scenario, window=1000)


def test_a_paused_reader_sees_the_end_only_behind_the_bytes() -> None:
    """A FIN does not overtake."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        client.transport.pause_reading()
        server.transport.write(b"last")
        server.transport.close()
        await asyncio.sleep(5.0)
        assert client.after(RTT + LATENCY) == []
        client.transport.resume_reading()
        await asyncio.sleep(1.0)
        assert [what for _, what, _ in client.seen[1:]] == ["data", "eof", "lost"]

    play(scenario)


def test_half_closing_leaves_the_other_direction_open() -> None:
    """After write_eof the peer sees EOF and may continue to write; writing here is an error."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair(keep_open=True)
        client.transport.write(b"question")
        client.transport.write_eof()
        with pytest.raises(RuntimeError):
            client.transport.write(b"more")
        await asyncio.sleep(1.0)
        server.transport.write(b"answer")
        await asyncio.sleep(1.0)
        assert client.received() == b"answer"
        server.transport.close()
        await asyncio.sleep(1.0)
        client.transport.close()
        await asyncio.sleep(1.0)
        assert [what for _, what, _ in server.seen] == ["made", "data", "eof", "lost"]
        assert [what for _, what, _ in client.seen] == ["made", "data", "eof", "lost"]

    play(scenario)


def test_close_flushes_and_tells_in_a_turn_of_its_own() -> None:
    """connection_lost is never called from inside close, comes once, and the peer gets every byte before the EOF."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        client.transport.write(b"x" * BIG)
        client.transport.close()
        client.transport.close()
        assert client.transport.is_closing()
        assert client.seen[-1][1] == "pause"
        await asyncio.sleep(10.0)
        assert len(server.received()) == BIG
        assert [what for _, what, _ in server.seen][-2:] == ["eof", "lost"]
        assert [entry[1:] for entry in client.seen if entry[1] == "lost"] == [("lost", None)]

    play(scenario)


@pytest.mark.parametrize(
    "port, resets_cross, peer_sees",
    [
        (PORT, False, [("lost", "ConnectionResetError")]),
        (LINK, True, [("lost", "ConnectionResetError")]),
        (LINK, False, [("eof", None), ("lost", None)]),
    ],
)
def test_abort_drops_what_was_not_delivered(port: int, resets_cross: bool, peer_sees: list[tuple[str, object]]) -> None:
    """The peer sees a reset, or a FIN where a proxy stands between; the aborting end is notified without an error."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair(port)
        client.transport.write(b"never")
        client.transport.abort()
        client.transport.abort()
        assert len(client.seen) == 1
        await asyncio.sleep(1.0)
        assert client.seen[1:] == [(RTT, "lost", None)]
        assert server.seen[1:] == [(RTT + LATENCY, *entry) for entry in peer_sees]

    play(scenario, resets_cross=resets_cross)


def test_writing_to_a_peer_that_is_gone_is_answered_by_a_reset() -> None:
    """A half-open end finds out by writing, one round trip later."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair(keep_open=True)
        server.transport.close()
        await asyncio.sleep(1.0)
        assert client.seen[-1][1] == "eof"
        now = world.loop.time()
        client.transport.write(b"anybody?")
        await asyncio.sleep(1.0)
        assert client.after(now) == [(now + RTT, "lost", "ConnectionResetError")]
        assert world.link.connections == []

    play(scenario)


def test_a_protocol_that_fails_loses_its_connection() -> None:
    """The failure is reported to the loop's handler, the peer sees an end, and others are not touched."""

    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError(data)

    async def scenario(world: VirtualScenario) -> None:
        reported: list[dict[str, Any]] = []
        world.loop.set_exception_handler(lambda _, context: reported.append(context))
        _, failing = await world.loop.create_connection(Failing, HOST, LINK)
        healthy = await world.dial()
        for server in world.accepted:
            server.transport.write(b"now")
        await asyncio.sleep(1.0)
        assert [type(context["exception"]) for context in reported] == [ValueError]
        assert failing.seen[-1][1:] == ("lost", "ValueError")
        assert world.accepted[0].seen[-1][1] == "lost"
        assert healthy.received() == b"now"
        assert not healthy.transport.is_closing()

    play(scenario)


def test_only_bytes_can_be_written() -> None:
    """Text is an error; nothing is nothing."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        with pytest.raises(TypeError, match="bytes-like"):
            client.transport.write("text")  # type: ignore[arg-type]
        client.transport.write(b"")
        await asyncio.sleep(1.0)
        assert server.received() == b""

    play(scenario)


def test_drawn_latencies_keep_the_order_and_their_address() -> None:
    """Jitter spreads packets without overtaking, and another client's traffic changes no draws."""

    def arrivals(others: int) -> list[float]:
        seen: list[float] = []

        async def scenario(world: VirtualScenario) -> None:
            world.link.latency_s = lambda u: 0.01 + 0.2 * u
            client, server = await world.pair()
            rest = [await world.dial() for _ in range(others)]
            await asyncio.sleep(5.0 - world.loop.time())
            for k in range(50):
                client.transport.write(bytes([k]))
                for other in rest:
                    other.transport.write(b"noise")
                await asyncio.sleep(0.01)
            await asyncio.sleep(1.0)
            assert server.received() == bytes(range(50))
            seen.extend(at for at, what, _ in server.seen if what == "data")

        play(scenario)
        return seen

    alone = arrivals(0)
    assert len(set(alone)) > 5
    assert arrivals(3) == alone


def test_ended_connections_need_no_collector() -> None:
    """No reference cycle keeps an ended connection alive: long runs may switch the collector off."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        ends = [weakref.ref(client.transport), weakref.ref(server.transport)]
        client.transport.close()
        await asyncio.sleep(1.0)
        world.accepted.clear()
        del client, server
        assert [end() for end in ends] == [None, None]

    gc.disable()
    try:
        play(scenario)
    finally:
        gc.enable()
