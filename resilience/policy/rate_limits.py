"""How much one peer may do: token buckets, and one bucket for each of many addresses. Pure; time is an argument."""

from __future__ import annotations

from resilience.units import Instant, Seconds

MAX_ADDRESSES = 100_000
"""More are never remembered: those that owe nothing are forgotten first, then the older half."""

ROUNDING_S: Seconds = 1e-6
"""A shorter wait is none."""


class TokenBucket:
    """``rate`` tokens a second flow in, up to ``burst``; a rate of 0 limits nothing."""

    __slots__ = ("_burst", "_full_at", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._full_at: Instant = float("-inf")

    def take(self, now: Instant) -> Seconds:
        """Take a token: 0 when there was one, else the seconds until there is; it is taken all the same then."""
        if not self._rate:
            return 0.0
        wait = self.wait(now)
        self._full_at = max(self._full_at, now) + 1.0 / self._rate
        return wait

    def wait(self, now: Instant) -> Seconds:
        """The seconds until there is a token; takes none."""
        if not self._rate:
            return 0.0
        wait = max(self._full_at - now, 0.0) + (1.0 - self._burst) / self._rate
        return wait if wait > ROUNDING_S else 0.0

    def is_full(self, now: Instant) -> bool:
        """Whether it owes nothing, so that a new bucket would be the same."""
        return self._full_at <= now


class PerAddressLimiter:
    """A bucket for each address, made when it is first asked for."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, address: str, now: Instant) -> Seconds:
        """As :meth:`TokenBucket.wait`, and takes a token only when there is one: being refused costs no more."""
        if not self._rate:
            return 0.0
        bucket = self._bucket(address, now)
        wait = bucket.wait(now)
        if not wait:
            bucket.take(now)
        return wait

    def wait(self, address: str, now: Instant) -> Seconds:
        """The seconds until this address has a token; takes none and remembers nobody."""
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
        """Half at least, so that a flood of addresses does not pay for a look at all of them with each one."""
        owing = [(key, bucket) for key, bucket in self._buckets.items() if not bucket.is_full(now)]
        self._buckets = dict(owing[-(MAX_ADDRESSES // 2) :])
