"""A server's end: which heads it accepts, what it answers, and that a known head costs no protocol of the library."""

from __future__ import annotations

import logging

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from resilience.wire.known_heads import KEY_HEADER, KnownHeads
from resilience.wire.server_endpoint import BAD_REQUEST, ServerEndpoint
from tests.wire.fake_transport import FakeTransport
from tests.wire.test_endpoint import on_a_loop

LOGGER = logging.getLogger("tests.wire.server_endpoint")
HELLO = Frame(Opcode.TEXT, b"hello").serialize(mask=True)


class Server(ServerEndpoint):
    """Accepts, or answers 403 or with a page."""

    def __init__(self, heads: KnownHeads, answer: str = "accept") -> None:
        super().__init__(heads, max_size=100, logger=LOGGER, close_timeout=1.0, write_limit=4096)
        self.answer = answer
        self.completed, self.requests, self.messages = 0, list[Request](), list[bytes]()
        self.sent = FakeTransport(self)
        self.connection_made(self.sent)

    def request_received(self, request: Request) -> None:
        self.requests.append(request)
        if self.answer == "accept":
            self.accept(request)
        else:
            self.respond(self.reject(403, "no\n"))

    def handshake_completed(self) -> None:
        self.completed += 1

    def message_received(self, message: bytes) -> None:
        self.messages.append(message)


def client() -> tuple[ClientProtocol, bytes]:
    """A client of the library and the head that it sends."""
    protocol = ClientProtocol(parse_uri("ws://quiz.test/ws"))
    protocol.send_request(protocol.connect())
    return protocol, b"".join(protocol.data_to_send())


def shake_hands(heads: KnownHeads, *, cut: int | None = None, behind: bytes = b"") -> Server:
    """A connection whose response the library's client has accepted."""
    server, (protocol, head) = Server(heads), client()
    for part in (head + behind,) if cut is None else (head[:cut], head[cut:] + behind):
        server.feed(part)
    protocol.receive_data(server.sent.taken())
    assert protocol.handshake_exc is None
    assert protocol.state is OPEN
    assert server.completed == 1
    assert server.is_open
    return server


def test_the_second_of_two_equal_heads_needs_no_protocol() -> None:
    heads = KnownHeads()
    first = shake_hands(heads)
    second = Server(heads)
    made = second.has_protocol
    protocol, head = client()
    second.feed(head)
    assert not made
    assert not second.has_protocol
    assert first.requests[0].path == second.requests[0].path
    assert second.requests[0].headers[KEY_HEADER] == protocol.key
    protocol.receive_data(second.sent.taken())
    assert protocol.state is OPEN
    for server in (first, second):
        server.feed(HELLO)
        assert server.messages == [b"hello"]


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_a_head_in_two_parts_is_accepted(cut: int) -> None:
    heads = KnownHeads()
    shake_hands(heads)
    shake_hands(heads, cut=cut).feed(HELLO)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_message_right_behind_the_head_is_read(*, is_known: bool) -> None:
    heads = KnownHeads()
    if is_known:
        shake_hands(heads)
    server = shake_hands(heads, behind=HELLO + HELLO[:3])
    assert server.messages == [b"hello"]
    server.feed(HELLO[3:])
    assert server.messages == [b"hello", b"hello"]
    assert not server.has_protocol


@pytest.mark.parametrize("is_known", [True, False])
def test_a_request_may_be_rejected(*, is_known: bool) -> None:
    async def script() -> None:
        heads = KnownHeads()
        if is_known:
            shake_hands(heads)
        server, (protocol, head) = Server(heads, answer="reject"), client()
        server.feed(head)
        written = server.sent.taken()
        assert written.startswith(b"HTTP/1.1 403 ")
        assert written.endswith(b"\r\n\r\nno\n")
        assert server.sent.ended
        assert not server.is_open
        server.accept(server.requests[0])
        assert server.sent.taken() == b""
        protocol.receive_data(written)
        assert protocol.handshake_exc is not None

    on_a_loop(script)


@pytest.mark.parametrize(
    "head, status",
    [
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"POST /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (client()[1].replace(b"Version: 13", b"Version: 12"), b"400"),
        (client()[1].replace(b"HTTP/1.1", b"HTTP/1.0"), b"505"),
    ],
    ids=["no upgrade", "method", "version", "HTTP/1.0"],
)
def test_a_handshake_that_cannot_be_completed_is_answered_and_not_known(head: bytes, status: bytes) -> None:
    async def script() -> None:
        heads = KnownHeads()
        server = Server(heads)
        server.feed(head)
        assert server.sent.written.split()[1] == status
        assert (server.completed, len(heads)) == (0, 0)

    on_a_loop(script)


def test_bytes_that_are_no_request_are_answered_once() -> None:
    async def script() -> None:
        server = Server(KnownHeads())
        server.feed(b"SSH-2.0-OpenSSH_9.2\r\n")
        assert server.sent.written == BAD_REQUEST
        assert server.sent.ended

    on_a_loop(script)


def test_a_connection_that_ends_before_its_head_is_not_answered() -> None:
    async def script() -> None:
        server = Server(KnownHeads())
        server.eof_received()
        assert server.sent.written == b""
        assert server.sent.ended
        server.connection_lost(None)

    on_a_loop(script)


def test_a_connection_that_is_gone_is_not_accepted() -> None:
    async def script() -> None:
        heads = KnownHeads()
        shake_hands(heads)
        server = Server(heads)
        server.abort()
        server.feed(client()[1])
        assert (server.sent.written, server.completed) == (b"", 0)

    on_a_loop(script)
