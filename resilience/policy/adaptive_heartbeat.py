"""A heartbeat that follows link and moment: quicker while a question is open, more patient on a slow link. Pure.

The round-trip estimate and its margin are those of RFC 6298 (smoothed mean plus four deviations), without its floor of
one second. Whatever is computed stays between the configured floors and the plain rules, so nobody is ever watched more
slowly than the plain rules say.
"""

from __future__ import annotations

import msgspec

from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.units import Seconds

GAIN, DEVIATION_GAIN, DEVIATIONS = 1 / 8, 1 / 4, 4.0  # RFC 6298, section 2

MAX_MISSED_PINGS = 2
"""Pings in a row that may go unanswered: one lost pong changes nothing."""

TIMEOUTS_PER_PING = 10.0
"""A slow link is not pinged more often than once in so many of its time-outs."""

INITIAL_TIMEOUT_S: Seconds = 1.0


class AdaptiveBounds(msgspec.Struct, frozen=True):
    """The least that interval and grace may shrink to, seconds."""

    interval_floor: Seconds
    grace_floor: Seconds


class RttEstimator:
    """What one connection's round trips were so far."""

    __slots__ = ("_deviation", "_mean")

    def __init__(self) -> None:
        self._mean: Seconds | None = None
        self._deviation: Seconds = 0.0

    def observe(self, trip: Seconds) -> None:
        """One more measurement."""
        if self._mean is None:
            self._mean, self._deviation = trip, trip / 2
            return
        self._deviation += DEVIATION_GAIN * (abs(self._mean - trip) - self._deviation)
        self._mean += GAIN * (trip - self._mean)

    @property
    def timeout(self) -> Seconds:
        """A reply that takes longer than this is unusual."""
        return INITIAL_TIMEOUT_S if self._mean is None else self._mean + DEVIATIONS * self._deviation


def adapt_timeouts(
    plain: HeartbeatTimeouts, rules: AdaptiveBounds, timeout: Seconds, *, urgent: bool
) -> HeartbeatTimeouts:
    """The rules for one connection now; ``urgent`` while a question is open."""
    if not urgent:
        return plain
    interval = min(max(rules.interval_floor, TIMEOUTS_PER_PING * timeout), plain.interval)
    grace = min(max(rules.grace_floor, MAX_MISSED_PINGS * interval + DEVIATIONS * timeout), plain.grace)
    return HeartbeatTimeouts(interval, grace, plain.cleanup)
