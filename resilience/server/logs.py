"""One structured line per thing worth knowing, on standard error. No secrets, no tracebacks for lost clients.

A line takes from its record only the fields that its entry in ``LINES`` names. What can come by the thousand within a
second (refusals, joins told to come back) is one line a second with a count. ``docs/operations.md`` explains each line.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.protocol.effects import Record
from resilience.server.log_writer import CAPACITY_LINES, NonBlockingWriter, writer_to
from resilience.units import Instant, Seconds

SUMMARY_INTERVAL_S: Seconds = 1.0
"""The least time between two lines that sum up the same thing."""

_FIRST = ("timestamp", "level", "event")

DROPPED = "log lines dropped"
STRAY = "unexpected"

_ASYNCIO_SEND_WARNING = "socket.send() raised exception."
"""What asyncio warns of, once per write, when a peer is gone that was not yet noticed to be."""


class LogLine(msgspec.Struct, frozen=True):
    """A log line: its stable words, its level, which fields of the record it shows under which names.

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
    (LogEventKind.SERVER_STARTED, "recovered"): LogLine("event taken up", _OPENED),
    (LogEventKind.SERVER_DRAINING, None): LogLine("draining", {"value": "seconds"}),
    (LogEventKind.SESSION_CREATED, None): LogLine("heartbeat started", _ARRIVED),
    (LogEventKind.SESSION_RESUMED, None): LogLine("reconnected", _ARRIVED),
    (LogEventKind.SESSION_DETACHED, None): LogLine("connection lost", _LOST),
    (LogEventKind.SESSION_DETACHED, DetachCause.GRACE): LogLine("stale connection detected", _LOST),
    (LogEventKind.SESSION_EXPIRED, None): LogLine("stale session cleaned up", _WHO),
    (LogEventKind.SESSION_FENCED, None): LogLine("older connection cut off", _WHO),
    (LogEventKind.SESSION_LEFT, None): LogLine("left", _WHO),
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
"""Which records make a line, by kind and by the cause or outcome that makes it a line of its own."""

_KINDS = frozenset(kind for kind, _ in LINES)
_Sum = tuple[LogEventKind, str | None]


class RecordLogger:
    """Writes records as lines through ``structlog``; a :data:`~resilience.runtime.RecordSink`. Keeps only the sums."""

    def __init__(self) -> None:
        self._counts: dict[_Sum, int] = {}
        self._fields_of: dict[_Sum, Instant] = {}
        self._bound: Any = None

    def __call__(self, record: Record) -> None:
        """Write the record as a line, or count it for one, if it is worth it."""
        if self._fields_of:
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
        """Write the sums whose second is over; whoever has a timer calls this too, so that the last one is not late."""
        for key, told in list(self._fields_of.items()):
            if now - told >= SUMMARY_INTERVAL_S:
                self._sum_up(key, now)

    def flush(self) -> None:
        """Write all sums, whatever their second."""
        for key in list(self._counts):
            self._sum_up(key, float("-inf"))

    def _count(self, key: _Sum, now: Instant) -> None:
        """The first is told at once, those of the second after it together."""
        self._counts[key] = self._counts.get(key, 0) + 1
        if key not in self._fields_of:
            self._sum_up(key, now)

    def _sum_up(self, key: _Sum, now: Instant) -> None:
        count = self._counts.pop(key, 0)
        if not count:
            self._fields_of.pop(key, None)
            return
        kind, cause = key
        self._fields_of[key] = now
        self._write(line_of(kind, cause), {"count": count} | ({"cause": cause} if cause else {}))

    def rebind(self) -> None:
        """Write by the configuration of this moment from now on."""
        self._bound = None

    def _write(self, line: LogLine, fields: Mapping[str, object]) -> None:
        if self._bound is None:  # a fresh logger for each line would cost more than the line
            self._bound = structlog.get_logger().bind()
        getattr(self._bound, line.level)(line.words, **fields)


def line_of(kind: LogEventKind, variant: str | None) -> LogLine:
    """The line of a kind that has one; ``variant`` is the record's cause or outcome."""
    return LINES.get((kind, variant)) or LINES[kind, None]


log_line = RecordLogger()
"""The log of a process that runs one server."""


def _round_float(value: object) -> object:
    """Numbers to the microsecond, whole ones as such."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else round(value, 6)


# where lines go -------------------------------------------------------------------------------------------------------


def configure(stream: TextIO | None = None, *, capacity: int = CAPACITY_LINES) -> NonBlockingWriter:
    """Lines for people on a terminal, JSON for everything else, without ever waiting for the reader.

    What other libraries warn of becomes a line too. The writer that is returned writes what waits when the process
    ends; ``close`` it earlier to wait for that.
    """
    stream = stream or sys.stderr
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *_renderers(people=stream.isatty()),
    ]
    writer = NonBlockingWriter(writer_to(stream), lambda count: _rendered(processors, DROPPED, count), capacity)
    atexit.register(writer.close)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _WriterLogger(writer),
    )
    log_line.rebind()
    root = logging.getLogger()
    if not any(isinstance(handler, ForeignLogHandler) for handler in root.handlers):
        root.addHandler(ForeignLogHandler(logging.WARNING))
    return writer


class _WriterLogger:
    """What ``structlog`` hands a rendered line to, whatever its level."""

    def __init__(self, writer: NonBlockingWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = writer.put


class ForeignLogHandler(logging.Handler):
    """Makes one line of what a library logs. The traceback is its field: it means a defect, not a lost client."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line for the record."""
        message = record.getMessage()
        if message == _ASYNCIO_SEND_WARNING:
            return
        fields = {"logger": record.name, "message": message}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        structlog.get_logger().error(STRAY, **fields)


def _renderers(*, people: bool) -> list[structlog.typing.Processor]:
    if people:
        return [_printable, structlog.dev.ConsoleRenderer()]
    return [structlog.processors.JSONRenderer(serializer=_json)]


def _json(fields: Any, **_: object) -> str:  # noqa: ANN401 - structlog's own signature
    return msgspec.json.encode({name: fields[name] for name in _FIRST} | fields).decode()


def _printable(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Words that came from a peer cannot steer a terminal."""
    for name, value in fields.items():
        if isinstance(value, str) and name != "exception" and not value.isprintable():
            fields[name] = value.encode("unicode_escape").decode()
    return fields


def _rendered(processors: list[structlog.typing.Processor], words: str, count: int) -> str:
    line: Any = {"event": words, "count": count}
    for process in processors:
        line = process(None, "warning", line)
    return str(line)
