"""Peers that send, or open, more than anybody could use: what they cost, and that no other client pays for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import Join, Joined, Probe, ProbeReply
from resilience.protocol.states import ClientState
from resilience.server import gateway
from resilience.server.app import QuizServer
from resilience.server.quiz_connection import QuizConnection
from resilience.units import Seconds
from tests.hostile.wire import CONTINUATION, PING, PONG, TEXT, frame
from tests.support.processes import eventually
from tests.support.server_process import Stopwatch, target
from tests.support.virtual_server import HOST, PORT, URL, WAITING, VirtualServerHarness, act, play
from tests.support.websocket import causes, dial, hear, http, rejection, say, upgrade

FRAME_COST: Seconds = 25e-6
"""What the parser takes for one control frame, and answering it, on the machine of the measurements."""

MOST_WAIT: Seconds = 0.05
HOST_OF_PROCESS = "127.0.0.1"
FLOOD = 12.0
"""For how long a peer floods, seconds."""

EMPTY = {"ping": frame(b"", PING), "pong": frame(b"", PONG), "fragment": frame(b"", CONTINUATION, fin=False)}


def charge_parsing(harness: VirtualServerHarness, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on each frame that a server parses takes time of the loop; returns the frames of each piece."""
    parse, pieces = QuizConnection.feed, list[int]()

    def slow(self: QuizConnection, data: bytes) -> int:
        frames = parse(self, data)
        pieces.append(frames)
        harness.loop.now += frames * FRAME_COST
        return frames

    monkeypatch.setattr(QuizConnection, "feed", slow)
    return pieces


async def flood(harness: VirtualServerHarness, kind: str, *, joins: bool) -> None:
    """Open a connection and send empty frames as fast as the server reads them."""
    _, writer = await asyncio.open_connection(HOST, PORT)
    writer.write(upgrade(f"Host: {HOST}"))
    await asyncio.sleep(0.1)
    if joins:
        writer.write(frame(b'{"type":"join","event":"quiz","name":"f","instance":"f"}'))
        await asyncio.sleep(0.1)
    if kind == "fragment":
        writer.write(frame(b"", TEXT, fin=False))
    until = harness.clock.now() + FLOOD
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(FLOOD):
            while harness.clock.now() < until:
                writer.write(EMPTY[kind] * 43_000)
                await writer.drain()
    writer.transport.abort()


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("kind", EMPTY)
def test_f38_flood_of_control_frames(kind: str, joins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection sends as many empty frames as it can, before or after its first message.

    Of twelve seconds it gets a tenth of a second of the loop. Another's probes are answered within 50 ms, no client
    takes the server for dead, and the deadline of the first message comes when it is due.
    """
    waits: list[Seconds] = []

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(quiz=WAITING)
        crowd = harness.crowd(5)
        await harness.opened(*crowd)
        bystander = await dial()
        await say(bystander, Join(event="quiz", name="b", instance="b"))
        await hear(bystander, Joined)
        pieces = charge_parsing(harness, monkeypatch)
        flooding = asyncio.create_task(flood(harness, kind, joins=joins))
        began = harness.clock.now()
        for number in range(100):
            asked = harness.clock.now()
            await say(bystander, Probe(number))
            await hear(bystander, ProbeReply)
            waits.append(harness.clock.now() - asked)
            await asyncio.sleep(0.1)
        await flooding
        assert harness.clock.now() - began < FLOOD + 1
        assert sum(pieces) * FRAME_COST < 0.1
        assert all(client.state is ClientState.OPEN for client in crowd)
        await bystander.close()

    harness = play(script)
    assert max(waits) < MOST_WAIT
    assert not harness.events(LogEventKind.PEER_DEAD)
    late = harness.of(LogEventKind.CONNECTION_REFUSED)
    if not joins:
        assert [event.cause for event in late] == ["late"]
    assert harness.events(LogEventKind.MESSAGE_DELAYED)


@pytest.mark.bench
async def test_f38_flood_delays_a_reply_by_less_than_50_ms_of_work(tmp_path: Path) -> None:
    """A real server under pings of one real socket, at full speed for five seconds; work is counted, not time."""
    async with target(tmp_path, "") as served:
        reader, writer = await asyncio.open_connection(HOST_OF_PROCESS, served.port)
        writer.write(upgrade(f"Host: {HOST_OF_PROCESS}"))
        await reader.readuntil(b"\r\n\r\n")
        watch = Stopwatch(served, "flood")
        with watch.running():
            await eventually(lambda: watch.replies > 0)
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(5):
                    while True:
                        writer.write(EMPTY["ping"] * 43_000)
                        await writer.drain()
            await eventually(lambda: watch.replies > 10)
        writer.transport.abort()
    assert watch.worst_s < MOST_WAIT


def test_f38_flood_of_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty connections of one address flood within their own limits: their address's limit holds them."""
    config = ServerConfig(address_message_rate=1000.0, address_message_burst=3000)

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(config, quiz=WAITING)
        pieces = charge_parsing(harness, monkeypatch)
        floods = [asyncio.create_task(flood(harness, "ping", joins=True)) for _ in range(50)]
        await asyncio.sleep(FLOOD + 2)
        await asyncio.gather(*floods)
        assert sum(pieces) <= 3000 + 1000 * FLOOD + 50 * 20

    play(script)


def test_f39_half_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address opens 150 transports a second that send half a handshake, on a server with few open files.

    Clients join, the server says that it is ready, and its transports stay within the limit.
    """
    monkeypatch.setattr(gateway, "max_connections_by_open_files", lambda: 50)
    monkeypatch.setattr(gateway, "max_transports_by_open_files", lambda: 80)
    most: list[int] = []

    async def silent(app: QuizServer) -> None:
        writers = []
        for number in range(600):
            _, writer = await asyncio.open_connection(HOST, PORT)
            writers.append(writer)
            if number % 2:
                writer.write(b"GET /ws HTTP/1.1\r\nHo")
            await asyncio.sleep(1 / 150)
            most.append(app.connections())
        for writer in writers:
            writer.transport.abort()

    async def script(harness: VirtualServerHarness) -> None:
        app = await harness.serve(quiz=WAITING)
        flooding = asyncio.create_task(silent(app))
        await asyncio.sleep(2)
        crowd = harness.crowd(20, url=URL)
        assert await harness.opened(*crowd) < 1
        assert b"\r\n\r\nready\n" in await http(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await rejection() is None
        await flooding

    harness = act(script)
    assert max(most) <= 80 + 2
    assert not causes(harness, LogEventKind.JOIN_SHED)
    assert not harness.of(LogEventKind.TRANSPORT_FAILED)
