"""A known head gives what the library makes of it, and everything else is left to the library."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from resilience.wire import known_heads
from resilience.wire.known_heads import KEY_HEADER, MAX_HEAD_BYTES, MAX_LINES, KnownHeads, KnownResponses

LINES = ["Host: quiz.test", "Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13"]
KEY, OTHER_KEY = (base64.b64encode(octet * 16).decode() for octet in (b"a", b"b"))


def _lines(key: str) -> list[str]:
    return ["GET /ws?x=1 HTTP/1.1", *LINES, f"{KEY_HEADER}: {key}"]


def head(key: str = KEY, *lines: str) -> bytes:
    return "\r\n".join([*_lines(key), *lines, "", ""]).encode()


def parsed(data: bytes) -> Request:
    protocol = ServerProtocol()
    protocol.receive_data(data)
    request = protocol.events_received()[0]
    assert isinstance(request, Request)
    return request


def knowing(*heads: bytes) -> KnownHeads:
    known = KnownHeads()
    for data in heads:
        known.add(data, parsed(data))
    return known


@given(
    key=st.binary(min_size=16, max_size=16),
    address=st.text(st.characters(codec="latin-1")),
    agent=st.sampled_from(["", "curl/8", "  blanks  ", "Mozilla/5.0 (X11; Linux)"]),
    names=st.sampled_from(["X-Forwarded-For", "Origin", "x-forwarded-for"]),
)
def test_a_head_with_other_values_is_read_as_the_library_reads_it(
    key: bytes, address: str, agent: str, names: str
) -> None:
    def with_values(key: str, address: str, agent: str) -> bytes:
        lines = (f"{names}: {address}", f"User-Agent: {agent}", "Cookie: a=b")
        return b"\r\n".join(line.encode("latin-1") for line in (*_lines(key), *lines, "", ""))

    sent = with_values(base64.b64encode(key).decode(), address, agent)
    found = knowing(with_values(KEY, "10.0.0.1", "first")).find(sent)
    protocol = ServerProtocol()
    protocol.receive_data(sent)
    events = protocol.events_received()
    if found is None:
        assert names != "X-Forwarded-For" or not (address.isascii() and address.isprintable())
        return
    (request,) = events
    assert isinstance(request, Request)
    assert found.accept_key == ServerProtocol().process_request(request)[0]
    assert (found.request.path, found.request.method) == (request.path, request.method)
    assert sorted(found.request.headers.raw_items()) == sorted(request.headers.raw_items())


def test_a_value_stays_with_its_own_connection() -> None:
    known = knowing(head(KEY, "X-Forwarded-For: 10.0.0.1"))
    for address in ("10.0.0.2", "10.0.0.3", "10.0.0.1"):
        found = known.find(head(OTHER_KEY, f"X-Forwarded-For: {address}"))
        assert found is not None
        assert found.request.headers.get_all("X-Forwarded-For") == [address]
        assert found.request.headers[KEY_HEADER] == OTHER_KEY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        head(OTHER_KEY)[:-1],
        head(OTHER_KEY) + b"\x81",
        head(OTHER_KEY, "Cookie: another"),
        head(OTHER_KEY, "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2"),
        head(OTHER_KEY) + b"\x81\x80\r\nCookie: x\r\n\r\n",
        head(OTHER_KEY).replace(b"/ws?x=1", b"/ws?x=2"),
        head(OTHER_KEY).replace(b": websocket", b":  websocket"),
        head(OTHER_KEY).replace(KEY_HEADER.encode(), KEY_HEADER.lower().encode()),
    ],
    ids=[
        "nothing",
        "cut",
        "bytes behind it",
        "another header",
        "two addresses",
        "a head behind it",
        "another path",
        "another blank",
        "another case",
    ],
)
def test_any_other_head_is_unknown(data: bytes) -> None:
    assert knowing(head()).find(data) is None


@pytest.mark.parametrize("key", ["x" * 24, "=" * 24, KEY[:-2] + "\x00=", KEY[:-4] + "+-_=", KEY[:-2], KEY + "===="])
def test_a_key_that_is_not_sixteen_bytes_is_left_to_the_library(key: str) -> None:
    assert knowing(head()).find(head(key)) is None


def test_what_cannot_differ_in_its_values_alone_is_not_known() -> None:
    twice = head(KEY, "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2")
    assert len(knowing(twice)) == 0
    with_bytes_behind = head() + b"\x81\x80aaaa\r\n\r\n"
    assert len(knowing(with_bytes_behind, head(KEY, "Cookie: " + "x" * MAX_HEAD_BYTES))) == 0
    assert len(knowing(head(KEY, *(f"X-{n}: 1" for n in range(MAX_LINES))))) == 0
    known = KnownHeads()
    known.add(head(), parsed(head(OTHER_KEY)))
    assert len(known) == 0, "the key that the library read must be the one that was cut out"


def test_the_head_that_was_used_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "MAX_HEADS", 2)
    first, second, third = (head(KEY, f"Origin: {name}") for name in "abc")
    known = knowing(first, second)
    assert known.find(first) is not None
    known.add(third, parsed(third))
    assert [known.find(each) is not None for each in (first, second, third)] == [True, False, True]


def response(key: str = KEY, *lines: str) -> bytes:
    first = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*first, f"Sec-WebSocket-Accept: {accept_key(key)}", *lines, "", ""]).encode()


def is_accepted(data: bytes, key: str) -> bool:
    """Whether the library accepts a response."""
    protocol = ClientProtocol(parse_uri("ws://quiz.test/ws"))
    protocol.key = key
    protocol.receive_data(data)
    return protocol.state is OPEN


def test_a_known_response_to_another_key_is_one_that_the_library_accepts() -> None:
    known = KnownResponses()
    assert not known.accepts(response(KEY, "Server: nginx"), KEY)
    known.add(response(KEY, "Server: nginx"), KEY)
    assert known.accepts(response(OTHER_KEY, "Server: nginx"), OTHER_KEY)
    assert is_accepted(response(OTHER_KEY, "Server: nginx"), OTHER_KEY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        response(KEY),
        response(OTHER_KEY)[:-1],
        response(OTHER_KEY) + b"\x81",
        response(OTHER_KEY, "Server: nginx"),
        response(OTHER_KEY, "Sec-WebSocket-Extensions: permessage-deflate"),
        response(OTHER_KEY, f"Sec-WebSocket-Accept: {accept_key(OTHER_KEY)}"),
        response(OTHER_KEY).replace(b"101", b"200"),
        response(OTHER_KEY).replace(b"Accept: ", b"Accept:"),
        response(OTHER_KEY).replace(accept_key(OTHER_KEY).encode(), accept_key(OTHER_KEY).lower().encode()),
    ],
    ids=[
        "nothing",
        "the answer to another key",
        "cut",
        "bytes behind it",
        "another header",
        "an extension",
        "two answers",
        "another status",
        "another blank",
        "an answer in another case",
    ],
)
def test_any_other_response_is_unknown(data: bytes) -> None:
    known = KnownResponses()
    known.add(response(KEY), KEY)
    assert not known.accepts(data, OTHER_KEY)


def test_a_response_with_bytes_behind_it_and_one_that_is_too_long_are_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = KnownResponses()
    known.add(response() + b"\x81\x00\r\n\r\n", KEY)
    known.add(response(KEY, "Server: " + "x" * MAX_HEAD_BYTES), KEY)
    known.add(response(KEY), OTHER_KEY)
    assert len(known) == 0
    monkeypatch.setattr(known_heads, "MAX_RESPONSES", 2)
    dated = [response(KEY, f"Date: {second}") for second in range(3)]
    for each in dated:
        known.add(each, KEY)
    assert [known.accepts(each, KEY) for each in dated] == [False, True, True]
