"""What the clients rely on in ``websockets`` beyond its documentation; each test names what breaks without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from resilience.client.dial_failures import failure_of
from sim.virtual.loop import run_virtual
from sim.virtual.network import VirtualNetwork

HOST, PORT = "server.test", 80
URL = f"ws://{HOST}:{PORT}/"


def run(handler: Callable[[ServerConnection], Awaitable[None]], script: Callable[[], Awaitable[None]]) -> None:
    """Serve ``handler`` in virtual time while ``script`` runs."""

    async def main(_: object) -> None:
        async with serve(handler, HOST, PORT, compression=None, ping_interval=None):
            await script()
            await asyncio.sleep(5)

    run_virtual(main, VirtualNetwork(1))


async def dial() -> ClientConnection:
    return await connect(URL, compression=None, ping_interval=None, proxy=None, open_timeout=None)


async def ignore(connection: ServerConnection) -> None:
    await connection.wait_closed()


def test_broadcast_sends_on_a_client_connection_at_once_and_not_after_its_end() -> None:
    """``ClientDriver._send``: effects are carried out in one turn without ``await``, in any state of the socket."""
    heard: list[object] = []

    async def handler(connection: ServerConnection) -> None:
        heard.extend([message async for message in connection])

    async def script() -> None:
        socket = await dial()
        broadcast((socket,), b'{"type":"leave"}', text=True)
        await socket.close()
        broadcast((socket,), b"too late", text=True)
        broken = await dial()
        broken.transport.abort()
        broadcast((broken,), b"into the void", text=True)

    run(handler, script)
    assert heard == ['{"type":"leave"}']


def test_an_aborted_transport_ends_a_waiting_recv_without_a_close_frame() -> None:
    """``ClientDriver._abort``: a link that is given up is cut, its close never awaited."""

    async def script() -> None:
        socket = await dial()
        asyncio.get_running_loop().call_later(1, socket.transport.abort)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv(decode=False)
        assert (closed.value.rcvd, closed.value.sent) == (None, None)

    run(ignore, script)


def test_a_dial_that_is_cancelled_leaves_no_connection_behind() -> None:
    """``ClientDriver._abandon``: a dial beyond its timeout is cancelled, and the next one must be the only one."""
    opened: list[asyncio.StreamWriter] = []
    ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionResetError):
            assert not await reader.read()
        ended.set()
        writer.close()

    async def main(_: object) -> None:
        async with await asyncio.start_server(accept, HOST, PORT):
            dialling = asyncio.create_task(dial())
            await asyncio.sleep(2)
            assert not dialling.done()
            dialling.cancel()
            await asyncio.wait([dialling])
            assert dialling.cancelled()
            async with asyncio.timeout(5):
                await ended.wait()

    run_virtual(main, VirtualNetwork(1))
    assert len(opened) == 1


@pytest.mark.parametrize("answer", [b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_broken_handshake_raises_what_the_driver_catches(answer: bytes) -> None:
    """``ClientDriver._open`` catches ``OSError``, ``EOFError`` and ``WebSocketException``; no other error may come."""
    causes: list[str] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def main(_: object) -> None:
        async with await asyncio.start_server(accept, HOST, PORT):
            try:
                await dial()
            except Exception as error:  # noqa: BLE001 - to see which
                causes.append(failure_of(error).cause)
            await asyncio.sleep(1)

    run_virtual(main, VirtualNetwork(1))
    assert causes == ["status_200" if b"200" in answer else "closed"]
