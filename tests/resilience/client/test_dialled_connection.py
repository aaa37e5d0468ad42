"""The connection of a dial, byte by byte: each report once, in order, and none after an abort."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from resilience.client.dial_failures import failure_of
from resilience.client.dialled_connection import CLOSE_TIMEOUT_S, DialledConnection
from sim.virtual.loop import run_virtual
from tests.wire.fake_transport import FakeTransport

URI = parse_uri("ws://quiz.test/ws")


class NotingOwner:
    """Notes each report; aborts the connection at the message ``last``, if there is one."""

    def __init__(self, last: bytes | None = None) -> None:
        self.last, self.reports = last, list[Any]()

    def handshake_ended(self, connection: DialledConnection, error: Exception | None) -> None:
        """Note its outcome as a cause."""
        del connection
        self.reports.append("open" if error is None else failure_of(error).cause)

    def message_received(self, connection: DialledConnection, message: bytes) -> None:
        """Note the message."""
        self.reports.append(message)
        if message == self.last:
            connection.abort()

    def connection_failed(self, connection: DialledConnection, reason: str) -> None:
        """Note why."""
        del connection
        self.reports.append(("failed", reason))

    def connection_ended(self, connection: DialledConnection, code: int | None, reason: str) -> None:
        """Note the end."""
        del connection
        self.reports.append((code, reason))


def begun(owner: NotingOwner) -> tuple[DialledConnection, FakeTransport]:
    """A connection that has sent its request."""
    connection = DialledConnection(URI)
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    assert not transport.written, "a transport that loses a race sends no request"
    connection.start(owner, 1)
    return connection, transport


def accepted(request: bytes) -> bytes:
    """A server's response to a request."""
    server = ServerProtocol()
    server.receive_data(request)
    (event,) = server.events_received()
    assert isinstance(event, Request)
    server.send_response(server.accept(event))
    return b"".join(server.data_to_send())


def framed(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A server's frame."""
    return Frame(opcode, data, fin).serialize(mask=False)


def on_a_loop(script: Callable[[], Awaitable[None]]) -> None:
    """Run in virtual time."""

    async def main(_: object) -> None:
        await script()

    run_virtual(main)


def test_the_request_is_what_rfc_6455_asks() -> None:
    _, transport = begun(NotingOwner())
    head = transport.written.decode().split("\r\n")
    assert head[0] == "GET /ws HTTP/1.1"
    names = [line.partition(":")[0] for line in head[1:] if line]
    assert names == ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"]


@given(cut=st.integers(1, 300), messages=st.lists(st.binary(max_size=300), max_size=4), closes=st.booleans())
def test_the_reports_do_not_depend_on_how_the_bytes_are_cut(cut: int, messages: list[bytes], *, closes: bool) -> None:
    """The handshake's parser is replaced where the head ends; no byte may be lost there."""
    owner = NotingOwner()

    async def script() -> None:
        connection, transport = begun(owner)
        stream = accepted(transport.taken())
        stream += b"".join(framed(Opcode.BINARY, message) for message in messages)
        stream += framed(Opcode.CLOSE, Close(1012, "restart").serialize()) if closes else b""
        for at in range(0, len(stream), cut):
            connection.data_received(stream[at : at + cut])
        connection.eof_received()
        connection.connection_lost(None)

    on_a_loop(script)
    assert owner.reports == ["open", *messages, (1012, "restart") if closes else (None, "")]


def test_a_response_like_one_before_is_accepted_only_with_the_answer_to_its_own_key() -> None:
    """It costs no protocol of the library; one with another answer is refused by it."""
    owners = [NotingOwner() for _ in range(3)]

    async def script() -> None:
        (first, first_transport), (second, second_transport), (third, _) = map(begun, owners)
        first_answer = accepted(first_transport.taken())
        first.data_received(first_answer)
        second.data_received(accepted(second_transport.taken()))
        assert second.is_open
        assert not second.has_protocol
        third.data_received(first_answer)
        assert not third.is_open
        second.data_received(framed(Opcode.TEXT, b"hello"))
        for connection in (first, second, third):
            connection.connection_lost(None)

    on_a_loop(script)
    assert [owner.reports for owner in owners] == [
        ["open", (None, "")],
        ["open", b"hello", (None, "")],
        ["closed", (None, "")],
    ]


def test_nothing_is_reported_after_an_abort_but_the_end() -> None:
    """Not even what came in the same bytes."""
    owner = NotingOwner(last=b"2")

    async def script() -> None:
        connection, transport = begun(owner)
        connection.data_received(
            accepted(transport.taken()) + b"".join(framed(Opcode.TEXT, b"%d" % i) for i in (1, 2, 3))
        )
        connection.send_text(b"too late")
        assert not transport.written
        await asyncio.sleep(0)

    on_a_loop(script)
    assert owner.reports == ["open", b"1", b"2", (None, "")]


@pytest.mark.parametrize(
    "answer, cause",
    [
        (b"", "closed"),
        (b"HTTP/1.1 101 Swi", "closed"),
        (b"no HTTP at all\r\n\r\n", "closed"),
        (b"HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", "status_200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nshort", "closed"),
        (b"HTTP/1.1 503 No\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\nno", "status_503"),
    ],
)
@pytest.mark.parametrize("is_reset", [True, False])
def test_a_handshake_that_is_not_accepted_has_a_cause(answer: bytes, cause: str, *, is_reset: bool) -> None:
    owner = NotingOwner()

    async def script() -> None:
        connection, _ = begun(owner)
        if answer:
            connection.data_received(answer)
        if not is_reset:
            connection.eof_received()
        connection.connection_lost(ConnectionResetError() if is_reset else None)

    on_a_loop(script)
    assert owner.reports == [cause, (None, "")]


def test_a_transport_that_was_lost_before_the_request_is_a_failed_handshake() -> None:
    owner = NotingOwner()
    connection = DialledConnection(URI)
    connection.connection_made(FakeTransport(connection))
    connection.connection_lost(ConnectionResetError())
    connection.start(owner, 1)
    assert owner.reports == ["closed", (None, "")]


def test_a_close_that_is_not_answered_ends_with_its_timeout() -> None:
    owner = NotingOwner()

    async def script() -> None:
        connection, transport = begun(owner)
        connection.data_received(accepted(transport.taken()))
        connection.close(1000)
        await asyncio.sleep(CLOSE_TIMEOUT_S - 0.01)
        assert not transport.aborted
        await asyncio.sleep(0.02)
        assert transport.aborted

    on_a_loop(script)
    assert owner.reports == ["open", (None, "")]


def test_a_text_that_is_not_utf8_is_reported_before_the_connection_ends() -> None:
    """A client need not wait for the server's close to dial again."""
    owner = NotingOwner()

    async def script() -> None:
        connection, transport = begun(owner)
        connection.data_received(accepted(transport.taken()) + framed(Opcode.TEXT, b"\xff"))
        assert owner.reports == ["open", ("failed", "text that is not UTF-8")]
        await asyncio.sleep(2 * CLOSE_TIMEOUT_S)

    on_a_loop(script)
    assert owner.reports[2:] == [(None, "")]


def test_a_message_that_is_too_long_ends_the_connection() -> None:
    owner = NotingOwner()

    async def script() -> None:
        connection, transport = begun(owner)
        connection.data_received(accepted(transport.taken()) + b"\x81\x7f\x00\x00\x00\x00\x40\x00\x00\x00")
        assert transport.written[:1] == b"\x88", "a close frame"
        await asyncio.sleep(2 * CLOSE_TIMEOUT_S)

    on_a_loop(script)
    assert owner.reports == ["open", (None, "")]
