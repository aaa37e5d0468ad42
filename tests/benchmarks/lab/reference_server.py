"""The reference: a server of `websockets` and nothing else, with the product's transport settings.

``python reference_server.py PORT`` echoes every message except two commands: ``broadcast SIZE`` sends all clients a
text of SIZE bytes that begins with the instant of the sending (seconds on the monotonic clock); ``beat SECONDS`` sends
each connection a text at this interval, from a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

BROADCAST = "broadcast "

_crowd: set[ServerConnection] = set()


async def echo(connection: ServerConnection) -> None:
    """Serve one connection until it ends."""
    _crowd.add(connection)
    try:
        with suppress(ConnectionClosed):
            async for said in connection:
                text = str(said)
                if text.startswith(BROADCAST):
                    broadcast(_crowd, f"at {time.monotonic():.6f} ".ljust(int(text.removeprefix(BROADCAST)), "."))
                else:
                    await connection.send(text)
    finally:
        _crowd.discard(connection)


async def main(port: int) -> None:
    """Serve until killed."""
    quiet = logging.getLogger("bare")
    quiet.setLevel(logging.CRITICAL)
    async with serve(
        echo,
        "127.0.0.1",
        port,
        backlog=4096,
        compression=None,
        ping_interval=None,
        max_queue=16,
        max_size=16_384,
        server_header=None,
        logger=quiet,
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
