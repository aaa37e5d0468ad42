"""What outlives a killed server and what dies with it: the database, its log's file, and the hooks at its boundaries.

Each server gets its own disk, log and clock; all three report the boundaries they cross to a trap, which may kill it
there and then, in the middle of whatever it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from resilience.errors import StoreError
from resilience.eventlog.vocabulary import LogEvent
from resilience.eventlog.writer import EventSink
from resilience.protocol.effects import Row
from resilience.quiz.plan import QuizPlan
from resilience.runtime import RunClock
from resilience.server.store import RunLease, SqlStore, StoredEvent, StoredRunHeader
from resilience.units import Instant, Seconds

from .crash_plan import Point

Reached = Callable[[Point], None]
"""Told of every boundary that is crossed."""


class GoneError(StoreError):
    """The process that asked is dead: nothing happens, and nobody hears of it."""


class Disk:
    """One server's way to the database that outlives it; a :class:`~resilience.server.store.Store`."""

    def __init__(self, store: SqlStore, reached: Reached) -> None:
        self._store, self._reached = store, reached
        self._dead = self._lands = False

    def die(self, *, lands: bool) -> None:
        """Nothing is done for this server any more, but for a commit that is under way if it ``lands``."""
        self._dead, self._lands = True, lands

    def create_event(self, lease: RunLease, event: str, plan: QuizPlan, origin: float, at: Instant = 0.0) -> None:
        """Begin a run."""
        self._require_life()
        self._store.create_event(lease, event, plan, origin, at)

    def newest_run(self, event: str, origin: float) -> StoredRunHeader | None:
        """Read the newest run without its participants."""
        self._reached(Point.READING)
        self._require_life()
        return self._store.newest_run(event, origin)

    def latest(self, event: str, origin: float) -> StoredEvent | None:
        """Read the newest run."""
        self._reached(Point.READING)
        self._require_life()
        return self._store.latest(event, origin)

    def unfinished(self) -> list[str]:
        """List what is not over."""
        self._require_life()
        return self._store.unfinished()

    def acquire_lease(self, key: str) -> RunLease:
        """Become a run's server; a death on either side of it."""
        self._reached(Point.TAKING_UP)
        self._require_life()
        lease = self._store.acquire_lease(key)
        self._reached(Point.TAKING_UP)
        return lease

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Write in one transaction."""
        if not self._dead:
            self._reached(Point.NEVER_WRITTEN)
            self._require_life()
        elif not self._lands:
            raise GoneError("the process that ordered this commit is dead")
        self._lands = False
        self._store.commit(rows, origin)
        if not self._dead:
            self._reached(Point.WRITTEN)

    def scores(self, key: str) -> dict[str, int]:
        """Scores as stored."""
        self._require_life()
        return self._store.scores(key)

    def close(self) -> None:
        """The database outlives its servers."""

    def _require_life(self) -> None:
        if self._dead:
            raise GoneError("the process that asked is dead")


class LogFile:
    """One server's log: what it flushed is in ``sink``, the rest dies with it. ``shift``: its clock to the run's."""

    def __init__(self, sink: EventSink, shift: Seconds, reached: Reached) -> None:
        self._sink, self._shift, self._reached = sink, shift, reached
        self._buffer: list[LogEvent] = []
        self._dead = False

    def write(self, event: LogEvent) -> None:
        """Take one event."""
        if not self._dead:
            self._buffer.append(msgspec.structs.replace(event, t=event.t + self._shift))

    def flush(self) -> None:
        """Hand everything to the operating system; a death on either side of it."""
        self._reached(Point.SETTLED)
        if not self._dead:
            self.save()
            self._reached(Point.LOGGED)

    def save(self) -> None:
        """Flush; nothing can happen meanwhile."""
        for event in self._buffer:
            self._sink.write(event)
        self._buffer.clear()

    def die(self, kept: float) -> None:
        """Lose the end of what was not flushed."""
        if not self._dead:
            del self._buffer[round(kept * len(self._buffer)) :]
            self.save()
            self._dead = True


class Watch(RunClock):
    """One server's clock. Whatever it acts on it looks at the clock first, so every event is seen here."""

    def __init__(self, epoch: Instant, source: Callable[[], float], reached: Reached) -> None:
        self._reached: Reached = lambda _: None
        super().__init__(epoch, source)
        self._reached = reached

    def now(self) -> Instant:
        """This moment; a death before anything is done about it."""
        self._reached(Point.EVENT)
        return super().now()
