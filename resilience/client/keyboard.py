"""Reads standard input without a thread: key by key on a terminal if requested, else by line. Interprets nothing."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import termios
import tty
from types import TracebackType
from typing import Self

CHUNK_BYTES = 4096


class Keyboard:
    """Standard input, read while the loop runs; any other input (a file, a closed one) ends after its content.

    ``by_key`` tells whether single keys are read. Standard input is never made non-blocking: that would also change the
    output of the same terminal.
    """

    def __init__(self, *, by_key: bool = False) -> None:
        self._reader = asyncio.StreamReader()
        self._descriptor: int | None = None
        self._before: list[int | list[bytes | int]] | None = None
        self.by_key = by_key and sys.stdin is not None and sys.stdin.isatty()

    def __enter__(self) -> Self:
        if sys.stdin is None:  # closed by the parent process
            self._reader.feed_eof()
            return self
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            self._reader.feed_data(sys.stdin.buffer.read())
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor):
            asyncio.get_running_loop().add_reader(descriptor, self._read)
            self._descriptor = descriptor
        else:
            self._reader.feed_eof()
        if self.by_key:
            self._before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor, termios.TCSADRAIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)
        self._stop_reading()

    async def next(self) -> str | None:
        """The next line without its end, or the next key (Enter is empty); ``None`` at the end of input."""
        typed = await (self._reader.read(1) if self.by_key else self._reader.readline())
        return typed.decode(errors="replace").rstrip("\r\n") if typed else None

    def _read(self) -> None:
        try:
            typed = os.read(self._descriptor or 0, CHUNK_BYTES)
        except OSError:  # the terminal is closed
            typed = b""
        if typed:
            self._reader.feed_data(typed)
        else:
            self._stop_reading()
            self._reader.feed_eof()

    def _stop_reading(self) -> None:
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._descriptor = None
