"""A bare server of ``websockets``: sends back what it gets. Usage: python echo_server.py PORT."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    """Send back every message of one connection."""
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    """Serve until the process is ended."""
    async with serve(echo, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
