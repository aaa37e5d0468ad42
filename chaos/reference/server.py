"""The bare server of the reference: ``python -m chaos.reference.server``. Echoes, and knows nothing else.

It has the transport settings of the quiz server (listen backlog, no compression, no keepalive of the library), so that
what differs is the work of the system under test. Its first line on standard output is the port on which it listens.
"""

from __future__ import annotations

import sys

from websockets.asyncio.server import ServerConnection, serve

from resilience.errors import HarnessError, describe_error

from ..event_loop import run_on_fast_loop
from ..ports import free_ports

HOST = "127.0.0.1"
BACKLOG = 4096
_TRIES = 5


async def echo(connection: ServerConnection) -> None:
    """Send back every message."""
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    """Listen on a free port, say which, and serve until killed."""
    for port in free_ports(_TRIES):
        try:
            async with serve(echo, HOST, port, backlog=BACKLOG, compression=None, ping_interval=None) as server:
                sys.stdout.write(f"{port}\n")
                sys.stdout.flush()
                await server.serve_forever()
        except OSError:  # the port was taken meanwhile
            continue
    raise HarnessError(f"other programs took {_TRIES} free ports in a row; end other runs")


if __name__ == "__main__":
    try:
        run_on_fast_loop(main())
    except HarnessError as error:
        sys.exit(describe_error(error))
