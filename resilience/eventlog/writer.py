"""Writes log events. Each file has exactly one writer, so no other process can tear a line."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from resilience.eventlog.vocabulary import LogEvent

FLUSH_BYTES = 65_536


class EventSink(Protocol):
    """Receives log events: a file, a list in a test, or a sink that drops them."""

    def write(self, event: LogEvent) -> None:
        """Write one event."""


class EventWriter:
    """Appends events to one JSON Lines file, buffered; call ``flush`` before the process ends.

    ``resume`` appends to the file of an earlier writer, after removing its unfinished last line.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            _drop_torn_line(path)
        self._file = path.open("ab" if resume else "wb")
        self._buffer = bytearray()
        self._encoder = msgspec.json.Encoder()

    def write(self, event: LogEvent) -> None:
        """Write one event."""
        self._encoder.encode_into(event, self._buffer, -1)
        self._buffer += b"\n"
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Pass the buffered lines to the operating system."""
        self._file.write(self._buffer)
        self._file.flush()
        self._buffer.clear()

    def close(self) -> None:
        """Flush and close; a later write raises an error."""
        self.flush()
        self._file.close()


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
