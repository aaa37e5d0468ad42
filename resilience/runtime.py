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

NEVER: Instant = float("inf")

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

    Lazy: moving a deadline later costs nothing until the earlier one passes, and then a timer of the loop, but no call.
    Some event loops keep time in whole milliseconds and call back early; acting then would write records with times
    before their causes.
    """

    __slots__ = ("_armed", "_clock", "_deadline", "_fire", "_handle", "_loop")

    def __init__(self, clock: RunClock, fire: Callable[[], None]) -> None:
        self._clock, self._fire = clock, fire
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._deadline: Instant = NEVER
        self._armed: Instant = NEVER

    def set_deadline(self, deadline: Instant | None) -> None:
        """Call ``fire`` at ``deadline``; ``None`` clears the deadline."""
        self._deadline = NEVER if deadline is None else deadline
        if self._deadline >= self._armed:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._arm(max(self._deadline - self._clock.now(), 0.0))

    def stop(self) -> None:
        """Clear the deadline."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._armed, self._deadline = None, NEVER, NEVER

    def fired(self) -> Instant:
        """Called once by ``fire``: the time to treat as now, never before the deadline by a rounding error."""
        now = max(self._clock.now(), self._deadline)
        self._armed = self._deadline = NEVER
        return now

    def _arm(self, delay: Seconds) -> None:
        self._armed = self._deadline
        self._handle = self._loop.call_later(delay, self._wake)

    def _wake(self) -> None:
        early = self._deadline - self._clock.now()
        if early <= ROUNDING_S:
            self._handle = None
            self._fire()
        elif early < NEVER:
            self._arm(early if self._armed < self._deadline else max(early, TICK_S))
        else:
            self._handle, self._armed = None, NEVER


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
