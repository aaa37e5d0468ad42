"""What the server relies on in ``websockets`` beyond its documentation; each test names what breaks without it.

A new version of the library that fails here is not necessarily wrong: the code that is named has to change with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import CLOSED, OPEN

from resilience.server.gateway import QuizConnection
from resilience.server.hub import framed
from sim.virtual.loop import run_virtual
from sim.virtual.network import VirtualNetwork

HOST, PORT = "server.test", 80
URL = f"ws://{HOST}:{PORT}/"

Handler = Callable[[ServerConnection], Awaitable[None]]


class ObservedConnection(ServerConnection):
    """Records what the library calls and holds, as the gateway's own connection does."""

    made: list[ObservedConnection]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(*arguments, **options)
        self.calls: list[str] = []
        self.at_loss: tuple[Exception | None, int | None, bool | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.calls.append("made")
        self.made.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        protocol = self.protocol
        code = protocol.close_sent.code if protocol.close_sent else None
        self.at_loss = (protocol.handshake_exc, code, protocol.close_rcvd_then_sent)
        self.calls.append("lost")
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.calls.append("paused")


def run(handler: Handler, script: Callable[[], Awaitable[None]], **options: Any) -> list[ObservedConnection]:  # noqa: ANN401
    """Serve ``handler`` in virtual time while ``script`` runs; returns the connections of the server."""

    class Connection(ObservedConnection):
        made: list[ObservedConnection] = []  # noqa: RUF012 - one list for one run

    async def main(_: object) -> None:
        server: Server = await serve(
            handler, HOST, PORT, create_connection=Connection, compression=None, ping_interval=None, **options
        )
        await script()
        await asyncio.sleep(5)
        server.close()
        await server.wait_closed()

    run_virtual(main, VirtualNetwork(1))
    return Connection.made


async def dial() -> ClientConnection:
    return await connect(URL, compression=None, ping_interval=None, proxy=None)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


# the life of a connection ---------------------------------------------------------------------------------------------


def test_a_subclass_sees_a_connection_from_before_its_handshake_to_its_loss_once_each() -> None:
    """``Gateway.connections`` counts sockets that never shake hands, and forgets each exactly once."""

    async def script() -> None:
        _, silent = await asyncio.open_connection(HOST, PORT)
        await asyncio.sleep(1)
        silent.close()
        async with await dial() as socket:
            await socket.send("x")
            await socket.recv()

    assert [connection.calls for connection in run(echo, script)] == [["made", "lost"], ["made", "lost"]]


def test_the_fields_of_our_connection_are_none_of_the_librarys() -> None:
    """``QuizConnection.__slots__``: a field of the same name in the library would be overwritten silently."""

    async def script() -> None:
        await (await dial()).close()

    (connection,) = run(echo, script)
    assert not set(QuizConnection.__slots__) & (set(vars(connection)) | set(dir(ServerConnection)))


# what a handshake leaves behind ---------------------------------------------------------------------------------------


def test_a_handshake_that_breaks_the_protocol_leaves_its_error_and_one_that_is_cut_short_an_eof() -> None:
    """``is_protocol_violation`` counts the first as an attack and not the second."""

    async def script() -> None:
        for data in (b"\x16\x03\x01 no HTTP at all\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            _, writer = await asyncio.open_connection(HOST, PORT)
            writer.write(data)
            await asyncio.sleep(1)
            writer.close()
            await asyncio.sleep(1)
        await (await dial()).close()

    broken, cut, good = (connection.at_loss for connection in run(echo, script))
    assert broken is not None
    assert cut is not None
    assert broken[0] is not None
    assert not isinstance(broken[0].__cause__, EOFError)
    assert cut[0] is not None
    assert isinstance(cut[0].__cause__, EOFError)
    assert good == (None, 1000, True)


def test_request_and_response_may_be_emptied_once_the_handshake_is_over() -> None:
    """``Gateway.handle`` does it: they would stay in memory for the life of the connection, a few kB each."""

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        connection.request.headers.clear()
        connection.response = None
        await echo(connection)

    async def script() -> None:
        async with await dial() as socket:
            await socket.send("x")
            assert await socket.recv() == "x"
            await (await socket.ping())
        assert socket.close_code == 1000

    (connection,) = run(handler, script)
    assert connection.request is not None
    assert not connection.request.headers


# messages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raised", [True, False])
def test_the_limit_on_messages_of_one_connection_may_be_raised_while_it_is_open(*, raised: bool) -> None:
    """``Gateway._serve_host``: a host that has shown its key sends all questions in one message."""
    heard: list[object] = []

    async def handler(connection: ServerConnection) -> None:
        if raised:
            connection.protocol.max_message_size = 1000
        heard.append(await connection.recv())

    async def script() -> None:
        async with await dial() as socket:
            await socket.send("x" * 500)
            await socket.wait_closed()
        assert socket.close_code == (1000 if raised else 1009)

    run(handler, script, max_size=10)
    assert heard == (["x" * 500] if raised else [])


def test_a_frame_may_be_written_past_the_library_while_the_state_is_open() -> None:
    """``WebSocketPeer.send``: a broadcast is framed once for all peers, and never sent after the close frame."""
    states = []

    async def handler(connection: ServerConnection) -> None:
        states.append(connection.protocol.state is OPEN)
        connection.transport.write(framed(b"past"))
        await connection.send("through")
        await connection.close(4100, "retry_after=1")
        states.append(connection.protocol.state is CLOSED)

    async def script() -> None:
        async with await dial() as socket:
            assert [await socket.recv(), await socket.recv()] == ["past", "through"]
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4100, "retry_after=1")

    run(handler, script)
    assert states == [True, True]


@pytest.mark.parametrize("size, head", [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_a_serialized_frame_is_whole_and_unmasked(size: int, head: int) -> None:
    """``framed``: RFC 6455 section 5.2, for every form of the length."""
    data = Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)
    assert len(data) == head + size
    assert data[0] == 0x81
    assert data[1] < 0x80


def test_the_library_pauses_writing_for_a_peer_that_does_not_read() -> None:
    """``QuizConnection.pause_writing``: a slow reader is evicted; ``paused`` holds until its buffer has drained."""
    paused: list[bool] = []

    async def handler(connection: ServerConnection) -> None:
        for _ in range(100):
            connection.transport.write(framed(b"x" * 10_000))
        paused.append(connection.paused)
        await connection.recv()
        paused.append(connection.paused)

    async def script() -> None:
        async with await dial() as socket:
            await asyncio.sleep(5)
            for _ in range(100):
                await socket.recv()
            await socket.send("read all")
            await socket.wait_closed()

    (connection,) = run(handler, script, write_limit=1000)
    assert paused == [True, False]
    assert connection.calls == ["made", "paused", "lost"]


# ends -----------------------------------------------------------------------------------------------------------------


def test_an_aborted_transport_ends_both_sides_without_a_close_frame() -> None:
    """``WebSocketPeer.close`` and ``Gateway.too_slow``: a silent or slow peer is cut off, its close never awaited."""
    ends: list[ConnectionClosed] = []

    async def handler(connection: ServerConnection) -> None:
        asyncio.get_running_loop().call_later(1, connection.transport.abort)
        try:
            await connection.recv()
        except ConnectionClosed as closed:
            ends.append(closed)

    async def script() -> None:
        socket = await dial()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        ends.append(closed.value)

    run(handler, script)
    assert [(end.rcvd, end.sent) for end in ends] == [(None, None), (None, None)]


@pytest.mark.parametrize(
    "violation, expected",
    [("too big", (1009, False)), ("close", (1002, True))],
)
def test_a_close_of_the_library_is_distinguished_from_the_echo_of_the_peers_own(
    violation: str, expected: tuple[int, bool]
) -> None:
    """``is_protocol_violation``: a peer that sends 1002 itself broke nothing."""

    async def script() -> None:
        socket = await dial()
        if violation == "too big":
            await socket.send("x" * 100)
            await socket.wait_closed()
        else:
            await socket.close(1002)

    (connection,) = run(echo, script, max_size=10)
    assert connection.at_loss is not None
    handshake, sent, is_echo = connection.at_loss
    assert (handshake, sent, bool(is_echo)) == (None, *expected)
