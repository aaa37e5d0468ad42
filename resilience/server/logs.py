"""One structured line per thing worth knowing, on standard error. No secrets, no tracebacks for lost clients."""

from __future__ import annotations

import logging
import sys

import structlog

from resilience.events import EventKind
from resilience.protocol.effects import Record

_WORDS = {
    EventKind.SESSION_CREATED: "joined, heartbeat started",
    EventKind.SESSION_RESUMED: "reconnected, heartbeat started",
    EventKind.SESSION_DETACHED: "connection lost",
    EventKind.SESSION_EXPIRED: "stale session cleaned up",
    EventKind.SESSION_FENCED: "older connection cut off",
    EventKind.SESSION_LEFT: "left",
    EventKind.RESUME_REFUSED: "resume refused",
    EventKind.COMMIT_FAILED: "commit failed, those who wait are told to come again",
    EventKind.QUESTION_OPENED: "question opened",
    EventKind.QUESTION_CLOSED: "question closed",
}
"""What is logged, in words; everything else is for the event log and the metrics."""

_STALE = "stale connection detected"


def configure() -> None:
    """Structured lines for people on a terminal, JSON for everything else."""
    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def log_line(record: Record) -> None:
    """Write a machine's record as one line, if it is worth one."""
    words = _WORDS.get(record.kind)
    if words is None:
        return
    if record.kind is EventKind.SESSION_DETACHED and record.cause == "grace":
        words = _STALE
    fields = {"participant": record.session_id, "connection_no": record.connection_no, "cause": record.cause}
    about = {"seq": record.seq, "question": record.ref}
    structlog.get_logger().info(words, **{k: v for k, v in {**fields, **about}.items() if v is not None})
