"""The server's event log in a file, which may end before the server does: a full disk stops the file, not the quiz.

A log that ended so has no end marker, so nothing is concluded from it as if it were whole.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from resilience.errors import UsageError
from resilience.eventlog.vocabulary import LogEvent
from resilience.eventlog.writer import EventWriter


class ServerEventLog:
    """Appends to the file at ``path`` until a write fails; ``lost`` is called once, with the reason in one line.

    The folders that lead to it are made.

    Raises :class:`~resilience.errors.UsageError` for a file that cannot be opened.
    """

    def __init__(self, path: Path, lost: Callable[[str], None]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer: EventWriter | None = EventWriter(path, resume=True)
        except OSError as error:
            raise UsageError(f"--event-log {path}: cannot be written: {error.strerror}; name a file") from error
        self._path, self._lost = path, lost

    def write(self, event: LogEvent) -> None:
        """Write one event."""
        if self._writer is not None:
            self._attempt(self._writer, lambda writer: writer.write(event))

    def flush(self) -> None:
        """Pass what is written to the operating system."""
        if self._writer is not None:
            self._attempt(self._writer, EventWriter.flush)

    def close(self) -> None:
        """Write the end marker and close."""
        if self._writer is not None:
            self._attempt(self._writer, EventWriter.close)

    def _attempt(self, writer: EventWriter, step: Callable[[EventWriter], None]) -> None:
        try:
            step(writer)
        except OSError as error:
            self._writer = None
            with suppress(OSError):
                writer.abandon()
            self._lost(f"{self._path}: {error.strerror}")
