"""The driver's hands: a run's clock, a lazy timer, and who gets told of records. No decisions live here.

Drivers convert between the event loop's time and the run's; machines only ever see seconds since the run's start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from resilience.eventlog.vocabulary import Lane, Role
from resilience.eventlog.writer import EventSink
from resilience.protocol.effects import Record, event_of
from resilience.units import Instant, Seconds

ROUNDING_S: Seconds = 1e-6
TICK_S: Seconds = 0.001

RecordSink = Callable[[Record], None]
"""Takes a machine's record."""


class RunClock:
    """Seconds since the run's start. ``epoch`` is that start on ``source``, a monotonic clock (the system's)."""

    def __init__(self, epoch: float | None = None, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self.epoch = source() if epoch is None else epoch

    def now(self) -> Instant:
        """This moment; negative before the run's start."""
        return self._source() - self.epoch


class DeadlineTimer:
    """Calls ``fire`` at the deadline aimed at last, never before it.

    Lazy: a deadline that moved later costs nothing until the old one comes up. Some loops keep time in whole
    milliseconds and fire early; acting then would put records before what caused them.
    """

    def __init__(self, clock: RunClock, fire: Callable[[], None]) -> None:
        self._clock, self._fire = clock, fire
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._armed: Instant = float("inf")

    def set_deadline(self, deadline: Instant | None) -> None:
        """Be sure to fire by ``deadline``; ``None`` asks for nothing."""
        if deadline is None or deadline >= self._armed:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._armed = deadline
        self._handle = self._loop.call_later(max(deadline - self._clock.now(), 0.0), self._wake)

    def stop(self) -> None:
        """Never fire again unless aimed again."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._armed = None, float("inf")

    def fired(self) -> Instant:
        """To be asked once by ``fire``: the moment that counts as now, not before the deadline by a rounding error."""
        now = max(self._clock.now(), self._armed)
        self._armed = float("inf")
        return now

    def _wake(self) -> None:
        early = self._armed - self._clock.now()
        if early > ROUNDING_S:
            self._handle = self._loop.call_later(max(early, TICK_S), self._wake)
        else:
            self._handle = None
            self._fire()


def log_to(sink: EventSink, lane: Lane, role: Role, actor: str, cohort: str | None = None) -> RecordSink:
    """A log that writes a machine's records to a sink under this name."""

    def write(record: Record) -> None:
        sink.write(event_of(record, lane, role, actor, cohort))

    return write


def tee(*logs: RecordSink) -> RecordSink:
    """One log that tells them all, in this order."""

    def write(record: Record) -> None:
        for log in logs:
            log(record)

    return write


def ignore_record(record: Record) -> None:
    """A log for those who keep none."""
