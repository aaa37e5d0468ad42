"""What the runner and the injector record of a run. Each line is handed over at once: there are few, and all matter."""

from __future__ import annotations

from pathlib import Path

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventWriter
from resilience.experiment.schedule import FaultWindow
from resilience.runtime import RunClock
from resilience.units import Instant

FILE = "runner.jsonl"


class Journal:
    """The runner's own event log below a run directory; times are the run clock's."""

    def __init__(self, run_dir: Path, clock: RunClock) -> None:
        self._clock = clock
        self._writer = EventWriter(run_dir / "events" / FILE)

    def run(  # noqa: PLR0913 - the fields of an event
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
        at = self._clock.now() if t is None else t
        fields = {"outcome": outcome, "value": value, "cause": cause, "ref": ref, "detail": detail}
        self._write(LogEvent(at, Lane.REAL, Role.RUNNER, "runner", kind, **fields))  # type: ignore[arg-type]

    def fault(  # noqa: PLR0913 - the fields of an event
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
        at, who = self._clock.now() if t is None else t, window.cohort
        event = LogEvent(
            at, Lane.REAL, Role.INJECTOR, who, kind, who, value=value, cause=cause, ref=window.fault_id, detail=detail
        )
        self._write(event)

    def close(self) -> None:
        """Close the file; nothing may be recorded afterwards."""
        self._writer.close()

    def _write(self, event: LogEvent) -> None:
        self._writer.write(event)
        self._writer.flush()
