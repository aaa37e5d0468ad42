"""Writes events. One writer owns one file; nobody shares a file, so no line is ever torn by another process."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from resilience.events import Event

FLUSH_BYTES = 65_536


class EventSink(Protocol):
    """Anything that takes events: a file, a list in a test, nothing at all."""

    def write(self, event: Event) -> None:
        """Take one event."""


class EventWriter:
    """Appends events to one JSON Lines file, buffered; ``flush`` before the process hands over or ends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._buffer = bytearray()
        self._encoder = msgspec.json.Encoder()

    def write(self, event: Event) -> None:
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


class EventList(list[Event]):
    """An in-memory sink."""

    def write(self, event: Event) -> None:
        """Take one event."""
        self.append(event)
