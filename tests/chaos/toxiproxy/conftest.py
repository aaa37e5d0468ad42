"""The real Toxiproxy for the tests of this folder: found or built once, started once per test, always ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chaos.toxiproxy.client import ToxiproxyApi
from chaos.toxiproxy.process import ToxiproxyProcess
from chaos.toxiproxy.provision import Binary

from ...support.deadlines import HANG_S


@pytest.fixture
async def server(binary: Binary) -> AsyncIterator[ToxiproxyProcess]:
    """One running server."""
    process = await ToxiproxyProcess.start(binary)
    try:
        yield process
    finally:
        await process.stop()


@pytest.fixture
async def api(server: ToxiproxyProcess) -> AsyncIterator[ToxiproxyApi]:
    """A client of that server, which does not find it hung on a busy machine."""
    with contextlib.closing(server.api(HANG_S)) as client:
        yield client


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it hears; its connections end with it."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while heard := await reader.read(4096):
                writer.write(heard)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)  # a socket closes one turn of the loop after its transport
