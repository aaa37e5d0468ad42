"""When silence means death. Pure failure detectors for both ends; deadlines on the caller's monotonic clock.

The server pings and counts its grace from the last sign of life (:class:`ServerFailureDetector`); the client waits for
a fixed silence, probes, and gives the probe a short deadline (:class:`ClientFailureDetector`). A sign of life is an
inbound
*application* message: a WebSocket-level pong proves only that a socket still answers.

Both are told by how much their own scheduler woke late and give the peer that much more time, so a stalled process
never mistakes its own sleep for everybody else's death.
"""

from __future__ import annotations

import math
from enum import Enum

import msgspec

from resilience.units import Instant, Seconds

LAG_TOLERANCE_S: Seconds = 0.5
"""Wake-ups later than this are the scheduler's fault and extend the deadlines by the whole lag."""


GRID_S: Seconds = 0.05
"""Heartbeats of one room fall on a grid this wide, so that one wake-up does for many connections."""


class HeartbeatTimeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Server side, seconds: ping every ``interval``, ``grace`` from the last sign of life, sweep at ``cleanup``."""

    interval: Seconds = 15.0
    grace: Seconds = 30.0
    cleanup: Seconds = 60.0


class ProbeTimeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Client-side timing, seconds: probe after ``silence`` without a message; dead ``deadline`` after the probe."""

    silence: Seconds = 4.0
    deadline: Seconds = 2.0


class LivenessAction(Enum):
    """What a passed deadline asks for."""

    NOTHING = "nothing"
    PING = "ping"
    PROBE = "probe"
    DEAD = "dead"


class ServerFailureDetector:
    """One attached connection as its server sees it: next ping, last sign of life."""

    __slots__ = ("_again_at", "_extension", "_ping_at", "_rules", "_spread", "_tightened_at", "last_heard")

    def __init__(self, rules: HeartbeatTimeouts, now: Instant, u: float) -> None:
        """``u`` in [0, 1) spreads the first ping over the interval, so that a herd does not beat as one."""
        self._rules, self._spread = rules, u
        self.last_heard = now
        self._ping_at = now + u * rules.interval
        self._again_at: Instant | None = None
        self._extension: Seconds = 0.0
        self._tightened_at: Instant = now

    def heard(self, now: Instant) -> None:
        """An application message arrived."""
        self.last_heard = now
        self._extension = 0.0
        self._again_at = None

    def extend_by_lag(self, lag: Seconds) -> None:
        """The scheduler slept through ``lag`` seconds: the peer gets them back."""
        self._extension += lag

    def set_timeouts(self, rules: HeartbeatTimeouts, now: Instant) -> bool:
        """Watch by other rules from now on; returns whether they differ.

        A shorter grace counts from this moment at the earliest, a shorter interval is entered at a spread moment:
        nobody is late by a rule it did not know.
        """
        if rules == self._rules:
            return False
        if rules.grace < self._rules.grace:
            self._tightened_at = now
        if rules.interval < self._rules.interval:
            self._ping_at = min(self._ping_at, now + self._spread * rules.interval)
        self._rules = rules
        return True

    @property
    def counted_from(self) -> Instant:
        """What the grace period and the clean-up count from, with the lag that was forgiven."""
        return self.last_heard + self._extension

    def dead_at(self) -> Instant:
        """When the grace period ends unless something is heard."""
        return max(self.last_heard, self._tightened_at) + self._rules.grace + self._extension

    def next_deadline(self) -> Instant:
        """When :meth:`due` has something to say next."""
        ping_at = self._ping_at if self._again_at is None else min(self._again_at, self._ping_at)
        return min(ping_at, self.dead_at())

    def due(self, now: Instant) -> LivenessAction:
        """What is due at ``now``.

        Pings come an interval apart. Half an interval after one that nothing was heard of, another goes out: with a
        grace of two intervals a single lost reply must not be the end.
        """
        if now >= self.dead_at():
            return LivenessAction.DEAD
        if self._again_at is not None and self._again_at <= now < self._ping_at:
            self._again_at = None
            return LivenessAction.PING
        if now < self._ping_at:
            return LivenessAction.NOTHING
        interval = self._rules.interval
        self._ping_at += ((now - self._ping_at) // interval + 1) * interval
        self._again_at = now + interval / 2
        return LivenessAction.PING


class ClientFailureDetector:
    """The server as one client sees it: silence, then a probe, then a verdict.

    What still comes down proves nothing about the way up. So while a reply is owed to this client for longer than
    ``silence``, only a reply answers the probe.
    """

    __slots__ = ("_asked_at", "_pressed_at", "_probed_at", "_rules", "last_heard")

    def __init__(self, rules: ProbeTimeouts, now: Instant) -> None:
        self._rules = rules
        self.last_heard = now
        self._probed_at: Instant | None = None
        self._asked_at: Instant | None = None
        self._pressed_at: Instant | None = None

    def heard(self, now: Instant) -> None:
        """An application message arrived."""
        self.last_heard = now
        self._probed_at = None

    def asked(self, now: Instant) -> None:
        """Something was sent that the server must reply to."""
        if self._asked_at is None:
            self._asked_at = now

    def answered(self, now: Instant, *, owing: bool) -> None:
        """A reply arrived: both ways work. ``owing``: more replies are due."""
        self._pressed_at = None
        self._asked_at = now if owing else None

    def suspect(self, now: Instant) -> LivenessAction:
        """Something outside hints at trouble (wake from sleep, network change): probe now, unless one is out."""
        if self._probed_at is not None or self._pressed_at is not None:
            return LivenessAction.NOTHING
        return self._probe(now)

    def silence(self, now: Instant) -> Seconds:
        """For how long nothing was heard, or, if that is no silence yet, for how long a reply is owed."""
        silence = now - self.last_heard
        return silence if silence >= self._rules.silence or self._asked_at is None else now - self._asked_at

    def next_deadline(self) -> Instant:
        """When :meth:`due` has something to say next."""
        heard = self._when(self.last_heard, self._probed_at)
        return heard if self._asked_at is None else min(heard, self._when(self._asked_at, self._pressed_at))

    def due(self, now: Instant) -> LivenessAction:
        """What is due at ``now``. A late wake-up with a probe out moves that probe's deadline instead of killing."""
        lag = now - self.next_deadline()
        if lag < 0:
            return LivenessAction.NOTHING
        return LivenessAction.DEAD if lag <= LAG_TOLERANCE_S and self._is_overdue(now) else self._probe(now)

    def _probe(self, now: Instant) -> LivenessAction:
        self._probed_at = now
        if self._asked_at is not None:
            self._pressed_at = now
        return LivenessAction.PROBE

    def _when(self, since: Instant, probed_at: Instant | None) -> Instant:
        return since + self._rules.silence if probed_at is None else probed_at + self._rules.deadline

    def _is_overdue(self, now: Instant) -> bool:
        out = (at for at in (self._probed_at, self._pressed_at) if at is not None)
        return any(now >= at + self._rules.deadline for at in out)


def align_to_grid(u: float, now: Instant, interval: Seconds) -> float:
    """The share ``u`` of an interval, moved on to where ``now`` plus that share of it is on the grid of slots."""
    return (math.ceil((now + u * interval) / GRID_S) * GRID_S - now) / interval
