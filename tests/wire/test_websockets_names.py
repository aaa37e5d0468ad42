"""What the endpoint relies on in ``websockets`` without its documentation; each test names what breaks without it.

A new version of the library that fails here is not necessarily wrong: the code that is named has to change with it.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLOSED, CONNECTING, OPEN, SEND_EOF, Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.uri import parse_uri


def masked(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def test_a_parser_that_waits_for_a_frame_waits_for_the_end_of_the_stream() -> None:
    """``_is_between_messages``: bytes of a frame behind the head must not be lost with their parser."""

    def innermost(protocol: Protocol) -> object:
        parser: Any = protocol.parser
        while parser.gi_yieldfrom is not None:
            parser = parser.gi_yieldfrom
        return parser.gi_code

    protocol = Protocol(Side.SERVER)
    assert innermost(protocol) is StreamReader.at_eof.__code__
    protocol.receive_data(masked(Opcode.TEXT, b"whole") + b"\x81")
    assert innermost(protocol) is not StreamReader.at_eof.__code__


def test_a_message_under_way_has_a_size() -> None:
    """``_is_between_messages``: a fragment behind the head must not be lost either."""
    protocol = Protocol(Side.SERVER)
    assert protocol.current_size is None
    protocol.receive_data(masked(Opcode.TEXT, b"part", fin=False))
    assert protocol.current_size == 4


def test_a_protocol_may_begin_open_with_a_limit() -> None:
    """``Endpoint.protocol``: an open connection without one gets one."""
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=10)
    assert protocol.max_message_size == 10
    assert protocol.state is OPEN
    assert protocol.extensions == []


def test_a_key_may_be_given_to_a_client_that_has_sent_its_request_elsewhere() -> None:
    """``DialledConnection``: the request goes out before the protocol is made that checks the response."""
    asking, checking = ClientProtocol(parse_uri("ws://quiz.test/ws")), ClientProtocol(parse_uri("ws://quiz.test/ws"))
    asking.send_request(asking.connect())
    server = ServerProtocol()
    server.receive_data(b"".join(asking.data_to_send()))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    response = b"".join(server.data_to_send())
    checking.receive_data(response)
    assert checking.state is not OPEN, "the response to another key is refused"
    checking = ClientProtocol(parse_uri("ws://quiz.test/ws"))
    checking.key = asking.key
    checking.receive_data(response)
    assert checking.state is OPEN


def test_the_parser_is_a_generator_that_may_be_closed_at_the_end() -> None:
    """``Endpoint.connection_lost``: it refers to its protocol, so both would wait for the collector of cycles."""
    protocol = Protocol(Side.SERVER)
    protocol.receive_eof()
    assert protocol.state is CLOSED
    assert inspect.isgenerator(protocol.parser)
    protocol.parser.close()
    protocol.receive_eof()
    assert protocol.events_received() == []


@pytest.mark.parametrize("side", Side)
def test_the_end_of_the_stream_between_messages_is_answered_with_nothing_but_the_end(side: Side) -> None:
    """``Endpoint.eof_received`` does the same without a protocol."""
    protocol = Protocol(side)
    protocol.receive_eof()
    assert protocol.state is CLOSED
    assert not protocol.close_expected()
    assert protocol.data_to_send() == [SEND_EOF]
    assert (protocol.close_sent, protocol.close_rcvd, protocol.handshake_exc) == (None, None, None)


@pytest.mark.parametrize("data", [b"no HTTP at all\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"])
def test_what_is_no_request_gets_the_end_of_the_stream_and_no_answer(data: bytes) -> None:
    """``ServerEndpoint.write_eof``: it answers ``InvalidMessage`` itself, and nothing that the library answers."""
    protocol = ServerProtocol()
    protocol.receive_data(data)
    assert protocol.data_to_send() == [SEND_EOF]
    assert isinstance(protocol.handshake_exc, InvalidMessage)
    assert protocol.close_expected()


@pytest.mark.parametrize("data", [b"GET /" + b"x" * 10_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200])
def test_a_request_that_is_too_long_is_answered_by_the_library(data: bytes) -> None:
    """``ServerEndpoint.write_eof``."""
    protocol = ServerProtocol()
    protocol.receive_data(data)
    assert protocol.data_to_send()[0].startswith(b"HTTP/1.1 4")
    assert protocol.handshake_exc is not None
    assert not isinstance(protocol.handshake_exc, InvalidMessage)


def test_an_upgrade_that_is_refused_leaves_its_error() -> None:
    """``is_protocol_violation``."""
    protocol = ServerProtocol()
    protocol.receive_data(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    assert protocol.accept(request).status_code == 426
    assert protocol.handshake_exc is not None
    assert not isinstance(protocol.handshake_exc, InvalidMessage)


def test_a_failed_protocol_says_what_it_sent() -> None:
    """``is_protocol_violation``, and ``Endpoint`` for a message of too many fragments."""
    protocol = Protocol(Side.SERVER)
    protocol.fail(1009, "too many fragments")
    assert protocol.close_sent is not None
    assert (protocol.close_sent.code, protocol.close_rcvd, protocol.close_rcvd_then_sent) == (1009, None, None)
    assert protocol.data_to_send()[-1] == SEND_EOF


def test_the_head_and_the_frames_behind_it_come_as_events_of_one_call() -> None:
    """``Endpoint.feed``: a client's first message may be read together with the response."""
    client, server = ClientProtocol(parse_uri("ws://x/")), ServerProtocol()
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    server.send_text(b"hello")
    client.receive_data(b"".join(server.data_to_send()))
    assert client.state is OPEN
    assert [type(event).__name__ for event in client.events_received()] == ["Response", "Frame"]


def test_a_request_is_checked_without_a_response() -> None:
    """``ServerEndpoint.accept`` makes the response itself; only the key's answer is in it where nothing is offered."""
    protocol, client = ServerProtocol(), ClientProtocol(parse_uri("ws://x/"))
    client.send_request(client.connect())
    protocol.receive_data(b"".join(client.data_to_send()))
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    accept_key, extensions, subprotocol = protocol.process_request(request)
    assert accept_key == protocol.accept(request).headers["Sec-WebSocket-Accept"]
    assert (extensions, subprotocol) == (None, None)
    request.method = "POST"
    with pytest.raises(InvalidHandshake):
        protocol.process_request(request)
    assert protocol.state is CONNECTING
