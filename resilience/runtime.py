"""What every asyncio driver needs: a run's clock, a lazy timer, and sinks for records. No decisions are made here.

Drivers convert between the event loop's time and the run's; the machines receive seconds since the run's start only.
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
"""Receives a machine's records."""


class RunClock:
    """Seconds since the run's start, ``epoch`` on the clock ``source`` (by default the system's monotonic clock)."""

    __slots__ = ("_source", "epoch")

    def __init__(self, epoch: float | None = None, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self.epoch = source() if epoch is None else epoch

    def now(self) -> Instant:
        """The current time in seconds; negative before the run's start."""
        return self._source() - self.epoch


class DeadlineTimer:
    """Calls ``fire`` once at the latest deadline that was set, never before it.

    Lazy: moving a deadline later costs nothing until the earlier one passes. Some event loops keep time in whole
    milliseconds and call back early; acting then would write records with times before their causes.
    """

    __slots__ = ("_armed", "_clock", "_fire", "_handle", "_loop")

    def __init__(self, clock: RunClock, fire: Callable[[], None]) -> None:
        self._clock, self._fire = clock, fire
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._armed: Instant = float("inf")

    def set_deadline(self, deadline: Instant | None) -> None:
        """Call ``fire`` at ``deadline``; ``None`` clears the deadline."""
        if deadline is None or deadline >= self._armed:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._armed = deadline
        self._handle = self._loop.call_later(max(deadline - self._clock.now(), 0.0), self._wake)

    def stop(self) -> None:
        """Clear the deadline."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._armed = None, float("inf")

    def fired(self) -> Instant:
        """Called once by ``fire``: the time to treat as now, never before the deadline by a rounding error."""
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
    """A record sink that writes a machine's records to an event log under this name."""

    def write(record: Record) -> None:
        sink.write(event_of(record, lane, role, actor, cohort))

    return write


def tee(*logs: RecordSink) -> RecordSink:
    """One record sink that passes each record to several, in this order."""

    def write(record: Record) -> None:
        for log in logs:
            log(record)

    return write


def ignore_record(record: Record) -> None:
    """A record sink that drops every record."""
