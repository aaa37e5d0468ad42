"""Heads of handshakes that were accepted before: those of a crowd differ in their key only, so one of them is parsed.

A client that comes back sends the head that it sent before, and so do other clients of the same software. The library
of ``websockets`` has parsed and accepted each known head; another key changes nothing else in it. Pure.
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
"""A longer head is not kept: with ``MAX_HEADS``, less than 4 MB."""

KEY_HEADER = "Sec-WebSocket-Key"

_BEFORE_KEY = f"\r\n{KEY_HEADER}: ".encode()
_END_OF_LINE, _END_OF_HEAD = b"\r\n", b"\r\n\r\n"
_KEY_BYTES, _KEY_CHARACTERS = 16, 24


class KnownHead(NamedTuple):
    """A request without its key, and the answer to the key that came with it this time."""

    request: Request
    accept_key: str


class _Parts(NamedTuple):
    """A head in front of its key, the key, and the rest."""

    before: bytes
    key: bytes
    after: bytes


class KnownHeads:
    """The heads that one server has accepted."""

    def __init__(self) -> None:
        self._requests: OrderedDict[tuple[bytes, bytes], Request] = OrderedDict()

    def find(self, data: bytes) -> KnownHead | None:
        """The request in ``data``, if that is a known head, whole and with nothing behind it, and its key is valid."""
        parts = _parts(data)
        if parts is None:
            return None
        name = parts.before, parts.after
        request = self._requests.get(name)
        if request is None or not _is_valid(parts.key):
            return None
        self._requests.move_to_end(name)
        return KnownHead(request, accept_key(parts.key.decode()))

    def add(self, data: bytes, request: Request) -> None:
        """Know the head ``data``, which the library has parsed as ``request`` and accepted; takes its key out of it."""
        parts = _parts(data)
        if parts is None or len(data) > MAX_HEAD_BYTES or data.index(_END_OF_HEAD) + len(_END_OF_HEAD) != len(data):
            return
        if request.headers.get_all(KEY_HEADER) == [parts.key.decode()]:
            del request.headers[KEY_HEADER]
            self._requests[parts.before, parts.after] = request
            if len(self._requests) > MAX_HEADS:
                self._requests.popitem(last=False)

    def __len__(self) -> int:
        return len(self._requests)


def _parts(data: bytes) -> _Parts | None:
    """A head in three parts; ``None`` if it has no key in the usual form, or is not whole."""
    at = data.find(_BEFORE_KEY) + len(_BEFORE_KEY)
    end = at + _KEY_CHARACTERS
    if at < len(_BEFORE_KEY) or not data.startswith(_END_OF_LINE, end) or not data.endswith(_END_OF_HEAD):
        return None
    return _Parts(data[:at], data[at:end], data[end:])


def _is_valid(key: bytes) -> bool:
    """Whether a key is 16 bytes in base64 (RFC 6455 section 4.2.1)."""
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
