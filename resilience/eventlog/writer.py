"""Writes log events. Each file has exactly one writer, so no other process can tear a line.

A file that its writer closed ends with an end marker; a process that was killed leaves none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from resilience.eventlog.end_marker import RunningDigest, decode_marker, encode_marker
from resilience.eventlog.vocabulary import LogEvent

FLUSH_BYTES = 65_536


class EventSink(Protocol):
    """Receives log events: a file, a list in a test, or a sink that drops them."""

    def write(self, event: LogEvent) -> None:
        """Write one event."""


class EventFile(EventSink, Protocol):
    """A sink in a file."""

    def flush(self) -> None:
        """Pass on what a reader of the unfinished file can use."""

    def close(self) -> None:
        """Finish the file; nothing may be written afterwards. ``OSError`` when it cannot be finished."""


class EventWriter:
    """Appends events to one JSON Lines file, buffered; call ``flush`` before the process ends.

    ``resume`` appends to the file of an earlier writer, after removing its unfinished last line or its end marker.
    The file's own folder is made where it is missing, those above are not: a run directory that was removed stays so.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        path.parent.mkdir(exist_ok=True)
        self._digest = _resume(path) if resume and path.exists() else RunningDigest()
        self._file = path.open("ab" if resume else "wb")
        self._buffer, self._buffered = bytearray(), 0
        self._encoder = msgspec.json.Encoder()

    def write(self, event: LogEvent) -> None:
        """Write one event."""
        self._encoder.encode_into(event, self._buffer, -1)
        self._buffer += b"\n"
        self._buffered += 1
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Pass the buffered lines to the operating system."""
        self._file.write(self._buffer)
        self._file.flush()
        self._digest.add(self._buffer, self._buffered)
        self._buffer.clear()
        self._buffered = 0

    def close(self) -> None:
        """Flush, write the end marker and close, even when they cannot be written; a later write raises an error."""
        try:
            self.flush()
            self._file.write(encode_marker(self._digest.marker))
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Close without an end marker, after a failed write. Raises ``OSError`` if the rest cannot be written, too."""
        self._file.close()


def _resume(path: Path) -> RunningDigest:
    """Remove what must not precede a new line, and digest what stays."""
    _drop_torn_line(path)
    digest, marker_at = RunningDigest(), None
    with path.open("rb+") as file:
        for line in file:
            if decode_marker(line) is None:
                digest.add(line, 1)
            else:
                marker_at = file.tell() - len(line)
        if marker_at is not None:
            file.truncate(marker_at)
    return digest


def _drop_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        while end:
            start = max(end - FLUSH_BYTES, 0)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)


class EventList(list[LogEvent]):
    """An in-memory sink."""

    def write(self, event: LogEvent) -> None:
        """Keep one event."""
        self.append(event)
