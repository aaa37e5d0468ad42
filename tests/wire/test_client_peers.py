"""The client with servers of other libraries, in virtual time: it joins, answers, loses its connection, resumes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from resilience.protocol import codec
from resilience.protocol.messages import AnswerResult, Message, OpenQuestion, Ping, QuestionOpened
from resilience.protocol.states import ClientState
from tests.support.machines import joined, restored
from tests.support.virtual_server import HOST, PORT, URL, VirtualServerHarness, play

from .peers import Peer, WsprotoPeer

QUESTION = OpenQuestion("q1", "Six times seven?", ("41", "42"), 60_000, 60_000)
CHOICE = 1


class WebSocketsPeer:
    """A connection of the server of ``websockets``, with the settings that it has by itself."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        """Send a text message in two fragments."""
        half = len(text) // 2
        await self._connection.send([text[:half], text[half:]])

    async def receive(self) -> str:
        """The next text message."""
        return str(await self._connection.recv())

    async def ping(self, payload: bytes) -> None:
        """Send a ping and wait for its pong."""
        await (await self._connection.ping(payload))

    async def close(self, code: int = 1000, reason: str = "") -> int:
        """Close and wait for the other end's close frame."""
        await self._connection.close(code, reason)
        return self._connection.close_code or 1006

    async def end(self) -> None:
        """End at once."""
        self._connection.transport.abort()

    @property
    def extensions(self) -> list[str]:
        """The names of the extensions that the handshake has agreed on."""
        return [extension.name for extension in self._connection.protocol.extensions]


Serve = Callable[[Peer], Awaitable[None]]
Listen = Callable[[Serve], Awaitable[Any]]


async def listen_with_websockets(handle: Serve) -> Any:  # noqa: ANN401 - each library's own server
    return await serve(lambda connection: handle(WebSocketsPeer(connection)), HOST, PORT)


async def listen_with_wsproto(handle: Serve) -> Any:  # noqa: ANN401 - as above
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handle(await WsprotoPeer.accept(reader, writer))

    return await asyncio.start_server(accept, HOST, PORT)


async def say(peer: Peer, message: Message) -> None:
    """Send a message of the server."""
    await peer.send(codec.encode(message).decode())


async def hear(peer: Peer, kind: str) -> dict[str, Any]:
    """The client's next message of this type."""
    while True:
        message: dict[str, Any] = json.loads(await peer.receive())
        if message["type"] == kind:
            return message


async def first_connection(peer: Peer) -> None:
    """A participant joins, answers a question, and is sent to come back later."""
    assert peer.extensions == []
    assert (await hear(peer, "join"))["name"] == "ada"
    await say(peer, joined())
    assert (await hear(peer, "token_stored"))["generation"] == 1
    await peer.ping(b"\x00\xff are you there?")
    await say(peer, Ping(7, 100, 100, 100))
    assert (await hear(peer, "pong"))["id"] == 7
    await say(peer, QuestionOpened(1, QUESTION))
    answer = await hear(peer, "answer")
    assert answer["choice"] == CHOICE
    await say(peer, AnswerResult("q1", answer["key"], "accepted"))
    assert await peer.close(1012, "retry_after=0.200") == 1012


async def second_connection(peer: Peer) -> None:
    """It resumes its session, and the event is over."""
    assert (await hear(peer, "resume"))["token"] == joined().credentials.token
    await say(peer, restored(seq=1))
    assert (await hear(peer, "token_stored"))["generation"] == 2
    assert await peer.close(1000, "over") == 1000


@pytest.mark.parametrize("listen", [listen_with_websockets, listen_with_wsproto])
def test_a_session_of_two_connections(listen: Listen) -> None:
    parts = iter((first_connection, second_connection))
    ends: list[Exception | None] = []

    async def handle(peer: Peer) -> None:
        try:
            await next(parts)(peer)
        except Exception as error:  # noqa: BLE001 - the script raises it
            ends.append(error)
        else:
            ends.append(None)

    async def script(harness: VirtualServerHarness) -> None:
        server = await listen(handle)
        client = harness.client(url=URL)
        client.start()
        await harness.until(lambda: bool(ends or harness.told("ada", QuestionOpened)))
        client.answer("q1", CHOICE)
        await harness.until(lambda: any(ends) or client.state is ClientState.CLOSED)
        await asyncio.sleep(1)
        assert ends == [None, None]
        assert [result.verdict for result in harness.told("ada", AnswerResult)] == ["accepted"]
        server.close()

    play(script)
