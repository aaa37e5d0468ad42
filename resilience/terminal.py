"""What every command does about its output: streams that may be lost, consoles, the log file of an unexpected error.

A command's exit code is its verdict, so no write to a closed pipe, a full disk or an ASCII terminal may change it.
Knows no command.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from resilience.errors import describe_error

if TYPE_CHECKING:
    from rich.console import Console

UNWRAPPED_COLUMNS = 10_000
"""Width of a console that is no terminal: a file or a pipe takes lines of any length, so none is wrapped or cut."""

_STREAMS = ("stdout", "stderr")

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Whole sequences of a terminal, and single control characters."""


class _LosableFile(io.FileIO):
    """A descriptor whose first failed write is its last one; ``problem`` is that failure."""

    problem: OSError | None = None

    def write(self, data: object, /) -> int:
        """Write, or discard once a write has failed."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        if self.problem is None:
            try:
                return super().write(view) or 0
            except OSError as error:
                self.problem = error
        return len(view)


def tolerate_lost_output() -> None:
    """Replace standard output and error by streams that never raise.

    What an encoding cannot express is replaced, what cannot be written is discarded; a closed stream, standard input
    included, is the null device.
    """
    _occupy_standard_descriptors()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as the process
    for name in _STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - same
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _tolerant(stream))


def _occupy_standard_descriptors() -> None:
    """Open the null device where descriptors 0 to 2 are closed.

    Else the next database or socket gets one of them, libraries write their messages into it, and uvloop's libuv
    aborts the process when it closes it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            os.set_inheritable(opened, True)  # noqa: FBT003 - the function's own signature


def _tolerant(stream: io.TextIOWrapper) -> TextIO:
    stream.flush()
    raw = _LosableFile(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors="replace", line_buffering=stream.line_buffering
    )


def lost_output() -> str | None:
    """Why standard output is incomplete, in one line; ``None`` when it is whole or its reader went away on purpose."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    problem = raw.problem if isinstance(raw, _LosableFile) else None
    if problem is None or problem.errno == errno.EPIPE:
        return None
    return f"standard output could not be written: {problem.strerror}"


def make_console(*, quiet: bool = False) -> Console:
    """A console on standard output, or one that prints nothing.

    Outside a terminal it prints plain text, whatever the environment says of colours: no control character, and lines
    as long as they need to be. A terminal that cannot move its cursor (``TERM=dumb``) counts as none.
    """
    from rich.console import Console  # noqa: PLC0415 - --help does not need it

    if _is_terminal(sys.stdout):
        return Console(quiet=quiet)
    plain = _PlainConsoleFile(sys.stdout)
    return Console(file=plain, force_terminal=False, color_system=None, width=UNWRAPPED_COLUMNS, quiet=quiet)


def print_aside(console: Console, line: str) -> None:
    """Print a line about what is under way, as it is, less prominent than results."""
    console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


class _PlainConsoleFile(io.TextIOWrapper):
    """Text without control characters; line ends and tabs stay. Writes through another stream, which stays open."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(io.BytesIO(), encoding=stream.encoding or "utf-8")
        self._stream = stream

    def write(self, text: str, /) -> int:
        """Pass it on; returns the length of what was given."""
        self._stream.write(_CONTROL.sub("", text))
        return len(text)

    def flush(self) -> None:
        """Flush what is below, which may be closed when this object goes."""
        if not self._stream.closed:
            self._stream.flush()


def describe_unexpected(error: BaseException, log: Path | None = None) -> str:
    """An unforeseen error in one line that names the one file with its traceback.

    That is ``log``, or a new file in the temporary directory where ``log`` is not given or cannot be written.
    """
    return f"unexpected {describe_error(error)}; {_write_traceback(error, log)}"


def _write_traceback(error: BaseException, log: Path | None) -> str:
    text = "".join(traceback.format_exception(error))
    if log is not None:
        with contextlib.suppress(OSError):
            log.write_text(text, encoding="utf-8")
            return f"its traceback is in {log}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="resilience-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError as failure:
        return f"its traceback could not be stored: {failure.strerror}"
    return f"its traceback is in {file.name}"
