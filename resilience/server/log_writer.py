"""Lines to a slow reader without waiting for it: a bounded queue, one thread that writes, a count of what was dropped.

Knows bytes and a place to put them, nothing of logs. A pipe that nobody reads must not stop the event loop, eat the
memory, or keep the process from ending.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TextIO

from resilience.units import Seconds

CAPACITY_LINES = 10_000
"""Lines that wait at most; about 2 MB."""

BATCH_LINES = 100
CLOSE_TIMEOUT_S: Seconds = 2.0
"""How long the end of the process waits for a reader."""

Write = Callable[[bytes], None]


class NonBlockingWriter:
    """Hands lines to ``write``, in order, in a thread of its own; one thread may ``put``.

    ``write`` may block and may fail: what it did not take counts as dropped. ``epitaph`` words the line that stands for
    so many dropped ones; it is written as soon as the reader takes lines again.
    """

    def __init__(self, write: Write, epitaph: Callable[[int], str], capacity: int = CAPACITY_LINES) -> None:
        self._write, self._epitaph, self._capacity = write, epitaph, capacity
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._overflowed = self._failed = self._reported = 0
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that never reached the reader, so far."""
        return self._overflowed + self._failed

    def put(self, line: str) -> None:
        """Write this line when the reader is ready, or never; returns at once."""
        if self._queue.qsize() >= self._capacity:
            self._overflowed += 1
        else:
            self._queue.put(line)

    def close(self, timeout: Seconds = CLOSE_TIMEOUT_S) -> bool:
        """Write what waits, giving a stuck reader at most ``timeout`` seconds; returns whether everything was tried."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # in the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        batch: list[str | None] = []
        while None not in batch:
            batch = self._batch()
            lines = [line for line in batch if line is not None]
            if lines and not self._written(lines):
                self._failed += len(lines)
            dropped = self.dropped
            if dropped > self._reported and self._written([self._epitaph(dropped - self._reported)]):
                self._reported = dropped

    def _batch(self) -> list[str | None]:
        batch = [self._queue.get()]
        with suppress(Empty):
            while len(batch) < BATCH_LINES:
                batch.append(self._queue.get_nowait())
        return batch

    def _written(self, lines: list[str]) -> bool:
        try:
            self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            return False
        return True


def writer_to(stream: TextIO) -> Write:
    """How to put bytes on a stream: straight into its file where there is one, past every lock of the interpreter."""
    try:
        stream.fileno()
    except (OSError, ValueError):
        return lambda data: _through(stream, data)
    return lambda data: _into_file(stream.fileno(), data)


def _through(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode())
    stream.flush()


def _into_file(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody who shares it made it so
            select.select([], [descriptor], [])
