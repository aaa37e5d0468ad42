"""Token buckets, single and per address, and exact counts per address. Pure; time is an argument."""

from __future__ import annotations

from collections import deque

from resilience.units import Instant, Seconds

MAX_ADDRESSES = 100_000
"""The most addresses that are remembered. Full buckets are dropped first, then the older half."""

ROUNDING_S: Seconds = 1e-6
"""A shorter wait counts as none, seconds."""


class TokenBucket:
    """``rate`` tokens a second flow in, up to ``burst``; a rate of 0 turns the limit off."""

    __slots__ = ("_burst", "_full_at", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._full_at: Instant = float("-inf")

    def take(self, now: Instant) -> Seconds:
        """Take a token, even if none is left; returns the seconds until it is available, 0 if it is."""
        if not self._rate:
            return 0.0
        wait = self.wait(now)
        self._full_at = max(self._full_at, now) + 1.0 / self._rate
        return wait

    def wait(self, now: Instant) -> Seconds:
        """Seconds until a token is available; takes none."""
        if not self._rate:
            return 0.0
        wait = max(self._full_at - now, 0.0) + (1.0 - self._burst) / self._rate
        return wait if wait > ROUNDING_S else 0.0

    def is_full(self, now: Instant) -> bool:
        """Whether the bucket is full, and so equal to a new one."""
        return self._full_at <= now


class PerAddressLimiter:
    """One token bucket per address, created on first use."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, address: str, now: Instant) -> Seconds:
        """Like :meth:`TokenBucket.wait`, but takes an available token; a rejection costs no token."""
        if not self._rate:
            return 0.0
        bucket = self._bucket(address, now)
        wait = bucket.wait(now)
        if not wait:
            bucket.take(now)
        return wait

    def wait(self, address: str, now: Instant) -> Seconds:
        """Seconds until this address has a token; takes none and creates no bucket."""
        bucket = self._buckets.get(address)
        return 0.0 if bucket is None else bucket.wait(now)

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, address: str, now: Instant) -> TokenBucket:
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= MAX_ADDRESSES:
                self._make_room(now)
            bucket = self._buckets[address] = TokenBucket(self._rate, self._burst)
        return bucket

    def _make_room(self, now: Instant) -> None:
        """Drop at least half, so that in a flood of addresses not every new one scans all of them."""
        owing = [(key, bucket) for key, bucket in self._buckets.items() if not bucket.is_full(now)]
        self._buckets = dict(owing[-(MAX_ADDRESSES // 2) :])


class PerAddressWindow:
    """At most ``limit`` occurrences per address within any ``window`` seconds, exactly; a limit of 0 turns it off.

    A token bucket lets twice its burst pass within the first window. Where each occurrence is a guess, that matters.
    """

    def __init__(self, limit: int, window: Seconds) -> None:
        self._limit, self._window = limit, window
        self._times: dict[str, deque[Instant]] = {}

    def wait(self, address: str, now: Instant) -> Seconds:
        """Seconds until this address may do it again; counts nothing."""
        times = self._times.get(address)
        if times is None or len(times) < self._limit:
            return 0.0
        wait = times[0] + self._window - now
        return wait if wait > ROUNDING_S else 0.0

    def record(self, address: str, now: Instant) -> None:
        """Count one occurrence."""
        if not self._limit:
            return
        times = self._times.get(address)
        if times is None:
            if len(self._times) >= MAX_ADDRESSES:
                self._make_room(now)
            times = self._times[address] = deque(maxlen=self._limit)
        times.append(now)

    def __len__(self) -> int:
        return len(self._times)

    def _make_room(self, now: Instant) -> None:
        """Drop at least half: those whose last occurrence has left the window first, then the older half."""
        recent = [(key, times) for key, times in self._times.items() if times[-1] + self._window > now]
        self._times = dict(recent[-(MAX_ADDRESSES // 2) :])
