"""Servers on the virtual network: one that a test plays by hand, and a real one that takes hosts."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import Lane, Role
from resilience.protocol import codec
from resilience.protocol.messages import Message
from resilience.runtime import log_to
from resilience.server.app import QuizServer
from resilience.server.store import MEMORY, SqlStore
from tests.support.counted_names import counted
from tests.support.virtual_server import HOST, PORT, VirtualServerHarness

HOST_KEY = "a key that is long enough"


async def scripted(play: Callable[[ServerConnection], Awaitable[None]], **options: object) -> Server:
    """Listen on the virtual network, and play this part for every connection."""

    async def handle(connection: ServerConnection) -> None:
        try:
            await play(connection)
        except ConnectionClosed:
            return

    return await serve(handle, HOST, PORT, compression=None, ping_interval=None, **options)  # type: ignore[arg-type]


async def say(connection: ServerConnection, message: Message | str) -> None:
    """Send a message, or a text that is none."""
    await connection.send(message if isinstance(message, str) else codec.encode(message).decode())


async def hear(connection: ServerConnection) -> Message:
    """What the client says next."""
    return codec.decode_client(await connection.recv())


async def hosting_server(harness: VirtualServerHarness) -> QuizServer:
    """A real server without any event, whose hosts' key is ``HOST_KEY``."""
    numbers = itertools.count()
    app = QuizServer(
        [],
        ServerConfig(),
        SqlStore(MEMORY),
        clock=harness.clock,
        log=log_to(harness.log, Lane.VIRTUAL, Role.SERVER, "server"),
        new_id=counted(),
        new_token=counted("token-", 0, 32),
        wall_clock=harness.clock.now,
        runs=lambda: f"r{next(numbers)}",
        host_key=HOST_KEY,
    )
    await app.start(HOST, PORT)
    return app
