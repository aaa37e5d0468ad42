"""Heads of handshakes that were accepted before: those of a crowd differ in few values, so one of them is parsed.

Clients of the same software send the same head but for their key, and behind a proxy for their address. A server gives
all of them the same response but for the answer to the key. The library of ``websockets`` has parsed and accepted each
known head; other printable values in it change nothing else. Pure.
"""

from __future__ import annotations

import binascii
from collections import OrderedDict
from typing import NamedTuple

from websockets.http11 import Request
from websockets.utils import accept_key

MAX_HEADS = 512
"""The most heads that are known; the one that was used last is kept longest."""

MAX_HEAD_BYTES = 2048
"""A longer head is not kept. A head is looked up only if it comes whole in the first piece that is read
(``policy.rate_limits.MAX_PIECE_BYTES``)."""

MAX_LINES = 32
"""A head of more lines is not kept: what the library makes of a line takes more memory than its bytes.

``MAX_HEADS`` heads of 30 lines and 1.6 kB hold 7 MB (``tracemalloc``); without this limit those of 128 lines held 20.
"""

MAX_RESPONSES = 16
"""The most responses that are known, of one or few servers; the one that was added first is forgotten first."""

KEY_HEADER = "Sec-WebSocket-Key"

VARYING_HEADERS = (KEY_HEADER, "X-Forwarded-For", "User-Agent", "Cookie")
"""The headers in whose values the heads of a crowd differ. Written in another way they are part of the head."""

_MARKS = tuple((name, f"\r\n{name}: ".encode()) for name in VARYING_HEADERS)
_END_OF_LINE, _END_OF_HEAD = b"\r\n", b"\r\n\r\n"
_ANSWER_LINE = b"\r\nSec-WebSocket-Accept: %b\r\n"
_KEY_BYTES = 16

_Values = list[tuple[str, str]]


class KnownHead(NamedTuple):
    """A request as the library would parse it, and the answer to its key."""

    request: Request
    accept_key: str


class KnownHeads:
    """The heads that one server has accepted."""

    def __init__(self) -> None:
        self._requests: OrderedDict[bytes, Request] = OrderedDict()

    def find(self, data: bytes) -> KnownHead | None:
        """The request in ``data``, if that is a known head, whole and with nothing behind it, and its key is valid."""
        rest, values = _without_values(data)
        known = self._requests.get(rest)
        if known is None:
            return None
        key = values[0][1]
        if not _is_valid(key):
            return None
        self._requests.move_to_end(rest)
        headers = known.headers.copy()
        for name, value in values:
            headers[name] = value
        return KnownHead(Request(known.path, headers, known.method, known.protocol), accept_key(key))

    def add(self, data: bytes, request: Request) -> None:
        """Know the head ``data``, which the library has parsed as ``request`` and accepted."""
        rest, values = _without_values(data)
        if data.count(_END_OF_LINE) > MAX_LINES:
            return
        if len(data) > MAX_HEAD_BYTES or data.find(_END_OF_HEAD) + len(_END_OF_HEAD) != len(data):
            return
        headers = request.headers.copy()
        if not values or values[0][0] != KEY_HEADER or any(headers.get_all(name) != [value] for name, value in values):
            return
        for name, _ in values:
            del headers[name]
        self._requests[rest] = Request(request.path, headers, request.method, request.protocol)
        if len(self._requests) > MAX_HEADS:
            self._requests.popitem(last=False)

    def __len__(self) -> int:
        return len(self._requests)


class KnownResponses:
    """The responses that clients have accepted."""

    def __init__(self) -> None:
        self._around: dict[tuple[bytes, bytes], None] = {}

    def accepts(self, data: bytes, key: str) -> bool:
        """Whether ``data`` is a known response, whole and with nothing behind it, with the right answer to ``key``."""
        return _around_answer(data, key) in self._around

    def add(self, data: bytes, key: str) -> None:
        """Know the response ``data`` to ``key``, which the library has accepted."""
        if len(data) > MAX_HEAD_BYTES or data.find(_END_OF_HEAD) + len(_END_OF_HEAD) != len(data):
            return
        around = _around_answer(data, key)
        if around is not None:
            self._around[around] = None
            if len(self._around) > MAX_RESPONSES:
                del self._around[next(iter(self._around))]

    def __len__(self) -> int:
        return len(self._around)


def _around_answer(data: bytes, key: str) -> tuple[bytes, bytes] | None:
    """What is before and behind the line with the answer to ``key``; ``None`` without one."""
    before, line, behind = data.partition(_ANSWER_LINE % accept_key(key).encode())
    return (before, behind) if line else None


def _without_values(data: bytes) -> tuple[bytes, _Values]:
    """A head without the values of the varying headers, and these by name; one that is not printable stays in it."""
    values: _Values = []
    for name, mark in _MARKS:
        at = data.find(mark)
        begin = at + len(mark)
        end = data.find(_END_OF_LINE, begin)
        value = data[begin:end].decode("latin-1")
        if at >= 0 and end >= 0 and value.isascii() and value.isprintable():
            values.append((name, value.strip()))
            data = data[:begin] + data[end:]
    return data, values


def _is_valid(key: str) -> bool:
    """Whether a key is 16 bytes in base64 (RFC 6455 section 4.2.1)."""
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
