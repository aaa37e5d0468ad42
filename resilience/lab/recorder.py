"""Writes what the run itself and the fault injector do into the event log: the same records in every lane."""

from __future__ import annotations

from collections.abc import Callable

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventSink
from resilience.experiment.schedule import FaultWindow
from resilience.units import Instant, Seconds

FaultListener = Callable[[LogEventKind, FaultWindow, str | None], None]


def ignore_fault(_: LogEventKind, __: FaultWindow, ___: str | None) -> None:
    """Listen to nothing."""


RUNNER = "runner"
"""The actor of the run's own records."""


class RunRecorder:
    """Adds lane, role and actor to each record. ``now`` is the run's clock, ``flush`` follows every record.

    ``on_fault`` receives each record of a fault window: kind, window, cause.
    """

    def __init__(
        self,
        sink: EventSink,
        lane: Lane,
        now: Callable[[], Instant],
        flush: Callable[[], None] = lambda: None,
        on_fault: FaultListener = ignore_fault,
    ) -> None:
        self._sink, self._lane, self._now, self._flush = sink, lane, now, flush
        self._on_fault = on_fault

    def record_run(  # noqa: PLR0913 - the fields of a record
        self,
        kind: LogEventKind,
        *,
        t: Instant | None = None,
        outcome: str | None = None,
        value: float | None = None,
        cause: str | None = None,
        ref: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Record something of the run itself, now or at ``t``."""
        at = self._now() if t is None else t
        self._write(
            LogEvent(
                at,
                self._lane,
                Role.RUNNER,
                RUNNER,
                kind,
                outcome=outcome,
                value=value,
                cause=cause,
                ref=ref,
                detail=detail,
            )
        )

    def record_lag(self, process: str, lag: Seconds) -> None:
        """Record how late a process of the laboratory ran within the last second."""
        self._write(LogEvent(self._now(), self._lane, Role.RUNNER, process, LogEventKind.LAB_LAG, value=lag))

    def record_link(self, link: str, *, since: Instant, lasted: Seconds, cause: str) -> None:
        """Record that the laboratory's own proxy of a link failed at ``since``, and was replaced after ``lasted``."""
        kind = LogEventKind.LINK_REPLACED
        self._write(LogEvent(since, self._lane, Role.RUNNER, link, kind, value=lasted, cause=cause))

    def record_fault(  # noqa: PLR0913 - the fields of a record
        self,
        kind: LogEventKind,
        window: FaultWindow,
        *,
        t: Instant | None = None,
        value: float | None = None,
        cause: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Record something of a fault window, now or at ``t``."""
        at, place = self._now() if t is None else t, window.place
        self._write(
            LogEvent(
                at,
                self._lane,
                Role.INJECTOR,
                place,
                kind,
                place,
                value=value,
                cause=cause,
                ref=window.fault_id,
                detail=detail,
            )
        )
        self._on_fault(kind, window, cause)

    def _write(self, event: LogEvent) -> None:
        self._sink.write(event)
        self._flush()
