"""Peers that say what no client of ours would, in virtual time, and a server with everything switched on for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol import codec
from resilience.protocol.messages import Join, Message
from resilience.server.app import QuizServer
from resilience.server.metrics import Metrics
from resilience.units import Seconds

from .virtual_server import HOST, PORT, URL, WAITING, VirtualServerHarness

T = TypeVar("T", bound=Message)

KEY = "the key of the hosts"
TIMEOUT_S: Seconds = 3600.0
"""Virtual: nothing is waited for any longer."""


def join(name: str = "eve") -> Join:
    """Take part in the event that is served."""
    return Join(event="quiz", name=name, instance=name)


async def serve(
    harness: VirtualServerHarness,
    server: ServerConfig | None = None,
    quiz: QuizConfig = WAITING,
    *,
    host_key: str | None = KEY,
) -> tuple[QuizServer, Metrics]:
    """A server that hosts may use and that counts what it does."""
    return await harness.serve_hosts(server, quiz, host_key=host_key)


async def dial(url: str = URL, **headers: str) -> ClientConnection:
    """A bare connection; underscores in a header's name are hyphens."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return await connect(
        url, compression=None, proxy=None, ping_interval=None, close_timeout=1, additional_headers=extra
    )


async def rejection(headers: Mapping[str, str] | None = None) -> object:
    """How a handshake is refused: status and ``Retry-After``; ``None`` when it is not."""
    try:
        socket = await dial(**(headers or {}))
    except InvalidStatus as error:
        advice = error.response.headers.get("Retry-After")
        return error.response.status_code, None if advice is None else float(advice)
    socket.transport.abort()
    return None


async def say(socket: ClientConnection, *messages: Message | str | bytes) -> None:
    """Send messages, any text, or binary frames."""
    for message in messages:
        if isinstance(message, Message):
            await socket.send(codec.encode(message), text=True)
        else:
            await socket.send(message)


async def hear(socket: ClientConnection, kind: type[T]) -> T:
    """The next message of this kind."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            message = codec.decode_server(await socket.recv())
            if isinstance(message, kind):
                return message


async def close_code(socket: ClientConnection) -> tuple[int, str]:
    """How the server ends it: close code and reason; 1006 without a close frame."""
    async with asyncio.timeout(TIMEOUT_S):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


async def http(request: bytes, within: Seconds = 60.0) -> bytes:
    """What comes back for these bytes until the server ends it."""
    reader, writer = await asyncio.open_connection(HOST, PORT)
    writer.write(request)
    try:
        async with asyncio.timeout(within):
            return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def upgrade(*headers: str, path: str = "/ws") -> bytes:
    """A handshake with these lines in it, all others as they must be."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def causes(harness: VirtualServerHarness, kind: LogEventKind) -> list[str | None]:
    """The cause of each event of this kind."""
    return [event.cause for event in harness.events(kind)]
