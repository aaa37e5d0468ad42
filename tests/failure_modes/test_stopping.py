"""A drain, and clients that delay the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.messages import Answer, AnswerResult, Join, Joined, Probe, ProbeReply, Resume, StateRestored
from resilience.protocol.states import ClientState
from resilience.server.quiz_connection import CLOSE_TIMEOUT_S, WebSocketPeer
from tests.support.virtual_server import CALM, HOST, PORT, URL, VirtualServerHarness, act
from tests.support.websocket import dial, hear, say

CONNECTIONS = 200
CAPACITY = 50.0
BUFFER, ONE_READ = 20_000, 65_536


def test_f20_graceful_drain() -> None:
    """The server drains while two hundred clients are connected, half of which have just answered.

    Closes are spread over at least the time in which it could take all clients back. Every answer is acknowledged
    before its close. All clients come back, each at a moment of its own, to the restarted server.
    """

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(join_capacity=CAPACITY, restart_pause=1, admission_seconds=10), CALM)
        crowd = harness.crowd(CONNECTIONS)
        for i, client in enumerate(crowd):
            harness.loop.call_later(i / CAPACITY, client.start)
        await asyncio.sleep(CONNECTIONS / CAPACITY + 6)
        for client in crowd[::2]:
            client.answer("q1", 1)
        await asyncio.sleep(0.005)
        assert all(client.machine.pending for client in crowd[::2])
        stopped_at = harness.clock.now()
        await harness.server.stop()
        assert not [client for client in crowd if client.machine.pending]
        await harness.restart()
        back_at = harness.clock.now()
        await harness.opened(*crowd, within=30)
        lost = [event.t - stopped_at for event in harness.of(LogEventKind.TRANSPORT_LOST) if event.actor != "server"]
        _spread(lost, CONNECTIONS / CAPACITY)
        _spread([event.t - back_at for event in harness.of(LogEventKind.SESSION_RESTORED)], CONNECTIONS / CAPACITY)

    harness = act(script, commit=0.01)
    assert {event.cause for event in harness.of(LogEventKind.BACKOFF_SCHEDULED)} == {"advice"}
    assert [event.outcome for event in harness.of(LogEventKind.ANSWER_ACKED)] == ["accepted"] * (CONNECTIONS // 2)
    assert not harness.of(LogEventKind.JOIN_SHED)


def test_f20_drain_under_half_handshakes() -> None:
    """A peer opens transports with half a handshake for as long as the server listens, also while it stops.

    The server ends after its drain window and the time of a closing handshake, not at a first-message deadline.
    """
    config = ServerConfig()

    writers: list[asyncio.StreamWriter] = []

    async def half_handshakes() -> None:
        with suppress(OSError):
            while True:
                _, writer = await asyncio.open_connection(HOST, PORT)
                writers.append(writer)
                writer.write(b"GET /ws HTTP/1.1\r\nHo")
                await asyncio.sleep(0.02)

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(config, CALM)
        dialling = asyncio.create_task(half_handshakes())
        await asyncio.sleep(1)
        stopped_at = harness.clock.now()
        await harness.server.stop()
        ended_at = harness.clock.now()
        await dialling
        for writer in writers:
            writer.transport.abort()
        assert ended_at - stopped_at < config.drain_window + CLOSE_TIMEOUT_S

    act(script, commit=0.1)


def _spread(times: list[float], window: float) -> None:
    """All of them, over the window, and no burst among them."""
    assert len(times) == CONNECTIONS
    assert 0.9 * window <= max(times) - min(times) <= 1.5 * window
    assert max(Counter(int(4 * t) for t in times).values()) <= CONNECTIONS / window / 4 * 1.5


def test_f21_slow_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of twenty clients reads nothing while the server has a lot to tell it.

    The others are answered as fast as ever. What is kept for the slow one is bounded, by its buffer and the replies to
    what one turn of the loop reads; beyond that it is cut off, and its session and answer wait for its return.
    """
    kept = _watch_buffers(monkeypatch)

    async def script(harness: VirtualServerHarness) -> None:
        await harness.serve(ServerConfig(write_buffer_bytes=BUFFER, message_rate=0), CALM)
        crowd = harness.crowd(19, url=URL)
        slow, quick = await dial(), await dial()
        await say(slow, Join(event="quiz", name="slow", instance="slow"))
        token = (await hear(slow, Joined)).credentials.token
        await say(quick, Join(event="quiz", name="quick", instance="quick"))
        await harness.opened(*crowd)
        await asyncio.sleep(2)
        await say(slow, Answer("q1", 1, "k"))
        await hear(slow, AnswerResult)
        watching = asyncio.get_running_loop().create_task(_ask_again_and_again(harness, quick))
        with suppress(ConnectionClosed):
            for _ in range(10_000):
                await say(slow, Probe(10**15))
        watching.cancel()
        await harness.until(lambda: bool(harness.of(LogEventKind.SESSION_DETACHED)))
        assert all(client.state is ClientState.OPEN for client in crowd)
        again = await dial()
        await say(again, Resume(event="quiz", token=token))
        back = await hear(again, StateRestored)
        assert (back.snapshot.answer, back.credentials.participant) == (1, "p1")

    (lost,) = act(script).of(LogEventKind.SESSION_DETACHED)
    assert (lost.session_id, lost.cause) == ("p1", "slow")
    assert BUFFER - 100 < max(kept) <= BUFFER + ONE_READ


async def _ask_again_and_again(harness: VirtualServerHarness, socket: ClientConnection) -> None:
    """Ask again and again; each reply comes in one round trip."""
    number = 0
    while True:
        number += 1
        asked_at = harness.clock.now()
        await say(socket, Probe(number))
        await hear(socket, ProbeReply)
        assert harness.clock.now() - asked_at < 0.005


def _watch_buffers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the server keeps for a socket, at each message to one."""
    kept: list[int] = []
    send = WebSocketPeer.send

    def noting(socket: WebSocketPeer, text: bytes) -> None:
        before = socket.connection.transport.get_write_buffer_size()
        send(socket, text)
        kept.append(max(before, socket.connection.transport.get_write_buffer_size()))

    monkeypatch.setattr(WebSocketPeer, "send", noting)
    return kept
