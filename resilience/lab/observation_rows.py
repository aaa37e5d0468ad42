"""Where the observations of clients are kept until their run ends: in memory, or as lines in a file without a name.

Each client's observations are read back in their order, client by client, however they were mixed when they were made.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from .observation import Observation

PIECE_BYTES = 2048
"""So many bytes of one client's lines go to the file together: ten lines."""

WRITE_BYTES = 1 << 20
"""So many bytes of all clients are written at once."""


class ObservationRows(Protocol):
    """The observations of one client, in order."""

    def append(self, row: Observation) -> None:
        """Keep one more."""

    def __iter__(self) -> Iterator[Observation]:
        """All of them, as objects."""

    def lines(self) -> Iterator[bytes]:
        """All of them as JSON Lines, in pieces of whole lines."""


class ListedRows(list[Observation]):
    """Keeps observations as objects: for runs that are judged without files."""

    def lines(self) -> Iterator[bytes]:
        """All of them as JSON Lines, one a piece."""
        return map(encode_line, self)


class ObservationSpool:
    """A file below ``directory`` that has no name, and ends with this object or with its process.

    ``failure`` is the error of a write that did not succeed: nothing is written after it.
    """

    def __init__(self, directory: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - open until it is closed
        self._waiting, self._size = bytearray(), 0
        self.failure: OSError | None = None

    @property
    def descriptor(self) -> int:
        """Of the open file."""
        return self._file.fileno()

    def write(self, piece: bytearray) -> int:
        """Keep these bytes; returns where they begin."""
        at = self._size
        if self.failure is None:
            self._waiting += piece
            self._size += len(piece)
            if len(self._waiting) >= WRITE_BYTES:
                self._flush()
        return at

    def read(self, at: int, size: int) -> bytes:
        """The bytes that begin there. Raises the ``OSError`` of a write that did not succeed."""
        self._flush()
        if self.failure is not None:
            raise self.failure
        return os.pread(self.descriptor, size, at)

    def close(self) -> None:
        """Delete what was kept."""
        self._file.close()

    def _flush(self) -> None:
        try:
            with memoryview(self._waiting) as waiting:
                written = 0
                while written < len(waiting):
                    written += self._file.write(waiting[written:])
        except OSError as error:
            self.failure = error
        self._waiting.clear()


class SpooledRows:
    """Keeps the observations of one client in a spool, but for the last few lines."""

    __slots__ = ("_lines", "_pieces", "_spool")

    def __init__(self, spool: ObservationSpool) -> None:
        self._spool = spool
        self._lines = bytearray()
        self._pieces = array("Q")  # where each piece begins, and its size

    def append(self, row: Observation) -> None:
        """Keep one more. A full disk is not this caller's error: reading back raises it."""
        lines = self._lines
        _encoder.encode_into(row, lines, -1)
        lines += b"\n"
        if len(lines) >= PIECE_BYTES:
            self._pieces.extend((self._spool.write(lines), len(lines)))
            self._lines = bytearray()

    def __iter__(self) -> Iterator[Observation]:
        """All of them, as objects."""
        for piece in self.lines():
            yield from _decoder.decode_lines(piece)

    def lines(self) -> Iterator[bytes]:
        """All of them as JSON Lines, in pieces of whole lines. Raises the ``OSError`` of a piece that was not kept."""
        places = iter(self._pieces)
        for at, size in zip(places, places, strict=True):
            yield self._spool.read(at, size)
        if self._lines:
            yield bytes(self._lines)


def encode_line(row: Observation) -> bytes:
    """One observation as a line."""
    return _encoder.encode(row) + b"\n"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Observation)
