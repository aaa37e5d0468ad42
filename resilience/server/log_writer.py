"""Log lines to a slow reader without blocking the event loop: the standard ``QueueHandler`` and ``QueueListener``.

Knows lines and a place to write them, nothing of records and their words. A pipe without a reader must not block the
event loop, fill the memory, or keep the process from exiting (F37); the standard classes unmodified fail in all three.

Cost: see "Log lines" in ``docs/performance.md``.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from threading import Event
from typing import TextIO

from resilience.units import Seconds

CAPACITY_LINES = 10_000
"""Lines that wait at most; about 6 MB."""

CLOSE_TIMEOUT_S: Seconds = 2.0
"""How long the exit of the process waits for a reader."""

Write = Callable[[bytes], None]


class NonBlockingWriter(QueueHandler):
    """Passes lines to ``write``, in order, in a separate thread.

    ``write`` may block and may fail: a line that it did not take counts as dropped. ``drop_notice`` words the line that
    stands for so many dropped ones; it is written as soon as the reader takes lines again. One thread may ``put``.
    """

    def __init__(self, write: Write, drop_notice: Callable[[int], str], capacity: int = CAPACITY_LINES) -> None:
        self._lines: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        super().__init__(self._lines)
        self._capacity, self._overflowed = capacity, 0
        self._is_closed = False
        self._output = _LineOutput(write, drop_notice, lambda: self._overflowed)
        self._listener = QueueListener(self._lines, self._output)
        self._listener.start()

    @property
    def waiting(self) -> int:
        """Lines in the queue."""
        return self._lines.qsize()

    @property
    def dropped(self) -> int:
        """Lines that never reached the reader, so far."""
        return self._overflowed + self._output.failed

    def put(self, line: str) -> None:
        """Queue a rendered line; a full queue drops it. Returns at once."""
        self.enqueue(_QueuedLine(line))

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue the record, or count it as dropped; the standard method would print a traceback to the full pipe."""
        if self.waiting >= self._capacity:
            self._overflowed += 1
        else:
            self._lines.put(record)

    def drain(self, timeout: Seconds = CLOSE_TIMEOUT_S) -> bool:
        """Wait until all lines queued so far were tried, at most ``timeout`` seconds; returns whether they were."""
        done = Event()
        self._lines.put(_QueuedLine(done))
        return done.wait(timeout)

    def close(self) -> None:
        """Write the waiting lines and end the thread, once; ``logging`` calls this when the process exits.

        ``QueueListener.stop`` would join the thread without a timeout, and a reader may block it.
        """
        if not self._is_closed:
            self._is_closed = True
            self.drain()
            self._listener.enqueue_sentinel()
        super().close()


class _LineOutput(logging.Handler):
    """Writes lines in the listener's thread and counts those that failed."""

    def __init__(self, write: Write, drop_notice: Callable[[int], str], overflowed: Callable[[], int]) -> None:
        super().__init__()
        self._write, self._drop_notice, self._overflowed = write, drop_notice, overflowed
        self._reported = self.failed = 0

    def createLock(self) -> None:  # noqa: N802 - the library's name
        """Only one thread emits; ``logging.shutdown`` would wait for a lock that a blocked write holds."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit without the library's lock, which not every version of Python takes in the same way."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, then the notice of those dropped before it; or set the event of a ``drain``."""
        if isinstance(record.msg, Event):
            record.msg.set()
            return
        if not self._is_written(record.msg):
            self.failed += 1
        dropped = self._overflowed() + self.failed
        if dropped > self._reported and self._is_written(self._drop_notice(dropped - self._reported)):
            self._reported = dropped

    def _is_written(self, line: str) -> bool:
        try:
            self._write(f"{line}\n".encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            return False
        return True


class _QueuedLine(logging.LogRecord):
    """A record with nothing but its message: the line is complete, and all else that a record holds costs more."""

    def __init__(self, message: str | Event) -> None:
        self.msg = message


def writer_to(stream: TextIO) -> Write:
    """A function that writes bytes to a stream.

    A stream with a file descriptor is written without its buffer: the interpreter waits at exit for the lock of a
    buffer that a blocked thread holds.
    """
    try:
        stream.fileno()
    except (OSError, ValueError):
        return lambda data: _write_text(stream, data)
    return lambda data: _write_file(stream.fileno(), data)


def _write_text(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode())
    stream.flush()


def _write_file(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # another holder of the descriptor made it non-blocking
            select.select([], [descriptor], [])
