"""Both servers that a driver is examined with cut, refuse and count alike."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from chaos.drivers.echo_target import EchoTarget
from chaos.drivers.forwarder import ForwarderTarget
from chaos.drivers.trial_target import TrialTarget

from ...support.deadlines import HANG_S


@asynccontextmanager
async def forwarded() -> AsyncIterator[TrialTarget]:
    async with EchoTarget() as behind:
        port = urlsplit(behind.url).port
        assert port is not None
        async with ForwarderTarget("127.0.0.1", port, "/") as target:
            yield target


@pytest.mark.parametrize("make", [EchoTarget, forwarded])
async def test_a_target_cuts_refuses_and_returns_on_its_port(make: type[EchoTarget]) -> None:
    async with asyncio.timeout(HANG_S), make() as target:
        for end in (target.cut, target.refuse):
            async with connect(target.url) as one, connect(target.url) as other:
                await one.send("echo")
                assert await one.recv() == "echo"
                assert target.connections == 2
                before, ended = target.accepted, end()
                if ended is not None:
                    await ended
                    assert target.connections == 0
                for client in (one, other):
                    with pytest.raises(ConnectionClosed):
                        await client.recv()
            assert target.accepted == before
        with pytest.raises(ConnectionRefusedError):
            await connect(target.url)
        await target.accept()
        async with connect(target.url):
            assert target.accepted == 5


class SlowTarget(TrialTarget):
    """Counts a connection only once it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.came, self.may_count = asyncio.Event(), asyncio.Event()

    async def _listen(self, listener: socket.socket) -> Callable[[], Awaitable[None]]:
        server = await asyncio.start_server(self._serve, sock=listener)

        async def stop() -> None:
            server.close()

        return stop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.set()
        await self.may_count.wait()
        with self._connected(writer.transport):
            await reader.read()


async def test_a_connection_on_its_way_into_a_refusal_is_cut_when_it_arrives() -> None:
    async with asyncio.timeout(HANG_S), SlowTarget() as target:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(target.url).port)
        await target.came.wait()
        await target.refuse()
        target.may_count.set()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@asynccontextmanager
async def with_pages() -> AsyncIterator[ForwarderTarget]:
    """A target before a server that has files too."""
    async with EchoTarget() as behind:
        port = urlsplit(behind.url).port
        assert port is not None
        async with ForwarderTarget("127.0.0.1", port, "/ws", serves_pages=True) as target:
            yield target


async def dialled(target: TrialTarget, *segments: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has sent these bytes one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(target.url).port)
    for segment in segments:
        writer.write(segment)
        await writer.drain()
        await asyncio.sleep(0.05)
    return reader, writer


async def test_a_request_for_a_page_is_passed_on_and_is_no_client() -> None:
    async with asyncio.timeout(HANG_S), with_pages() as target:
        reader, writer = await dialled(target, b"GET /page HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 426")
        writer.close()
        assert (target.accepted, target.connections) == (0, 0)
        async with connect(target.url) as client:
            await client.send("echo")
            assert await client.recv() == "echo"
            assert (target.accepted, target.connections) == (1, 1)


@pytest.mark.parametrize("segments", [(b"GET /w", b"s HTTP/1.1\r\n\r\n"), (b"GET /ws?event=quiz HTTP/1.1\r\n\r\n",)])
async def test_a_client_is_counted_however_its_request_comes(segments: tuple[bytes, ...]) -> None:
    async with asyncio.timeout(HANG_S), with_pages() as target:
        reader, writer = await dialled(target, *segments)
        await reader.read()
        assert target.accepted == 1
        writer.close()


async def test_a_request_without_an_end_is_cut() -> None:
    async with asyncio.timeout(HANG_S), with_pages() as target:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(target.url).port)
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET /" + b"w" * 200_000)
            await writer.drain()
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("end", [TrialTarget.cut, TrialTarget.refuse])
async def test_a_connection_that_says_nothing_is_ended_as_any_other(
    end: Callable[[TrialTarget], Awaitable[None] | None],
) -> None:
    async with asyncio.timeout(HANG_S), with_pages() as target:
        reader, writer = await dialled(target)
        hears = asyncio.ensure_future(reader.read())
        while not hears.done():
            ended = end(target)
            if ended is not None:
                await ended
            await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionResetError):
            assert await hears == b""
        assert (target.accepted, target.connections) == (0, 0)
        writer.close()
