"""One process of library clients under measurement: ``python -m tests.benchmarks.lab.client_process URL KIND``.

``KIND`` is ``product``, this project's client, or ``bare``, a client of ``websockets`` that waits for one echo. Each
line of standard input is a number of clients that connect at once and stay; the answer is a line of JSON: ``cpu``
seconds until all are in, ``memory`` resident bytes at rest, garbage collected and free memory handed back.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from websockets.asyncio.client import connect as connect_bare

from resilience.client.client import connect
from resilience.config import ClientConfig
from resilience.protocol.messages import Message

PATIENT = ClientConfig(open_timeout=60.0, join_timeout=60.0, probe_after=600.0, probe_deadline=60.0)
"""Takes no busy machine for a dead server."""

SETTLE_S = 2.0
"""Seconds after which presence of a join has gone out."""

Open = Callable[[str, AsyncExitStack, str], Awaitable[None]]


async def open_product(url: str, stack: AsyncExitStack, name: str) -> None:
    """A participant with a session."""
    joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def deliver(_: Message) -> None:
        if not joined.done():
            joined.set_result(None)

    client = connect(url, name=name, config=PATIENT, deliver=deliver)
    await stack.enter_async_context(client)
    await joined


async def open_bare(url: str, stack: AsyncExitStack, name: str) -> None:
    """A connection over which one text was echoed."""
    connection = await stack.enter_async_context(
        connect_bare(url, compression=None, proxy=None, ping_interval=None, open_timeout=60)
    )
    await connection.send(name)
    await connection.recv()


def resident() -> int:
    """Resident bytes of what is in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main(url: str, kind: str) -> None:
    """Open what is asked for until there are no more orders; then end without a farewell."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    open_one: Open = open_product if kind == "product" else open_bare
    numbers, stack = itertools.count(), AsyncExitStack()
    while line := await reader.readline():
        began = time.process_time()
        await asyncio.gather(*(open_one(url, stack, f"client {next(numbers)}") for _ in range(int(line))))
        cpu = time.process_time() - began
        await asyncio.sleep(SETTLE_S)
        sys.stdout.write(json.dumps({"cpu": cpu, "memory": resident()}) + "\n")
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main(*sys.argv[1:]))
