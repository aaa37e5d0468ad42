"""WebSocket by hand, client's side: requests and frames as bytes. Pure; knows no socket and nothing of the quiz.

Frames are masked with a key of zeros, so that they can be made once and sent by thousands; the server's work is the
same whatever the key.
"""

from __future__ import annotations

from base64 import b64encode
from ipaddress import IPv4Address

TEXT, CLOSE = 0x1, 0x8

_MASKED = 0x80
_SHORT, _MEDIUM = 125, 0xFFFF
_MEDIUM_MARK, _LONG_MARK = 126, 127
_HEADER = 2


def upgrade(host: str, path: str, number: int, *, proxied: bool = False) -> bytes:
    """The request that turns a connection into a WebSocket, of the client with this number.

    Heads of two clients differ in their keys; those that a proxy has passed on also in the address that it adds.
    """
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {b64encode(number.to_bytes(16, 'big')).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if proxied:
        lines.append(f"X-Forwarded-For: {IPv4Address(0x0A000000 + number)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unfragmented frame from a client."""
    size = len(payload)
    if size <= _SHORT:
        head = bytes((0x80 | opcode, _MASKED | size))
    elif size <= _MEDIUM:
        head = bytes((0x80 | opcode, _MASKED | _MEDIUM_MARK)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, _MASKED | _LONG_MARK)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def take(data: bytes, start: int) -> tuple[int, bytes, int] | None:
    """The server's frame at ``start``: opcode, payload, where the next one begins; ``None`` while it is not whole."""
    if len(data) < start + _HEADER:
        return None
    size, body = data[start + 1] & 0x7F, start + _HEADER
    if size > _SHORT:
        width = 2 if size == _MEDIUM_MARK else 8
        size, body = int.from_bytes(data[body : body + width], "big"), body + width
        if len(data) < body:
            return None
    end = body + size
    return (data[start] & 0x0F, data[body:end], end) if len(data) >= end else None
