"""Pure failure detectors for both ends; deadlines on the caller's monotonic clock.

The server pings and counts the grace period from the last sign of life (:class:`ServerFailureDetector`). The client
waits for a fixed silence, sends a probe, and gives the probe a short deadline (:class:`ClientFailureDetector`). A sign
of life is an inbound *application* message: a WebSocket-level pong proves only that a socket still answers.

Both receive the time by which their own scheduler woke late and extend the peer's deadlines by it, so a stalled process
never mistakes its own stall for a dead peer.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from resilience.policy.elementwise import greater, lesser
from resilience.units import Instant, Seconds

LAG_TOLERANCE_S: Seconds = 0.5
"""A wake-up that is later than this is the scheduler's fault and extends the deadlines by the whole lag.

It is also the least time that a missed deadline is extended beyond the wake-up: what arrived meanwhile is read first.
"""


GRID_S: Seconds = 1 / 16
"""Heartbeats of one room fall on a grid of this width, so that one wake-up serves many connections.

A power of two: sums of it are exact.
"""


class HeartbeatTimeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Server-side timeouts, seconds: time between pings, grace period and clean-up, both from the last sign of life."""

    interval: Seconds = 15.0
    grace: Seconds = 30.0
    cleanup: Seconds = 60.0


class ProbeTimeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Client-side timeouts, seconds: probe after ``silence`` without a message; dead ``deadline`` after the probe."""

    silence: Seconds = 4.0
    deadline: Seconds = 2.0


class LivenessAction(Enum):
    """What to do about a passed deadline."""

    NOTHING = "nothing"
    PING = "ping"
    PROBE = "probe"
    DEAD = "dead"


class ServerFailureDetector:
    """The state of one attached connection at its server: next ping, last sign of life."""

    __slots__ = ("_again_at", "_extension", "_ping_at", "_rules", "_spread", "_tightened_at", "last_heard")

    def __init__(self, rules: HeartbeatTimeouts, now: Instant, first_ping: Instant) -> None:
        """Begin ``now``; ``first_ping`` is within one interval from then: see :func:`first_ping_at`."""
        self._rules, self._spread = rules, (first_ping - now) / rules.interval
        self.last_heard = now
        self._ping_at = first_ping
        self._again_at: Instant | None = None
        self._extension: Seconds = 0.0
        self._tightened_at: Instant = now

    def heard(self, now: Instant) -> None:
        """An application message arrived."""
        self.last_heard = now
        self._extension = 0.0
        self._again_at = None

    def extend_by_lag(self, lag: Seconds, now: Instant) -> None:
        """Extend the peer's deadlines by the scheduler's ``lag``, seconds, which ends ``now``."""
        dead_at = extended(self.dead_at(), lag, now, longest=self._rules.grace)
        self._extension += dead_at - self.dead_at()

    def set_timeouts(self, rules: HeartbeatTimeouts, now: Instant) -> bool:
        """Change the timeouts; returns whether they differ from the former ones.

        A shorter grace period counts from this moment at the earliest, and a shorter interval starts at a spread
        moment, so no peer is late by a timeout that did not apply to it.
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
        """The start of the grace period and of the clean-up, including granted lag."""
        return self.last_heard + self._extension

    def dead_at(self) -> Instant:
        """When the grace period ends unless a message arrives."""
        return max(self.last_heard, self._tightened_at) + self._rules.grace + self._extension

    def next_deadline(self) -> Instant:
        """When :meth:`due` next returns an action."""
        ping_at = self._ping_at if self._again_at is None else min(self._again_at, self._ping_at)
        return min(ping_at, self.dead_at())

    def due(self, now: Instant) -> LivenessAction:
        """The action due at ``now``.

        Pings are one interval apart. Half an interval after an unanswered ping another one is sent: with a grace period
        of two intervals a single lost reply must not end the connection.
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
    """The state of the server at one client: silence, then a probe, then a verdict.

    Inbound messages say nothing about the outbound direction. While a reply has been owed to this client for longer
    than ``silence``, only a reply answers the probe.
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

    def probing_for(self, now: Instant) -> Seconds:
        """Seconds for which a probe has waited while nothing arrived; 0 without one."""
        return 0.0 if self._probed_at is None else now - self._probed_at

    def asked(self, now: Instant) -> None:
        """A message was sent that the server must reply to."""
        if self._asked_at is None:
            self._asked_at = now

    def answered(self, now: Instant, *, owing: bool) -> None:
        """A reply arrived, so both directions work. ``owing``: more replies are due."""
        self._pressed_at = None
        self._asked_at = now if owing else None

    def suspect(self, now: Instant) -> LivenessAction:
        """An outside hint of trouble (wake from sleep, network change): probe now, unless a probe is pending."""
        if self._probed_at is not None or self._pressed_at is not None:
            return LivenessAction.NOTHING
        return self._probe(now)

    def silence(self, now: Instant) -> Seconds:
        """Seconds since the last message; if that is below the threshold, seconds for which a reply has been owed."""
        silence = now - self.last_heard
        return silence if silence >= self._rules.silence or self._asked_at is None else now - self._asked_at

    def next_deadline(self) -> Instant:
        """When :meth:`due` next returns an action."""
        heard = self._when(self.last_heard, self._probed_at)
        return heard if self._asked_at is None else min(heard, self._when(self._asked_at, self._pressed_at))

    def due(self, now: Instant) -> LivenessAction:
        """The action due at ``now``. A late wake-up with a pending probe extends the probe's deadline."""
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


def lag_of(deadline: Instant | None, now: Instant) -> Seconds:
    """The lag to give back after a wake-up ``now`` for ``deadline``; 0 for one that is on time, or early."""
    return 0.0 if deadline is None or now - deadline <= LAG_TOLERANCE_S else now - deadline


def extended(deadline: Instant, lag: Seconds, now: Instant, *, longest: Seconds) -> Instant:
    """A peer's ``deadline`` after the scheduler overslept by ``lag`` seconds until ``now``.

    It moves by the lag, but not further from ``now`` than the ``longest`` time that a peer gets, and at least so far
    that what arrived during the lag is read before it. It never moves back. ``deadline`` may be an array.
    """
    least = now + min(LAG_TOLERANCE_S, longest)
    return greater(greater(deadline, lesser(deadline + lag, now + longest)), least)


def first_ping_at(u: float, now: Instant, interval: Seconds) -> Instant:
    """The first ping of a connection that begins ``now``: on the grid, spread over the interval by ``u`` in [0, 1).

    So a herd is not pinged all at once. ``u`` and ``now`` may be arrays.
    """
    return -(-(now + u * interval) // GRID_S) * GRID_S
