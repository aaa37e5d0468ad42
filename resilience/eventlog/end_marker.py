"""The last line of a complete JSON Lines file of a run: how many lines came before it, and their digest. Pure.

A file without the line was not finished by its writer, or has lost its end since; a file with lines after it was
written twice or put together from several.
"""

from __future__ import annotations

import hashlib

import msgspec


class EndMarker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="end", tag_field="marker"):
    """``lines`` before this one, and the SHA-256 of their bytes, newlines included, in hexadecimal."""

    lines: int
    sha256: str


_DECODER = msgspec.json.Decoder(EndMarker)


class RunningDigest:
    """Counts and digests the lines of a file as they are written or read."""

    def __init__(self) -> None:
        self._digest, self.lines, self.bytes = hashlib.sha256(), 0, 0

    def add(self, lines: bytes | bytearray | memoryview, count: int) -> None:
        """Take the bytes of ``count`` whole lines."""
        self._digest.update(lines)
        self.lines += count
        self.bytes += len(lines)

    def followed_by(self, rest: bytes) -> str:
        """The digest of these lines and the bytes ``rest``, in hexadecimal."""
        whole = self._digest.copy()
        whole.update(rest)
        return whole.hexdigest()

    @property
    def marker(self) -> EndMarker:
        """What the end marker says after these lines."""
        return EndMarker(self.lines, self._digest.hexdigest())


def encode_marker(marker: EndMarker) -> bytes:
    """The marker's line, newline included."""
    return msgspec.json.encode(marker) + b"\n"


def decode_marker(line: bytes) -> EndMarker | None:
    """The marker that a line holds; None for every other line."""
    if not line.startswith(b'{"marker"'):
        return None
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
