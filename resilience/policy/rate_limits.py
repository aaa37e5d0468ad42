"""Limits of rates: token buckets and exact counts, per address, and the meter of one connection's input.

Pure; time is an argument.
"""

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

    def take(self, now: Instant, count: float = 1.0) -> Seconds:
        """Take ``count`` tokens, even if fewer are left.

        Returns the seconds until one was available before that, 0 if it was.
        """
        if not self._rate:
            return 0.0
        wait = self.wait(now)
        self.charge(now, count)
        return wait

    def charge(self, now: Instant, count: float) -> None:
        """Take ``count`` tokens, even if fewer are left."""
        if self._rate:
            self._full_at = max(self._full_at, now) + count / self._rate

    def available(self, now: Instant) -> float:
        """The tokens in the bucket: negative after more were taken than it held, infinite without a limit."""
        if not self._rate:
            return float("inf")
        owed = self._full_at - now
        return self._burst - owed * self._rate if owed > 0.0 else self._burst

    def wait(self, now: Instant) -> Seconds:
        """Seconds until a token is available; takes none."""
        if not self._rate:
            return 0.0
        wait = max(self._full_at - now, 0.0) + (1.0 - self._burst) / self._rate
        return wait if wait > ROUNDING_S else 0.0

    def is_full(self, now: Instant) -> bool:
        """Whether the bucket is full, and so equal to a new one."""
        return self._full_at <= now


_UNLIMITED = TokenBucket(0.0, 1.0)


class PerAddressLimiter:
    """One token bucket per address, created on first use."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, address: str, now: Instant) -> Seconds:
        """Like :meth:`TokenBucket.wait`, but takes an available token; a rejection costs no token."""
        if not self._rate:
            return 0.0
        bucket = self.bucket(address, now)
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

    def bucket(self, address: str, now: Instant) -> TokenBucket:
        """The bucket of this address, for callers that share it; without a limit one that is always full."""
        if not self._rate:
            return _UNLIMITED
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


MIN_FRAME_BYTES = 6
"""The shortest frame that a client can send: two bytes and the mask."""

MIN_PIECE_BYTES = 32
"""Input is parsed in pieces of at least this size: about one short message."""

MAX_PIECE_BYTES = 2048
"""Input is parsed in pieces of at most this size, so that no piece holds many more frames than there are tokens."""

BYTES_PER_TOKEN = 16_384
"""So many bytes cost as much as one frame."""

TURN_TOKENS = 64
"""After so many frames a connection yields to the others, even if it may send more."""


class InputMeter:
    """How much of what one connection sends may be parsed now, of its own tokens and those of its address.

    Every frame costs a token, whatever its kind: control frames and fragments make the server work as messages do.
    ``BYTES_PER_TOKEN`` bytes cost a token too. The driver asks :meth:`allowance`, parses at most so many bytes, charges
    what was in them, and continues until the allowance is 0; then it stops reading for :meth:`wait` seconds.

    ``first`` bytes may be parsed in the first piece, whatever the tokens, unless :meth:`share` was called before: the
    head of a handshake is long, and is read at the least cost if it is read whole.
    """

    __slots__ = ("_address", "_first", "_own", "_turn")

    def __init__(self, own: TokenBucket, address: TokenBucket = _UNLIMITED, *, first: int = 0) -> None:
        self._own, self._address = own, address
        self._turn, self._first = 0.0, first

    def share(self, address: TokenBucket) -> None:
        """Take tokens from this address's bucket too, from now on: the head of the handshake has been read."""
        self._address, self._first = address, 0

    def allowance(self, now: Instant) -> int:
        """How many bytes may be parsed now; 0 while tokens are missing, and at the end of a turn."""
        if self._first:
            return self._first
        turn = TURN_TOKENS - self._turn
        tokens = min(turn, self._own.available(now), self._address.available(now))
        if turn <= 0 or (tokens < 1.0 and self.wait(now)):
            return 0
        return max(MIN_PIECE_BYTES, min(int(tokens) * MIN_FRAME_BYTES, MAX_PIECE_BYTES))

    def charge(self, frames: int, size: int, now: Instant) -> None:
        """Take the tokens of ``size`` bytes that were parsed and held the ends of ``frames`` frames."""
        cost = frames + size / BYTES_PER_TOKEN
        self._turn += cost
        self._first = 0
        self._own.charge(now, cost)
        self._address.charge(now, cost)

    def wait(self, now: Instant) -> Seconds:
        """Seconds until there is a token; 0 if only the turn is over."""
        return max(self._own.wait(now), self._address.wait(now))

    def begin_turn(self) -> None:
        """The others have had their turn."""
        self._turn = 0.0
