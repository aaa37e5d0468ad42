"""One end of a connection: messages in, frames out, one report of the end, and no close that waits without a bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from resilience.wire.endpoint import MAX_FRAGMENTS, MAX_REASON_BYTES, Endpoint
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork
from tests.wire.fake_transport import FakeTransport, NotingEndpoint

CLOSE_TIMEOUT = 1.0


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


def opened(side: Side = Side.SERVER, *, half_close: bool = True, max_size: int = 1024) -> NotingEndpoint:
    endpoint = NotingEndpoint(Protocol(side, max_size=max_size), close_timeout=CLOSE_TIMEOUT, write_limit=4096)
    endpoint.connection_made(FakeTransport(endpoint, half_close=half_close))
    return endpoint


def transport_of(endpoint: NotingEndpoint) -> FakeTransport:
    assert isinstance(endpoint.transport, FakeTransport)
    return endpoint.transport


def on_a_loop(script: Callable[[], Awaitable[None]]) -> None:
    async def main(loop: VirtualLoop) -> None:
        del loop
        await script()

    run_virtual(main, VirtualNetwork(1))


@given(
    messages=st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=4), max_size=5),
    pings=st.booleans(),
    cut=st.integers(1, 50),
)
def test_messages_arrive_whole_and_in_order_however_they_are_cut(
    messages: list[list[bytes]], cut: int, *, pings: bool
) -> None:
    """Fragments with pings between them, in pieces of any size."""
    stream, frames = b"", 0
    for parts in messages:
        for number, part in enumerate(parts, 1):
            stream += frame(Opcode.CONT if number > 1 else Opcode.BINARY, part, fin=number == len(parts))
            stream += frame(Opcode.PING, b"?") if pings else b""
            frames += 2 if pings else 1
    endpoint = opened()
    counted = sum(endpoint.feed(stream[start : start + cut]) for start in range(0, len(stream), cut))
    assert endpoint.messages == [b"".join(parts) for parts in messages]
    assert counted == frames, "control frames and fragments count as much as messages"
    assert transport_of(endpoint).written == frame(Opcode.PONG, b"?", mask=False) * (frames // 2 if pings else 0)


def test_a_message_is_handed_out_within_the_call_that_brings_its_bytes() -> None:
    endpoint = opened(Side.CLIENT)
    endpoint.data_received(frame(Opcode.BINARY, b"\x00\xff", mask=False))
    assert endpoint.messages == [b"\x00\xff"]
    assert type(endpoint.messages[0]) is bytes


def test_what_is_sent_once_made_and_what_the_library_frames() -> None:
    endpoint, made = opened(), frame(Opcode.TEXT, b"for all", mask=False)
    endpoint.send_frame(made)
    endpoint.send_text(b"for one")
    assert transport_of(endpoint).written == made + frame(Opcode.TEXT, b"for one", mask=False)


def test_the_peer_closes_and_its_code_and_reason_are_reported_once() -> None:
    async def script() -> None:
        endpoint = opened()
        endpoint.data_received(frame(Opcode.CLOSE, Close(4321, "enough").serialize()) + frame(Opcode.TEXT, b"late"))
        transport = transport_of(endpoint)
        assert transport.written == frame(Opcode.CLOSE, Close(4321, "enough").serialize(), mask=False)
        assert transport.ended
        assert endpoint.ends == []
        endpoint.send_frame(b"dropped")
        endpoint.send_text(b"dropped")
        endpoint.eof_received()
        endpoint.connection_lost(None)
        assert endpoint.ends == [(4321, "enough")]
        assert endpoint.messages == []
        await asyncio.sleep(2 * CLOSE_TIMEOUT)
        assert not transport.aborted, "the timer of the close has stopped"

    on_a_loop(script)


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_transport_that_is_cut_ends_without_a_code(error: Exception | None) -> None:
    endpoint = opened()
    endpoint.data_received(frame(Opcode.TEXT, b"half", fin=False))
    endpoint.connection_lost(error)
    assert endpoint.ends == [(None, "")]
    assert not endpoint.is_open
    endpoint.send_frame(b"dropped")
    endpoint.close(1000)
    assert transport_of(endpoint).written == b""


@pytest.mark.parametrize("by_peer", [True, False])
def test_a_close_that_the_other_end_does_not_finish_is_aborted_after_the_timeout(*, by_peer: bool) -> None:
    async def script() -> None:
        endpoint = opened()
        if by_peer:
            endpoint.data_received(frame(Opcode.CLOSE))
        else:
            endpoint.close(1012, "restart")
            endpoint.close(1000, "a second close changes nothing")
            assert transport_of(endpoint).written == frame(Opcode.CLOSE, Close(1012, "restart").serialize(), mask=False)
            endpoint.data_received(frame(Opcode.TEXT, b"sent before it read the close"))
            assert endpoint.messages == [b"sent before it read the close"]
        await asyncio.sleep(CLOSE_TIMEOUT * 0.99)
        assert not transport_of(endpoint).aborted
        await asyncio.sleep(CLOSE_TIMEOUT * 0.02)
        assert transport_of(endpoint).aborted
        assert endpoint.ends == [(1005, "") if by_peer else (None, "")]

    on_a_loop(script)


def test_after_an_abort_nothing_is_handed_out_nor_sent() -> None:
    class Impatient(NotingEndpoint):
        def message_received(self, message: bytes) -> None:
            super().message_received(message)
            self.abort()
            self.send_text(b"dropped")
            self.close(1000)

    async def script() -> None:
        endpoint = Impatient(Protocol(Side.SERVER), close_timeout=CLOSE_TIMEOUT)
        endpoint.connection_made(FakeTransport(endpoint))
        endpoint.data_received(frame(Opcode.TEXT, b"1") + frame(Opcode.TEXT, b"2"))
        await asyncio.sleep(0)
        assert (endpoint.messages, endpoint.ends) == ([b"1"], [(None, "")])
        assert transport_of(endpoint).written == b""

    on_a_loop(script)


def test_without_a_half_close_the_transport_is_closed() -> None:
    """TLS has none."""

    async def script() -> None:
        endpoint = opened(half_close=False)
        endpoint.data_received(frame(Opcode.CLOSE))
        assert transport_of(endpoint).closed
        assert not transport_of(endpoint).ended

    on_a_loop(script)


@pytest.mark.parametrize(
    "sent, code",
    [
        (frame(Opcode.TEXT, b"x" * 1025), 1009),
        (frame(Opcode.TEXT, b"x" * 600, fin=False) + frame(Opcode.CONT, b"x" * 600), 1009),
        (frame(Opcode.CONT, b"x"), 1002),
        (frame(Opcode.TEXT, b"unmasked", mask=False), 1002),
        (b"\xff" * 8, 1002),
        (frame(Opcode.TEXT, b"\xff"), 1007),
        (frame(Opcode.TEXT, b"\xce", fin=False) + frame(Opcode.CONT, b"\x20"), 1007),
    ],
    ids=["too big", "too big in fragments", "continuation of nothing", "unmasked", "no frame", "text", "fragments"],
)
def test_what_breaks_the_protocol_is_closed_with_its_code(sent: bytes, code: int) -> None:
    async def script() -> None:
        endpoint = opened()
        endpoint.data_received(sent)
        written = transport_of(endpoint).written
        assert written[0] == 0x80 | Opcode.CLOSE
        assert Close.parse(written[2:]).code == code
        assert endpoint.messages == []
        assert transport_of(endpoint).ended

    on_a_loop(script)


@pytest.mark.parametrize("control", [b"", frame(Opcode.PING)], ids=["at once", "with a ping"])
def test_what_comes_behind_text_that_is_not_utf8_is_not_read(control: bytes) -> None:
    """RFC 6455 section 7.1.7. With a ping the library has parsed all of it before the first message is handed out."""

    async def script() -> None:
        endpoint = opened()
        endpoint.feed(control + frame(Opcode.TEXT, b"\xff") + frame(Opcode.TEXT, b"late"))
        endpoint.feed(frame(Opcode.TEXT, b"later"))
        assert endpoint.messages == []
        assert not endpoint.is_open

    on_a_loop(script)


def test_text_in_utf8_and_binary_messages_of_any_bytes_are_read() -> None:
    endpoint = opened()
    euro = "€".encode()
    endpoint.feed(frame(Opcode.TEXT, euro[:1], fin=False) + frame(Opcode.CONT, euro[1:]))
    endpoint.feed(frame(Opcode.TEXT, euro) + frame(Opcode.BINARY, b"\xff"))
    assert endpoint.messages == [euro, euro, b"\xff"]


# an open connection without a protocol of the library -----------------------------------------------------------------


def released(side: Side = Side.SERVER, *, max_size: int = 1024) -> NotingEndpoint:
    endpoint = opened(side, max_size=max_size)
    endpoint.release_handshake()
    assert not endpoint.has_protocol
    assert endpoint.is_open
    return endpoint


@pytest.mark.parametrize("side", list(Side))
def test_whole_messages_need_no_protocol(side: Side) -> None:
    endpoint, mask = released(side), side is Side.SERVER
    frames = [frame(opcode, b"message", mask=mask) for opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.TEXT)]
    assert endpoint.feed(b"".join(frames)) == 3
    endpoint.send_text(b"reply")
    assert endpoint.messages == [b"message"] * 3
    assert not endpoint.has_protocol
    peer = Protocol(Side.CLIENT if mask else Side.SERVER)
    peer.receive_data(transport_of(endpoint).written)
    assert peer.events_received() == [Frame(Opcode.TEXT, b"reply")]


@pytest.mark.parametrize("cut", [1, 3, 9, 15])
def test_a_protocol_is_made_for_part_of_a_message_and_released_behind_it(cut: int) -> None:
    endpoint, stream = released(), frame(Opcode.TEXT, b"one") + frame(Opcode.TEXT, b"two")
    assert endpoint.feed(stream[:cut]) == cut // 9
    assert endpoint.has_protocol == bool(cut % 9)
    endpoint.feed(stream[cut:])
    assert endpoint.messages == [b"one", b"two"]
    assert not endpoint.has_protocol


def test_a_protocol_is_released_behind_the_last_fragment() -> None:
    endpoint = released()
    endpoint.feed(frame(Opcode.TEXT, b"o", fin=False) + frame(Opcode.CONT, b"n", fin=False))
    assert endpoint.has_protocol
    endpoint.feed(frame(Opcode.CONT, b"e"))
    assert endpoint.messages == [b"one"]
    assert not endpoint.has_protocol


def test_a_peer_that_pings_keeps_its_protocol_until_its_next_message() -> None:
    endpoint = released()
    endpoint.feed(frame(Opcode.PING, b"?"))
    assert endpoint.has_protocol
    assert transport_of(endpoint).written == frame(Opcode.PONG, b"?", mask=False)
    endpoint.feed(frame(Opcode.TEXT, b"one"))
    assert endpoint.messages == [b"one"]
    assert not endpoint.has_protocol


def test_the_limit_on_messages_is_the_same_with_a_protocol_and_without() -> None:
    async def script() -> None:
        endpoint = released(max_size=5)
        endpoint.limit_messages(10)
        endpoint.feed(frame(Opcode.TEXT, b"x" * 10))
        assert not endpoint.has_protocol
        endpoint.feed(frame(Opcode.TEXT, b"y" * 10))
        assert endpoint.messages == [b"x" * 10, b"y" * 10]
        endpoint.feed(frame(Opcode.TEXT, b"z" * 11))
        assert Close.parse(transport_of(endpoint).written[2:]).code == 1009

    on_a_loop(script)


@pytest.mark.parametrize("is_graceful", [True, False])
def test_a_connection_without_a_protocol_ends_as_one_that_has_one(*, is_graceful: bool) -> None:
    endpoint = released()
    if is_graceful:
        endpoint.eof_received()
        assert transport_of(endpoint).ended
    endpoint.connection_lost(None)
    assert endpoint.ends == [(None, "")]
    assert not endpoint.is_open


def test_a_message_may_close_its_connection_and_the_next_one_is_still_read() -> None:
    class Closing(NotingEndpoint):
        def message_received(self, message: bytes) -> None:
            super().message_received(message)
            self.close(1000)

    async def script() -> None:
        endpoint = Closing(Protocol(Side.SERVER), close_timeout=CLOSE_TIMEOUT)
        endpoint.connection_made(FakeTransport(endpoint))
        endpoint.release_handshake()
        endpoint.feed(frame(Opcode.TEXT, b"1") + frame(Opcode.TEXT, b"2") + frame(Opcode.CLOSE))
        assert endpoint.messages == [b"1", b"2"]
        endpoint.connection_lost(None)
        assert endpoint.ends == [(1005, "")]

    on_a_loop(script)


def test_a_message_of_too_many_empty_fragments_is_closed_and_nothing_of_it_is_kept() -> None:
    async def script() -> None:
        endpoint = opened()
        endpoint.data_received(frame(Opcode.TEXT, fin=False))
        for _ in range(MAX_FRAGMENTS // 64 - 1):
            endpoint.data_received(frame(Opcode.CONT, fin=False) * 64)
        assert endpoint.is_open
        endpoint.data_received(frame(Opcode.CONT, fin=False) * 63 + frame(Opcode.CONT, b"end"))
        assert not endpoint.is_open
        assert Close.parse(transport_of(endpoint).written[2:]) == Close(1009, "too many fragments")
        assert endpoint.messages == []
        assert transport_of(endpoint).ended

    on_a_loop(script)


def test_a_reason_that_is_too_long_is_cut_between_characters() -> None:
    async def script() -> None:
        endpoint = opened()
        endpoint.close(1012, "é" * 100)
        reason = Close.parse(transport_of(endpoint).written[2:]).reason
        assert reason == "é" * (MAX_REASON_BYTES // 2)

    on_a_loop(script)


def test_a_buffer_that_fills_and_drains_is_reported() -> None:
    endpoint = opened()
    assert transport_of(endpoint).limits == (4096, None)
    endpoint.pause_writing()
    assert endpoint.is_writing_paused
    endpoint.resume_writing()
    assert endpoint.pauses == [True, False]
    assert not endpoint.is_writing_paused


def connected() -> tuple[NotingEndpoint, NotingEndpoint]:
    """A client and a server, one turn before the server's response arrives at the client."""
    client = NotingEndpoint(ClientProtocol(parse_uri("ws://localhost/ws")), close_timeout=CLOSE_TIMEOUT)
    server = NotingEndpoint(ServerProtocol(), close_timeout=CLOSE_TIMEOUT)
    for endpoint in (client, server):
        endpoint.connection_made(FakeTransport(endpoint))
    assert isinstance(client.protocol, ClientProtocol)
    client.protocol.send_request(client.protocol.connect())
    client.flush()
    assert not client.is_open
    assert server.feed(transport_of(client).taken()) == 1
    request = server.heads[0]
    assert isinstance(request, Request)
    assert isinstance(server.protocol, ServerProtocol)
    server.protocol.send_response(server.protocol.accept(request))
    server.flush()
    assert server.is_open
    return client, server


def test_a_handshake_and_what_is_released_after_it() -> None:
    client, server = connected()
    hello = frame(Opcode.TEXT, b"hello", mask=False)
    client.feed(transport_of(server).taken() + hello)
    assert isinstance(client.heads[0], Response)
    assert client.messages == [b"hello"], "the first message may come with the response"
    for endpoint in (client, server):
        endpoint.release_handshake()
        assert type(endpoint.protocol) is Protocol
        assert endpoint.is_open
    client.send_text(b"question")
    server.feed(transport_of(client).taken())
    assert server.messages == [b"question"]
    server.send_text(b"answer")
    client.feed(transport_of(server).taken())
    assert client.messages == [b"hello", b"answer"]
    assert server.protocol.max_message_size == 2**20


@pytest.mark.parametrize("length", [12, 200, 70_000])
@pytest.mark.parametrize("came", [1, 2, 3, 5, 11])
def test_a_handshake_is_kept_while_part_of_a_frame_has_come(came: int, length: int) -> None:
    """The parser takes the head of a frame from its buffer before it waits for the rest."""
    client, server = connected()
    sent = frame(Opcode.TEXT, b"x" * length, mask=False)
    client.feed(transport_of(server).taken() + sent[:came])
    kept = client.protocol
    client.release_handshake()
    assert client.protocol is kept
    client.feed(sent[came:])
    assert client.messages == [b"x" * length]
    client.release_handshake()
    assert client.protocol is not kept


def test_a_handshake_is_kept_while_part_of_a_message_has_come() -> None:
    client, server = connected()
    client.feed(transport_of(server).taken() + frame(Opcode.TEXT, b"one ", fin=False, mask=False))
    client.release_handshake()
    client.feed(frame(Opcode.CONT, b"two", mask=False))
    assert client.messages == [b"one two"]


def test_an_answer_that_is_no_http_closes_the_transport_and_says_why() -> None:
    async def script() -> None:
        endpoint = NotingEndpoint(ClientProtocol(parse_uri("ws://localhost/ws")), close_timeout=CLOSE_TIMEOUT)
        endpoint.connection_made(FakeTransport(endpoint))
        endpoint.data_received(b"SSH-2.0-OpenSSH_9.2\r\n")
        assert transport_of(endpoint).ended
        assert endpoint.protocol.handshake_exc is not None
        await asyncio.sleep(2 * CLOSE_TIMEOUT)
        assert endpoint.ends == [(None, "")]
        assert endpoint.heads == []
        assert endpoint.protocol.state is State.CLOSED

    on_a_loop(script)


def test_a_rejection_is_handed_out_as_a_head() -> None:
    async def script() -> None:
        endpoint = NotingEndpoint(ClientProtocol(parse_uri("ws://localhost/ws")), close_timeout=CLOSE_TIMEOUT)
        endpoint.connection_made(FakeTransport(endpoint))
        endpoint.data_received(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n")
        (head,) = endpoint.heads
        assert isinstance(head, Response)
        assert (head.status_code, head.headers["Retry-After"]) == (503, "2")
        assert endpoint.protocol.handshake_exc is not None
        assert endpoint.protocol.state is not OPEN

    on_a_loop(script)


def test_a_rejection_without_a_length_ends_with_the_stream() -> None:
    async def script() -> None:
        endpoint = NotingEndpoint(ClientProtocol(parse_uri("ws://localhost/ws")), close_timeout=CLOSE_TIMEOUT)
        endpoint.connection_made(FakeTransport(endpoint))
        endpoint.data_received(b"HTTP/1.1 500 Oops\r\n\r\nbody")
        assert endpoint.heads == []
        endpoint.eof_received()
        (head,) = endpoint.heads
        assert isinstance(head, Response)
        assert (head.status_code, head.body) == (500, b"body")

    on_a_loop(script)


def test_an_endpoint_has_no_dictionary() -> None:
    class Slim(Endpoint):
        __slots__ = ()

    slim = Slim(Side.SERVER, max_size=10, logger=logging.getLogger("test"), close_timeout=1.0)
    assert not hasattr(slim, "__dict__")


@pytest.mark.parametrize("half_close", [True, False])
def test_the_end_of_the_stream_between_messages_needs_no_protocol(*, half_close: bool) -> None:
    endpoint = opened(half_close=half_close)
    endpoint.release_handshake()
    endpoint.eof_received()
    assert not endpoint.is_open
    assert not endpoint.has_protocol
    endpoint.send_text(b"too late")
    endpoint.close(1000)
    transport = transport_of(endpoint)
    assert (transport.written, transport.ended, transport.closed) == (b"", half_close, not half_close)
    endpoint.connection_lost(None)
    assert endpoint.ends == [(None, "")]
