"""Log lines to a slow reader without blocking the event loop: the standard ``QueueHandler`` and ``QueueListener``.

Knows fields, a function that makes lines of them and a place to write these, nothing of records and their words. A pipe
without a reader must not block the event loop, fill the memory, or keep the process from exiting (F37); the standard
classes unmodified fail in all three. They also wake their thread for each line, which then competes with the event loop
for the interpreter; here the thread lets lines gather, makes them and writes them together.

Cost: see "Log lines" in ``docs/performance.md``.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from threading import Event
from typing import Any, TextIO

from resilience.units import Seconds

CAPACITY_LINES = 10_000
"""Lines that wait at most; about 6 MB."""

CLOSE_TIMEOUT_S: Seconds = 2.0
"""How long the exit of the process waits for a reader."""

GATHER_S: Seconds = 0.1
"""How long lines gather before they are written."""

BATCH_LINES = 256
"""Lines that are written at once at most."""

Fields = Mapping[str, Any]
"""What a line shows, by name."""

Render = Callable[[Fields], str]
"""Makes one line, without its end, of fields; called in the thread that writes."""

Write = Callable[[Sequence[bytes]], int]
"""Writes lines in their order; returns how many of them it took as a whole, fewer than all after an error."""


class NonBlockingWriter(QueueHandler):
    """Makes lines of fields with ``render`` and passes them to ``write``, in order, in a separate thread.

    ``write`` may block and may fail: a line that it did not take counts as dropped. ``drop_notice`` gives the fields of
    the line that stands for so many dropped ones; it is written as soon as the reader takes lines again. One thread may
    ``put``.
    """

    def __init__(
        self, write: Write, render: Render, drop_notice: Callable[[int], Fields], capacity: int = CAPACITY_LINES
    ) -> None:
        self._lines: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        super().__init__(self._lines)
        self._capacity, self._overflowed = capacity, 0
        self._is_closed = False
        self._output = _LineOutput(write, render, drop_notice, lambda: self._overflowed)
        self._listener = _BatchListener(self._lines, self._output)
        self._listener.start()

    @property
    def waiting(self) -> int:
        """Lines in the queue."""
        return self._lines.qsize()

    @property
    def dropped(self) -> int:
        """Lines that never reached the reader, so far."""
        return self._overflowed + self._output.failed

    def put(self, fields: Fields) -> None:
        """Queue a line with these fields; a full queue drops it. Returns at once."""
        self.enqueue(_Queued(fields))

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue the record, or count it as dropped; the standard method would print a traceback to the full pipe."""
        if self.waiting >= self._capacity:
            self._overflowed += 1
        else:
            self._lines.put(record)

    def drain(self, timeout: Seconds = CLOSE_TIMEOUT_S) -> bool:
        """Wait until all lines queued so far were tried, at most ``timeout`` seconds; returns whether they were."""
        done = Event()
        self._lines.put(_Queued(done))
        self._listener.hurry.set()
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


class _Queued(logging.LogRecord):
    """A record with nothing but its message, which is all that is needed; what else a record holds costs more.

    The message is the fields of a line, the event of a ``drain``, or a list of both.
    """

    def __init__(self, message: Fields | Event | Sequence[Fields | Event]) -> None:
        self.msg: Any = message


class _BatchListener(QueueListener):
    """Takes what is queued in batches, in which it lets lines gather; ``hurry`` ends the wait."""

    def __init__(self, lines: SimpleQueue[Any], output: logging.Handler) -> None:
        super().__init__(lines, output)
        self.hurry = Event()

    def dequeue(self, block: bool) -> logging.LogRecord | None:  # type: ignore[override]  # noqa: FBT001
        """A batch, or the mark of the end."""
        waiting: Any = self.queue
        first = waiting.get(block)
        if first is None:
            return None
        if waiting.qsize() < BATCH_LINES and not isinstance(first.msg, Event):
            self.hurry.wait(GATHER_S)
        batch = [first.msg]
        while len(batch) < BATCH_LINES and not waiting.empty():
            record = waiting.get()
            if record is None:
                self.enqueue_sentinel()
                break
            batch.append(record.msg)
        if any(isinstance(each, Event) for each in batch):
            self.hurry.clear()
        return _Queued(batch)


class _LineOutput(logging.Handler):
    """Makes and writes lines in the listener's thread and counts those that failed."""

    def __init__(
        self, write: Write, render: Render, drop_notice: Callable[[int], Fields], overflowed: Callable[[], int]
    ) -> None:
        super().__init__()
        self._write, self._render, self._drop_notice, self._overflowed = write, render, drop_notice, overflowed
        self._reported = self.failed = 0

    def createLock(self) -> None:  # noqa: N802 - the library's name
        """Only one thread emits; ``logging.shutdown`` would wait for a lock that a blocked write holds."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit without the library's lock, which not every version of Python takes in the same way."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write the lines of a batch, then the notice of those dropped before; set the events of a ``drain`` last."""
        batch: Any = record.msg
        fields = [each for each in batch if not isinstance(each, Event)]
        lines = list(self._made(fields))
        self.failed += len(fields) - len(lines) + self._failures(lines)
        dropped = self._overflowed() + self.failed
        notice = self._drop_notice(dropped - self._reported)
        if fields and dropped > self._reported and not self._failures(list(self._made([notice]))):
            self._reported = dropped
        for each in batch:
            if isinstance(each, Event):
                each.set()

    def _made(self, batch: Sequence[Fields]) -> Iterator[bytes]:
        """The lines of those fields that a line can be made of; the thread outlives the others."""
        for fields in batch:
            with suppress(Exception):
                yield f"{self._render(fields)}\n".encode("utf-8", "backslashreplace")

    def _failures(self, lines: Sequence[bytes]) -> int:
        """Try each line once; returns how many were not taken."""
        failures = 0
        while lines:
            lines = lines[self._write(lines) :]
            failures += bool(lines)
            lines = lines[1:]
        return failures


def writer_to(stream: TextIO) -> Write:
    """A function that writes lines to a stream.

    A stream with a file descriptor is written without its buffer: the interpreter waits at exit for the lock of a
    buffer that a blocked thread holds.
    """
    try:
        stream.fileno()
    except (OSError, ValueError):
        return lambda lines: _write_text(stream, lines)
    return lambda lines: _write_file(stream.fileno, lines)


def _write_text(stream: TextIO, lines: Sequence[bytes]) -> int:
    try:
        stream.write(b"".join(lines).decode())
        stream.flush()
    except (OSError, ValueError):
        return 0
    return len(lines)


def _write_file(fileno: Callable[[], int], lines: Sequence[bytes]) -> int:
    data = b"".join(lines)
    taken = 0
    try:
        descriptor = fileno()
        while taken < len(data):
            taken += _write_some(descriptor, memoryview(data)[taken:])
    except (OSError, ValueError):
        return sum(end <= taken for end in accumulate(map(len, lines)))
    return len(lines)


def _write_some(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # another holder of the descriptor made it non-blocking
        select.select([], [descriptor], [])
        return 0
