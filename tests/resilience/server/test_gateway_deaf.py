"""Peers that do not read, and bytes that are no protocol: cut off soon, counted once, delaying no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import Join, Joined, Probe, ProbeReply
from tests.hostile.wire import CONTINUATION, PING, announced, frame
from tests.support.virtual_server import HOST, PORT, VirtualServerHarness, play
from tests.support.websocket import causes, close_code, dial, hear, http, join, say, serve, upgrade

from .metrics_oracle import assert_agrees

NO_LIMITS = ServerConfig(address_failures=0, address_rate=0, message_rate=0)
REFUSED = LogEventKind.CONNECTION_REFUSED


# deaf -----------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def deaf_peer(harness: VirtualServerHarness) -> AsyncIterator[asyncio.StreamWriter]:
    """A participant that stopped reading, with 60 kB waiting for it at the server: not enough to evict."""
    _, writer = await asyncio.open_connection(HOST, PORT)
    try:
        await deafen(harness, writer)
        yield writer
    finally:
        writer.transport.abort()


async def deafen(harness: VirtualServerHarness, writer: asyncio.StreamWriter) -> None:
    """Join, stop reading, and let what the server sends pile up."""
    writer.write(upgrade(f"Host: {HOST}"))
    await asyncio.sleep(0.1)
    writer.write(frame(b'{"type":"join","event":"quiz","name":"deaf","instance":"deaf"}'))
    await asyncio.sleep(0.1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    probe = frame(b'{"type":"probe","id":9007199254740991}')
    (connection,) = harness._servers[-1]._gateway.connections.values()
    for _ in range(20_000):
        if connection.transport.get_write_buffer_size() > 60 * 1024:
            return
        writer.write(probe * 20)
        await asyncio.sleep(0.001)
    raise AssertionError("nothing piled up")


def test_a_deaf_peer_is_gone_soon_after_its_close() -> None:
    """A close that cannot be written must not keep the socket: its token is used elsewhere, and the old one ends."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness, NO_LIMITS)
        async with deaf_peer(harness):
            socket = await dial()
            await say(socket, Join(event="quiz", name="deaf", instance="deaf"))
            await hear(socket, Joined)
            await asyncio.sleep(5)
            assert app.connections() == 1
            await say(socket, Probe(1))
            await hear(socket, ProbeReply)

    play(script)


def test_a_deaf_peer_does_not_hold_up_the_servers_end() -> None:
    """A drain ends within its window and a few seconds, although a peer does not read."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness, NO_LIMITS)
        async with deaf_peer(harness):
            began = harness.clock.now()
            async with asyncio.timeout(60):
                await app.stop()
            assert harness.clock.now() - began < NO_LIMITS.drain_window + 5
        harness._servers.clear()

    play(script)


@pytest.mark.parametrize("message", ["nonsense"])
def test_a_deaf_peer_with_too_many_strikes_is_gone_soon(message: str) -> None:
    """A rejection does not wait for it either."""

    async def script(harness: VirtualServerHarness) -> None:
        app, _ = await serve(harness, NO_LIMITS)
        async with deaf_peer(harness) as writer:
            writer.write(frame(message.encode()) * 10)
            await asyncio.sleep(8)
            assert app.connections() == 0

    assert causes(play(script), REFUSED) == ["strikes"]


# what the library ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        announced(16_385),
        frame(b"{}", masked=False),
        frame(b"{}", reserved=4),
        frame(b"", 0x3),
        frame(b"x" * 126, PING),
        frame(b"x", CONTINUATION),
        frame(b"\xff"),
    ],
    ids=["size", "unmasked", "reserved", "opcode", "ping", "continuation", "no UTF-8"],
)
@pytest.mark.parametrize("is_joined", [False, True])
def test_frames_that_break_the_protocol_are_counted(bad: bytes, is_joined: bool) -> None:
    """Either end may notice: the connection ends with its cause, in the log and in the metrics."""

    async def script(harness: VirtualServerHarness) -> None:
        _, metrics = await serve(harness)
        socket = await dial()
        if is_joined:
            await say(socket, join())
            await hear(socket, Joined)
        socket.transport.write(bad)
        assert (await close_code(socket))[0] in {1002, 1007, 1009}
        await asyncio.sleep(2)
        assert_agrees(metrics, harness.log)

    assert causes(play(script), REFUSED) == ["protocol"]


@pytest.mark.parametrize("request_bytes", [b"\x00" * 100, b"SSH-2.0-x\r\n", b"POST /ws HTTP/1.1\r\n\r\n", b"a" * 9000])
def test_handshakes_that_are_none_are_counted(request_bytes: bytes) -> None:
    """Once each."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        await http(request_bytes + b"\r\n\r\n")
        await asyncio.sleep(10)

    assert causes(play(script), REFUSED) == ["protocol"]


def test_what_breaks_nothing_is_not_counted() -> None:
    """Pages, a connection that says nothing and goes, one that goes in the middle of its handshake, a plain close."""

    async def script(harness: VirtualServerHarness) -> None:
        await serve(harness)
        await http(f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        await http(f"GET /nothing HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        for beginning in (b"", b"GET /ws HTT"):
            _, writer = await asyncio.open_connection(HOST, PORT)
            writer.write(beginning)
            await asyncio.sleep(1)
            writer.close()
        socket = await dial()
        await say(socket, join())
        await hear(socket, Joined)
        await socket.close(1002)
        again = await dial()
        await say(again, Join(event="quiz", name="x", instance="x", protocol=9))
        assert (await close_code(again))[0] == 1002
        await asyncio.sleep(10)

    assert causes(play(script), REFUSED) == ["protocol"]
