"""A reference driver: clients of ``websockets`` that reconnect with growing delays, for a server that echoes."""

import asyncio
import contextlib
import json
import random
import sys
import time

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

SOCKETS: dict[str, ClientConnection] = {}
TASKS: dict[str, asyncio.Task[None]] = {}


def report(kind: str, **fields: object) -> None:
    """Write one line to the laboratory."""
    print(json.dumps({"type": kind, "t": time.monotonic(), **fields}), flush=True)  # noqa: T201 - that is its protocol


async def live(client: str, url: str, chance: random.Random, failures: int = 0) -> None:
    """Keep one client connected."""
    while True:
        report("attempt", client=client)
        try:
            async with connect(url, open_timeout=3, ping_interval=2, ping_timeout=2, close_timeout=0.3) as socket:
                report("opened", client=client)
                report("restored", client=client, how="fresh")
                SOCKETS[client], failures = socket, 0
                async for key in socket:
                    report("acknowledged", client=client, key=key)
            cause = f"close code {socket.close_code}"
        except (OSError, WebSocketException) as error:
            cause = type(error).__name__
        report("lost" if SOCKETS.pop(client, None) else "failed", client=client, cause=cause)
        failures += 1
        await asyncio.sleep(chance.uniform(0.5, 1) * min(0.05 * 2**failures, 2))


async def main() -> None:
    """Carry out orders until told to stop, or until the input ends."""
    while (line := await asyncio.to_thread(sys.stdin.readline)) and (order := json.loads(line))["type"] != "stop":
        match order:
            case {"type": "hello", "n": n}:
                report("ready", version=1, n=n, name="websockets, reconnecting")
            case {"type": "open", "client": client, "url": url, "seed": seed}:
                TASKS[client] = asyncio.create_task(live(client, url, random.Random(seed)))  # noqa: S311 - no secret
            case {"type": "act", "client": client, "key": key} if client in SOCKETS:
                with contextlib.suppress(WebSocketException):
                    await SOCKETS[client].send(key)
            case {"type": "close", "client": client}:
                TASKS.pop(client).cancel()
            case {"type": kind} if kind != "act":
                report("error", message=f"unknown message type {kind!r}")
    report("ended")


if __name__ == "__main__":
    asyncio.run(main())
