"""Writes events. One writer owns one file; nobody shares a file, so no line is ever torn by another process."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from resilience.eventlog.vocabulary import LogEvent

FLUSH_BYTES = 65_536


class EventSink(Protocol):
    """Anything that takes events: a file, a list in a test, nothing at all."""

    def write(self, event: LogEvent) -> None:
        """Take one event."""


class EventWriter:
    """Appends events to one JSON Lines file, buffered; ``flush`` before the process hands over or ends.

    ``resume`` goes on after what an earlier writer of the same file left, without the line it did not finish.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            _drop_torn_line(path)
        self._file = path.open("ab" if resume else "wb")
        self._buffer = bytearray()
        self._encoder = msgspec.json.Encoder()

    def write(self, event: LogEvent) -> None:
        """Take one event."""
        self._encoder.encode_into(event, self._buffer, -1)
        self._buffer += b"\n"
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.write(self._buffer)
        self._file.flush()
        self._buffer.clear()

    def close(self) -> None:
        """Flush and close; further writes are errors."""
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
        """Take one event."""
        self.append(event)
