"""Store, log and clock of a server that can be killed at a boundary: what survives a killed process, and the hooks.

Each server process gets its own; all three report the boundaries that they cross to a hook, which may kill the process
there and then, in the middle of a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from resilience.errors import StoreError
from resilience.eventlog.vocabulary import LogEvent
from resilience.eventlog.writer import EventSink
from resilience.experiment.primitives import CrashPoint
from resilience.policy.run_owners import OwnedRun
from resilience.protocol.effects import Row
from resilience.quiz.plan import QuizPlan
from resilience.runtime import RunClock
from resilience.server.store import ANY_RUN, RunLease, Store, StoredEvent, StoredRunHeader
from resilience.units import Instant, Seconds

BoundaryHook = Callable[[CrashPoint], None]
"""Called at every boundary that is crossed."""


class ProcessDeadError(StoreError):
    """The process that made this call is dead: nothing happens, and no client receives anything of it."""


class CrashingStore:
    """One server process's way to the database that outlives it; a :class:`~resilience.server.store.Store`."""

    def __init__(self, store: Store, reached: BoundaryHook) -> None:
        self._store, self._reached = store, reached
        self._dead = self._lands = False

    def die(self, *, lands: bool) -> None:
        """Refuse every further call, but for a commit that is under way if it ``lands``."""
        self._dead, self._lands = True, lands

    @property
    def owner(self) -> str:
        """The server's name at the database."""
        return self._store.owner

    def create_event(  # noqa: PLR0913, PLR0917 - as the store's own
        self,
        lease: RunLease,
        event: str,
        plan: QuizPlan,
        origin: float,
        at: Instant = 0.0,
        newest: str | None = ANY_RUN,
    ) -> None:
        """Begin a run."""
        self._require_life()
        self._store.create_event(lease, event, plan, origin, at, newest)

    def newest_run(self, event: str, origin: float) -> StoredRunHeader | None:
        """Read the newest run without its participants."""
        self._reached(CrashPoint.READING)
        self._require_life()
        return self._store.newest_run(event, origin)

    def latest(self, event: str, origin: float) -> StoredEvent | None:
        """Read the newest run."""
        self._reached(CrashPoint.READING)
        self._require_life()
        return self._store.latest(event, origin)

    def unfinished(self) -> list[OwnedRun]:
        """List the runs that have not finished."""
        self._require_life()
        return self._store.unfinished()

    def renew(self, leases: Sequence[RunLease]) -> list[RunLease]:
        """Give a sign of life."""
        self._require_life()
        return self._store.renew(leases)

    def release(self, leases: Sequence[RunLease]) -> None:
        """Give runs up."""
        self._require_life()
        self._store.release(leases)

    def acquire_lease(self, key: str) -> RunLease:
        """Become a run's server; a boundary before and after it."""
        self._reached(CrashPoint.RECOVERING)
        self._require_life()
        lease = self._store.acquire_lease(key)
        self._reached(CrashPoint.RECOVERING)
        return lease

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Write in one transaction; a boundary before and after it."""
        if not self._dead:
            self._reached(CrashPoint.NEVER_WRITTEN)
            self._require_life()
        elif not self._lands:
            raise ProcessDeadError("the process that ordered this commit is dead")
        self._lands = False
        self._store.commit(rows, origin)
        if not self._dead:
            self._reached(CrashPoint.WRITTEN)

    def scores(self, key: str) -> dict[str, int]:
        """Scores as stored."""
        self._require_life()
        return self._store.scores(key)

    def close(self) -> None:
        """Do nothing: the database outlives its servers."""

    def _require_life(self) -> None:
        if self._dead:
            raise ProcessDeadError("the process that made this call is dead")


class CrashingLog:
    """One server process's event log: what it flushed is in ``sink``, the rest is lost with it.

    ``shift`` is added to each time: the run clock's reading where the process's own clock shows 0.
    """

    def __init__(self, sink: EventSink, shift: Seconds, reached: BoundaryHook) -> None:
        self._sink, self._shift, self._reached = sink, shift, reached
        self._buffer: list[LogEvent] = []
        self._dead = False

    def write(self, event: LogEvent) -> None:
        """Take one event."""
        if not self._dead:
            self._buffer.append(msgspec.structs.replace(event, t=event.t + self._shift))

    def flush(self) -> None:
        """Hand everything to the operating system; a boundary before and after it."""
        self._reached(CrashPoint.SETTLED)
        if not self._dead:
            self.save()
            self._reached(CrashPoint.LOGGED)

    def save(self) -> None:
        """Flush without a boundary."""
        for event in self._buffer:
            self._sink.write(event)
        self._buffer.clear()

    def die(self, kept: float) -> None:
        """Lose what was not flushed, but for its first ``kept`` share."""
        if not self._dead:
            del self._buffer[round(kept * len(self._buffer)) :]
            self.save()
            self._dead = True


class InstrumentedClock(RunClock):
    """One server process's clock. A server reads its clock before it acts on anything, so every event is seen here."""

    def __init__(self, epoch: Instant, source: Callable[[], float], reached: BoundaryHook) -> None:
        self._reached: BoundaryHook = lambda _: None
        super().__init__(epoch, source)
        self._reached = reached

    def now(self) -> Instant:
        """This moment; a boundary before anything is done about it."""
        self._reached(CrashPoint.EVENT)
        return super().now()
