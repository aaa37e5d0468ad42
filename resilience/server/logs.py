"""Structured log lines on standard error, made from records. No secrets, no tracebacks for lost clients.

A line shows only those fields of its record that its entry in ``LINES`` names. Records that can arrive by the thousand
within a second (refusals, shed joins) make one line a second with a count. ``docs/operations.md`` explains each line.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import structlog

from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.protocol.effects import Record
from resilience.server.log_writer import CAPACITY_LINES, Fields, NonBlockingWriter, Render, writer_to
from resilience.units import Instant, Seconds

SUMMARY_INTERVAL_S: Seconds = 1.0
"""The least time between two summary lines of one kind and cause."""

_FIRST = ("timestamp", "level", "event")

DROPPED = "log lines dropped"
STRAY = "unexpected"

_ASYNCIO_SEND_WARNING = "socket.send() raised exception."
"""asyncio's warning for each write to a connection whose loss it has not reported yet."""


class LogLine(msgspec.Struct, frozen=True):
    """A log line: its stable words, its level, and which fields of the record it shows under which names.

    A ``summed`` line shows a count and a cause instead.
    """

    words: str
    fields: Mapping[str, str] = {}
    level: str = "info"
    summed: bool = False


_WHO = {"session_id": "participant", "connection_no": "connection_no"}
_ARRIVED = _WHO | {"outcome": "outcome", "attempt": "attempt", "value": "seconds"}
_LOST = _WHO | {"cause": "cause"}
_QUESTION = {"ref": "question", "seq": "seq"}
_OPENED = {"ref": "quiz", "value": "sessions", "detail": "epoch"}

LINES: Mapping[tuple[LogEventKind, str | None], LogLine] = {
    (LogEventKind.SERVER_STARTED, None): LogLine("event opened", _OPENED),
    (LogEventKind.SERVER_STARTED, "recovered"): LogLine("event recovered", _OPENED),
    (LogEventKind.SERVER_DRAINING, None): LogLine("draining", {"value": "seconds"}),
    (LogEventKind.SERVER_LATE, None): LogLine("server late", {"value": "seconds", "ref": "quiz"}, "warning"),
    (LogEventKind.SESSION_CREATED, None): LogLine("heartbeat started", _ARRIVED),
    (LogEventKind.SESSION_RESUMED, None): LogLine("reconnected", _ARRIVED),
    (LogEventKind.SESSION_DETACHED, None): LogLine("connection lost", _LOST),
    (LogEventKind.SESSION_DETACHED, DetachCause.GRACE): LogLine("stale connection detected", _LOST),
    (LogEventKind.SESSION_EXPIRED, None): LogLine("stale session cleaned up", _WHO),
    (LogEventKind.SESSION_FENCED, None): LogLine("older connection closed", _WHO),
    (LogEventKind.SESSION_LEFT, None): LogLine("left", _WHO),
    (LogEventKind.SESSION_FORGOTTEN, None): LogLine("identities forgotten", summed=True),
    (LogEventKind.RESUME_REFUSED, None): LogLine("resume refused", summed=True),
    (LogEventKind.RESUME_REFUSED, "retired"): LogLine(
        "retired token replayed", {"session_id": "participant"}, "warning"
    ),
    (LogEventKind.JOIN_SHED, None): LogLine("joins shed", level="warning", summed=True),
    (LogEventKind.CONNECTION_REFUSED, None): LogLine("connections refused", summed=True),
    (LogEventKind.CONNECTION_REFUSED, "key"): LogLine("host key refused", level="warning", summed=True),
    (LogEventKind.MESSAGE_REFUSED, None): LogLine("messages refused", summed=True),
    (LogEventKind.MESSAGE_DELAYED, None): LogLine("messages delayed", summed=True),
    (LogEventKind.HOST_ATTACHED, None): LogLine("host attached", {"ref": "quiz"}),
    (LogEventKind.HOST_ORDERED, None): LogLine("host ordered", {"ref": "action", "outcome": "outcome"}),
    (LogEventKind.QUESTION_OPENED, None): LogLine("question opened", _QUESTION),
    (LogEventKind.QUESTION_CLOSED, None): LogLine("question closed", _QUESTION),
    (LogEventKind.COMMIT_FAILED, None): LogLine("commit failed", level="error", summed=True),
}
"""Which records make a line: by kind, and by the cause or outcome that has a line of its own."""

_KINDS = frozenset(kind for kind, _ in LINES)
_Sum = tuple[LogEventKind, str | None]


class RecordLogger:
    """Writes records as lines through ``structlog``; a :data:`~resilience.runtime.RecordSink`. Keeps only counts."""

    def __init__(self) -> None:
        self._counts: dict[_Sum, int] = {}
        self._reported_at: dict[_Sum, Instant] = {}
        self._bound: Any = None

    def __call__(self, record: Record) -> None:
        """Write the line of this record, or count it for its summary line; most kinds have neither."""
        if self._reported_at:
            self.flush_due(record.t)
        if record.kind not in _KINDS:
            return
        line = line_of(record.kind, record.cause or record.outcome)
        if line.summed:
            self._count((record.kind, record.cause), record.t)
        else:
            shown = {name: getattr(record, field) for field, name in line.fields.items()}
            self._write(line, {name: _round_float(value) for name, value in shown.items() if value is not None})

    def flush_due(self, now: Instant) -> None:
        """Write the summary lines whose interval is over; a timer calls this too, so that the last one is not late."""
        for key, reported_at in list(self._reported_at.items()):
            if now - reported_at >= SUMMARY_INTERVAL_S:
                self._write_summary(key, now)

    def flush(self) -> None:
        """Write all summary lines, whatever their interval."""
        for key in list(self._counts):
            self._write_summary(key, float("-inf"))

    def _count(self, key: _Sum, now: Instant) -> None:
        """The first record makes a line at once, those of the interval after it make one together."""
        self._counts[key] = self._counts.get(key, 0) + 1
        if key not in self._reported_at:
            self._write_summary(key, now)

    def _write_summary(self, key: _Sum, now: Instant) -> None:
        count = self._counts.pop(key, 0)
        if not count:
            self._reported_at.pop(key, None)
            return
        kind, cause = key
        self._reported_at[key] = now
        self._write(line_of(kind, cause), {"count": count} | ({"cause": cause} if cause else {}))

    def rebind(self) -> None:
        """Use the present configuration of ``structlog`` from now on."""
        self._bound = None

    def _write(self, line: LogLine, fields: Mapping[str, object]) -> None:
        if self._bound is None:  # a new logger for each line costs more than the line
            self._bound = structlog.get_logger().bind()
        getattr(self._bound, line.level)(line.words, **fields)


def line_of(kind: LogEventKind, variant: str | None) -> LogLine:
    """The line of a kind that has one; ``variant`` is the record's cause or outcome."""
    return LINES.get((kind, variant)) or LINES[kind, None]


log_line = RecordLogger()
"""The log of a process that runs one server."""


def _round_float(value: object) -> object:
    """A number to the microsecond; a whole one as an integer."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else round(value, 6)


# where lines go -------------------------------------------------------------------------------------------------------


def configure(stream: TextIO | None = None, *, capacity: int = CAPACITY_LINES) -> NonBlockingWriter:
    """Send log lines to ``stream`` (standard error): readable lines on a terminal, JSON elsewhere; never blocks.

    Warnings of other libraries become lines too. The returned writer writes its waiting lines when the process exits;
    ``drain`` waits for them earlier. ``capacity`` is the number of lines that may wait.
    """
    stream = stream or sys.stderr
    writer = NonBlockingWriter(writer_to(stream), _renderer(people=stream.isatty()), _drop_notice, capacity)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt=None), _as_one_argument],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _WriterLogger(writer),
    )
    log_line.rebind()
    root = logging.getLogger()
    if not any(isinstance(handler, ForeignLogHandler) for handler in root.handlers):
        root.addHandler(ForeignLogHandler(logging.WARNING))
    return writer


class _WriterLogger:
    """Passes the fields of lines of every level to the writer; ``structlog`` requires a method for each level."""

    def __init__(self, writer: NonBlockingWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = writer.put


class ForeignLogHandler(logging.Handler):
    """Makes one line of a library's warning; ``exception`` holds the traceback, which means a defect."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line for the record."""
        message = record.getMessage()
        if message == _ASYNCIO_SEND_WARNING:
            return
        fields = {"logger": record.name, "message": message}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        structlog.get_logger().error(STRAY, **fields)


def _as_one_argument(_: object, __: str, fields: MutableMapping[str, Any]) -> tuple[tuple[Any], dict[str, Any]]:
    """What the logger's method receives: the fields themselves, of which the writer's thread makes the line."""
    return (fields,), {}


def _drop_notice(count: int) -> Fields:
    return {"timestamp": time.time(), "level": "warning", "event": DROPPED, "count": count}


def _renderer(*, people: bool) -> Render:
    to_line = structlog.dev.ConsoleRenderer() if people else None

    def render(fields: Fields) -> str:
        when = datetime.fromtimestamp(fields["timestamp"], tz=UTC).isoformat().replace("+00:00", "Z")
        shown = {name: fields[name] for name in _FIRST} | {**fields} | {"timestamp": when}
        return _json(shown) if to_line is None else str(to_line(None, "", _printable(shown)))

    return render


def _json(fields: Mapping[str, object]) -> str:
    return msgspec.json.encode(fields, enc_hook=str).decode()


def _printable(fields: dict[str, Any]) -> dict[str, Any]:
    """Escapes control characters: text from a peer must not control the terminal."""
    return {
        name: value.encode("unicode_escape").decode()
        if isinstance(value, str) and name != "exception" and not value.isprintable()
        else value
        for name, value in fields.items()
    }
