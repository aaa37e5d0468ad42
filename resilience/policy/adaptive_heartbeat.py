"""Heartbeat timeouts that follow link and phase: shorter while a question is open, longer on a slow link. Pure.

The round-trip estimate and its margin are those of RFC 6298 (smoothed mean plus four deviations), without its floor of
one second. The computed timeouts stay between the configured floors and the plain timeouts, so an adapted connection
never detects a loss later than a plain one.
"""

from __future__ import annotations

import msgspec

from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.units import Seconds

GAIN, DEVIATION_GAIN, DEVIATIONS = 1 / 8, 1 / 4, 4.0  # RFC 6298, section 2

MAX_MISSED_PINGS = 2
"""Consecutive pings that may stay unanswered: one lost pong changes nothing."""

TIMEOUTS_PER_PING = 10.0
"""A slow link is pinged at most once in this many of its time-outs."""

INITIAL_TIMEOUT_S: Seconds = 1.0


class AdaptiveBounds(msgspec.Struct, frozen=True):
    """The lower bounds of interval and grace period, seconds."""

    interval_floor: Seconds
    grace_floor: Seconds


class RttEstimator:
    """Smoothed round-trip time and deviation of one connection, seconds."""

    __slots__ = ("_deviation", "_mean")

    def __init__(self) -> None:
        self._mean: Seconds | None = None
        self._deviation: Seconds = 0.0

    def observe(self, trip: Seconds) -> None:
        """Add one measurement."""
        if self._mean is None:
            self._mean, self._deviation = trip, trip / 2
            return
        self._deviation += DEVIATION_GAIN * (abs(self._mean - trip) - self._deviation)
        self._mean += GAIN * (trip - self._mean)

    @property
    def timeout(self) -> Seconds:
        """The time after which a reply is unusually late, seconds."""
        return INITIAL_TIMEOUT_S if self._mean is None else self._mean + DEVIATIONS * self._deviation


def adapt_timeouts(
    plain: HeartbeatTimeouts, rules: AdaptiveBounds, timeout: Seconds, *, urgent: bool
) -> HeartbeatTimeouts:
    """The timeouts of one connection now; ``urgent`` while a question is open."""
    if not urgent:
        return plain
    interval = min(max(rules.interval_floor, TIMEOUTS_PER_PING * timeout), plain.interval)
    grace = min(max(rules.grace_floor, MAX_MISSED_PINGS * interval + DEVIATIONS * timeout), plain.grace)
    return HeartbeatTimeouts(interval, grace, plain.cleanup)
