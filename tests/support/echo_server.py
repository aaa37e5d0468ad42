"""A bare WebSocket echo server of another project: ``python -m tests.support.echo_server PORT [--health]``.

With ``--health`` it answers ``/up`` with 200 and everything else that is no WebSocket handshake with 404.
"""

from __future__ import annotations

import asyncio
import http
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


async def echo(connection: ServerConnection) -> None:
    """Send back what comes."""
    async for message in connection:
        await connection.send(message)


def answer_health(connection: ServerConnection, request: Request) -> Response | None:
    """Answer a plain request; leave a handshake alone."""
    if "Upgrade" in request.headers:
        return None
    is_up = request.path == "/up"
    return connection.respond(http.HTTPStatus.OK if is_up else http.HTTPStatus.NOT_FOUND, "")


async def main(port: int, *, has_health: bool) -> None:
    """Serve until killed."""
    async with serve(echo, "127.0.0.1", port, process_request=answer_health if has_health else None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), has_health="--health" in sys.argv))
