"""Bytes of the WebSocket protocol, right or wrong, as a hostile peer puts them together. Knows no sockets."""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x01\x02\x03\x04"
_SHORT, _MEDIUM = 126, 0x10000


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """One frame of a client; RFC 6455 section 5.2."""
    start = head(len(payload), opcode, fin=fin, masked=masked, reserved=reserved)
    return start + mask(payload) if masked else start + payload


def head(size: int, opcode: int = TEXT, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """What comes before the payload of a frame, the masking key included."""
    first = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if size < _SHORT:
        first += bytes([bit | size])
    elif size < _MEDIUM:
        first += struct.pack("!BH", bit | _SHORT, size)
    else:
        first += struct.pack("!BQ", bit | 127, size)
    return first + MASK if masked else first


def announced(size: int, opcode: int = TEXT) -> bytes:
    """The head of a frame that says it is so long, without what follows."""
    return struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size) + MASK


def handshake(host: str, *headers: str, path: str = "/ws") -> bytes:
    """The request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def mask(payload: bytes) -> bytes:
    """A payload under this key; masked again it is as it was."""
    size = len(payload)
    key = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
