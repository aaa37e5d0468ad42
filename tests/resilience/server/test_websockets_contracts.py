"""What the server relies on in ``websockets`` beyond its documentation; each test names what breaks without it.

A new version of the library that fails here is not necessarily wrong: the code that is named has to change with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import CLOSED, OPEN, Side
from websockets.server import ServerProtocol

from resilience.server.quiz_connection import QuizConnection
from resilience.wire.endpoint import Endpoint
from resilience.wire.frames import text_frame
from resilience.wire.known_heads import KnownHeads
from resilience.wire.server_endpoint import ServerEndpoint
from sim.virtual.loop import run_virtual
from sim.virtual.network import VirtualNetwork

HOST, PORT = "server.test", 80
URL = f"ws://{HOST}:{PORT}/"
CLOSE_TIMEOUT, WRITE_LIMIT = 1.0, 1000
LOGGER = logging.getLogger("test")

Handler = Callable[["ObservedConnection", bytes], None]


class ObservedConnection(Endpoint):
    """Records what is called and held, and completes every handshake, as the gateway's own connection does."""

    protocol: ServerProtocol

    def __init__(self, made: list[ObservedConnection], handler: Handler, max_size: int) -> None:
        super().__init__(
            Side.SERVER, max_size=max_size, logger=LOGGER, close_timeout=CLOSE_TIMEOUT, write_limit=WRITE_LIMIT
        )
        self._protocol = ServerProtocol(max_size=max_size)
        self._made, self._handler = made, handler
        self.calls: list[str] = []
        self.at_loss: tuple[Exception | None, int | None, bool | None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.calls.append("made")
        self._made.append(self)

    def head_received(self, head: Request | Response) -> None:
        assert isinstance(head, Request)
        self.protocol.send_response(self.protocol.accept(head))
        self.flush()
        self.release_handshake()
        self._handler(self, b"")

    def message_received(self, message: bytes) -> None:
        self._handler(self, message)

    def writing_paused(self) -> None:
        self.calls.append("paused")

    def ended(self, code: int | None, reason: str) -> None:
        protocol = self.protocol
        sent = protocol.close_sent.code if protocol.close_sent else None
        self.at_loss = (protocol.handshake_exc, sent, protocol.close_rcvd_then_sent)
        self.calls.append("lost")


def run(
    handler: Handler, script: Callable[[], Awaitable[None]], *, max_size: int = 1_000_000
) -> list[ObservedConnection]:
    """Serve ``handler`` in virtual time while ``script`` runs; returns the connections of the server.

    ``handler`` is called after the handshake with no bytes, and with each message.
    """
    made: list[ObservedConnection] = []

    async def main(_: object) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ObservedConnection(made, handler, max_size), HOST, PORT)
        await script()
        await asyncio.sleep(5)
        server.close()

    run_virtual(main, VirtualNetwork(1))
    return made


async def dial() -> ClientConnection:
    return await connect(URL, compression=None, ping_interval=None, proxy=None)


def echo(connection: ObservedConnection, message: bytes) -> None:
    if message:
        connection.send_frame(text_frame(message))


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
    """``QuizConnection.__slots__``: the base classes of ``asyncio`` have none, or each connection had a dictionary."""
    connection = QuizConnection(None, KnownHeads(), max_size=1, write_limit=1)  # type: ignore[arg-type]
    assert not hasattr(connection, "__dict__")
    assert not set(QuizConnection.__slots__) & set(dir(ServerEndpoint))
    assert not set(ServerEndpoint.__slots__) & set(dir(Endpoint))
    assert not set(Endpoint.__slots__) & set(dir(asyncio.Protocol))


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
    """``Endpoint.release_handshake``: the head and its parser would stay in memory for the life of the connection."""

    async def script() -> None:
        async with await dial() as socket:
            await socket.send("x")
            assert await socket.recv() == "x"
            await (await socket.ping())
        assert socket.close_code == 1000

    (connection,) = run(echo, script)
    assert not isinstance(connection.protocol, ServerProtocol)
    assert connection.at_loss == (None, 1000, True)


# messages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raised", [True, False])
def test_the_limit_on_messages_of_one_connection_may_be_raised_while_it_is_open(*, raised: bool) -> None:
    """``Gateway._serve_host``: a host that has shown its key sends all questions in one message."""
    heard: list[bytes] = []

    def handler(connection: ObservedConnection, message: bytes) -> None:
        if raised:
            connection.limit_messages(1000)
        if message:
            heard.append(message)
            connection.close(1000)

    async def script() -> None:
        async with await dial() as socket:
            await socket.send("x" * 500)
            await socket.wait_closed()
        assert socket.close_code == (1000 if raised else 1009)

    run(handler, script, max_size=10)
    assert heard == ([b"x" * 500] if raised else [])


def test_a_frame_may_be_written_past_the_library_while_the_state_is_open() -> None:
    """``Endpoint.send_frame``: a broadcast is framed once for all peers, and never sent after the close frame."""
    states = []

    def handler(connection: ObservedConnection, message: bytes) -> None:
        del message
        states.append(connection.protocol.state is OPEN)
        connection.send_frame(text_frame(b"past"))
        connection.send_text(b"through")
        connection.close(4100, "retry_after=1")
        connection.send_frame(text_frame(b"dropped"))

    async def script() -> None:
        async with await dial() as socket:
            assert [await socket.recv(), await socket.recv()] == ["past", "through"]
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4100, "retry_after=1")

    (connection,) = run(handler, script)
    assert states == [True]
    assert connection.protocol.state is CLOSED


def test_the_library_pauses_writing_for_a_peer_that_does_not_read() -> None:
    """``Endpoint.pause_writing``: a slow reader is evicted; it stays paused until its buffer has drained."""
    paused: list[bool] = []

    def handler(connection: ObservedConnection, message: bytes) -> None:
        for _ in range(0 if message else 100):
            connection.send_frame(text_frame(b"x" * 10_000))
        paused.append(connection.is_writing_paused)

    async def script() -> None:
        async with await dial() as socket:
            await asyncio.sleep(5)
            for _ in range(100):
                await socket.recv()
            await socket.send("read all")
            await asyncio.sleep(1)

    (connection,) = run(handler, script)
    assert paused == [True, False]
    assert connection.calls == ["made", "paused", "lost"]


# ends -----------------------------------------------------------------------------------------------------------------


def test_an_aborted_transport_ends_both_sides_without_a_close_frame() -> None:
    """``Endpoint.abort``: a silent or slow peer is cut off, its close never awaited."""
    ends: list[ConnectionClosed] = []

    def handler(connection: ObservedConnection, message: bytes) -> None:
        del message
        asyncio.get_running_loop().call_later(1, connection.abort)

    async def script() -> None:
        socket = await dial()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        ends.append(closed.value)

    (connection,) = run(handler, script)
    assert [(end.rcvd, end.sent) for end in ends] == [(None, None)]
    assert connection.at_loss == (None, None, None)


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
