"""A client driver whose clients join and resume a quiz: a program of its own, as anybody might have written it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

SOCKETS: dict[str, ClientConnection] = {}
TASKS: set[asyncio.Task[None]] = set()
KEYS: dict[int, str] = {}


def report(kind: str, **fields: object) -> None:
    print(json.dumps({"type": kind, "t": time.monotonic(), **fields}), flush=True)  # noqa: T201 - its protocol


async def live(client: str, url: str) -> None:
    token = ""
    while True:
        report("attempt", client=client)
        try:
            async with connect(url, open_timeout=5, ping_interval=None, close_timeout=0.1, proxy=None) as socket:
                report("opened", client=client)
                first = {"type": "resume", "token": token} if token else {"type": "join", "name": client}
                await socket.send(json.dumps({"event": "quiz", **({} if token else {"instance": client}), **first}))
                async for text in socket:
                    token = await heard(client, socket, json.loads(text)) or token
            cause = "closed"
        except (OSError, WebSocketException) as error:
            cause = type(error).__name__
        report("lost" if SOCKETS.pop(client, None) else "failed", client=client, cause=cause)
        await asyncio.sleep(0.1)


async def heard(client: str, socket: ClientConnection, message: dict[str, Any]) -> str | None:
    match message:
        case {"type": "joined" | "state_restored" as kind, "credentials": credentials, "snapshot": snapshot}:
            how = "fresh" if kind == "joined" else "resumed"
            report("restored", client=client, how=how, position=snapshot["seq"])
            SOCKETS[client] = socket
            await socket.send(json.dumps({"type": "token_stored", "generation": credentials["generation"]}))
            return str(credentials["token"])
        case {"type": "ping", "id": number}:
            await socket.send(json.dumps({"type": "pong", "id": number}))
            report("observed", client=client)
        case {"type": "probe_reply", "id": number}:
            report("acknowledged", client=client, key=KEYS[number])
    return None


async def main() -> None:
    while (line := await asyncio.to_thread(sys.stdin.readline)) and (order := json.loads(line))["type"] != "stop":
        match order:
            case {"type": "hello", "n": n}:
                report("ready", version=1, n=n, name="quiz clients of a test")
            case {"type": "open", "client": client, "url": url}:
                TASKS.add(asyncio.create_task(live(client, url)))
            case {"type": "act", "client": client, "key": key} if client in SOCKETS:
                KEYS[len(KEYS) + 1] = key
                with contextlib.suppress(WebSocketException):
                    await SOCKETS[client].send(json.dumps({"type": "probe", "id": len(KEYS)}))
    report("ended")


if __name__ == "__main__":
    asyncio.run(main())
