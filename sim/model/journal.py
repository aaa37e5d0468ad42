"""Where every event of this lane passes on its way to the sink. Adds what only a driver knows; judges nothing."""

from __future__ import annotations

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventSink
from resilience.protocol.effects import Record, event_of
from resilience.units import Instant

SERVER, RUNNER = "server", "runner"
"""The actors that are there once."""


class Journal:
    """The model lane's log on top of a sink."""

    def __init__(self, sink: EventSink) -> None:
        self._write = sink.write

    def client(self, record: Record, actor: str, cohort: str) -> None:
        """A client machine's record."""
        self._write(event_of(record, Lane.MODEL, Role.CLIENT, actor, cohort))

    def server(self, record: Record) -> None:
        """A record of the room."""
        self._write(event_of(record, Lane.MODEL, Role.SERVER, SERVER))

    def fault(  # noqa: PLR0913 - the fields of the log
        self,
        kind: LogEventKind,
        t: Instant,
        cohort: str,
        ref: str,
        *,
        value: float | None = None,
        cause: str | None = None,
    ) -> None:
        """Something about a fault; ``ref`` is its id. Calls to a modelled proxy take no time."""
        detail = f"{t:.6f}..{t:.6f}" if kind is LogEventKind.FAULT_STARTED else None
        self._write(
            LogEvent(
                t, Lane.MODEL, Role.INJECTOR, cohort, kind, cohort, value=value, cause=cause, ref=ref, detail=detail
            )
        )

    def run(
        self,
        kind: LogEventKind,
        t: Instant,
        *,
        value: float | None = None,
        outcome: str | None = None,
        cause: str | None = None,
    ) -> None:
        """Something about the run itself."""
        self._write(LogEvent(t, Lane.MODEL, Role.RUNNER, RUNNER, kind, value=value, outcome=outcome, cause=cause))
