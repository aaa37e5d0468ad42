"""When a client tries again. Pure: the time, the uniform numbers, the announcement and the advice are arguments.

Two presets. ``classic`` is the contract's ladder 1, 2, 4, 8, 16, 30 ... s with ten attempts. ``window`` (the default)
draws its first delay over the server's return window, then multiplies by 1.5 with equal jitter between the announced
step and cap until 60 s after the loss, then follows ``classic`` until ten minutes have passed.

*Advice* is a server's retry time. The first advised wait of an incident replaces the ladder's delay and is charged to
no budget: the server knows best when it has room. Every further one is a step of the ladder whose delay is at least
the advice, and counts as any attempt does. So no sequence of advice makes a client dial more often than its ladder
would, and a server that never has room is given up.

:meth:`ExponentialDelays.delay`, :meth:`BackoffPolicy.delay` and :meth:`BackoffPolicy.exhausted` take, for numbers that
differ from client to client, arrays as well; the numbers of an attempt are plain.

Jitter names follow M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from resilience.policy.elementwise import choose, greater, lesser
from resilience.policy.return_window import DEFAULT_RETURN_WINDOW, ReturnWindow
from resilience.units import Instant, Seconds

MIN_RETRY_AFTER_S: Seconds = 0.05
MAX_RETRY_AFTER_S: Seconds = 600.0
"""Bounds of a retry time, seconds: a broken proxy can neither stop a client for good nor make it dial at once.

The upper one is the longest wait that admission asks for (:data:`resilience.policy.admission.MAX_SLOT_S`): a client
that shortened a valid slot would return in a herd.
"""

ADVICE = "advice"
"""The cause of a delay that the server asked for."""

_BEYOND_EVERY_CAP = 1_000_000  # a rung


def clamp_retry_after(advice: Seconds | None) -> Seconds | None:
    """A retry time within its bounds; ``None`` for an invalid one: absent, negative or not a number."""
    if advice is None or not advice >= 0:
        return None
    return min(max(advice, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)


class Jitter(StrEnum):
    """How a nominal delay d is spread, given u in [0, 1)."""

    NONE = "none"  # d
    EQUAL = "equal"  # d/2 + u d/2
    FULL = "full"  # u d
    DECORRELATED = "decorrelated"  # initial + u (3 previous - initial), at most the cap


class Preset(StrEnum):
    """A named policy."""

    CLASSIC = "classic"
    WINDOW = "window"


class ExponentialDelays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nominal delays ``initial * multiplier ** rung``, at most ``maximum``, spread by ``jitter``. Seconds."""

    initial: Seconds = 1.0
    maximum: Seconds = 30.0
    multiplier: float = 2.0
    jitter: Jitter = Jitter.NONE

    def delay(self, rung: int, u: float, previous: Seconds | None = None) -> Seconds:
        """The delay before attempt ``rung + 1``; ``previous`` is the delay before it (decorrelated jitter only)."""
        if self.jitter is Jitter.DECORRELATED:
            before = self.initial if previous is None else previous
            return lesser(self.initial + u * greater(3 * before - self.initial, 0.0), self.maximum)
        nominal = self._nominal(rung)
        if self.jitter is Jitter.EQUAL:
            return nominal / 2 + u * nominal / 2
        return u * nominal if self.jitter is Jitter.FULL else nominal

    def _nominal(self, rung: int) -> Seconds:
        if self.multiplier <= 1 or self.initial >= self.maximum:
            return min(self.initial, self.maximum)
        rungs_to_cap = math.log(self.maximum / self.initial) / math.log(self.multiplier)
        return self.maximum if rung >= rungs_to_cap else min(self.maximum, self.initial * self.multiplier**rung)


class BackoffPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A preset with all its numbers. ``None`` for a budget means unlimited; at least one budget must be set.

    The client gives up after ``attempts`` attempts or ``budget`` seconds since the loss, whichever comes first.
    ``stable_after`` is how long a session must last before the ladder starts from its first delay again.
    ``window_until`` (``window`` only) is when, counted from the loss, ``ladder`` replaces the announced ladder.
    """

    preset: Preset
    ladder: ExponentialDelays
    attempts: int | None
    budget: Seconds | None
    stable_after: Seconds = 5.0
    window_until: Seconds = 60.0
    window_multiplier: float = 1.5

    def delay(
        self, attempt: int, elapsed: Seconds, u: float, window: ReturnWindow, previous: Seconds | None = None
    ) -> Seconds:
        """Seconds to wait before ``attempt`` (from 1), decided ``elapsed`` seconds after the loss."""
        if self.preset is Preset.CLASSIC:
            return self.ladder.delay(attempt - 1, u, previous)
        if attempt == 1:
            return u * window.spread_s
        announced = ExponentialDelays(window.step_s, window.cap_s, self.window_multiplier, self.ladder.jitter)
        return choose(
            elapsed < self.window_until,
            announced.delay(attempt - 2, u, previous),
            self.ladder.delay(_BEYOND_EVERY_CAP, u, previous),
        )

    def exhausted(self, attempt: int, elapsed: Seconds) -> bool:
        """Whether ``attempt`` (from 1), ``elapsed`` seconds after the loss, is beyond either budget."""
        beyond_attempts = self.attempts is not None and attempt > self.attempts
        return beyond_attempts if self.budget is None else beyond_attempts | (elapsed >= self.budget)


CLASSIC = BackoffPolicy(Preset.CLASSIC, ExponentialDelays(), attempts=10, budget=None)
WINDOW = BackoffPolicy(Preset.WINDOW, ExponentialDelays(jitter=Jitter.EQUAL), attempts=None, budget=600.0)
PRESETS = {Preset.CLASSIC: CLASSIC, Preset.WINDOW: WINDOW}


class Retry(msgspec.Struct, frozen=True):
    """The next attempt: its number in the incident, its delay in seconds, and what determined the delay."""

    attempt: int
    delay: Seconds
    cause: str


class RetryState:
    """One client's retry state: incidents, attempts and the previous delay. Holds no clock.

    ``previous`` is the ladder's last delay of this incident, ``free_wait`` the begin and end of its free wait,
    ``up_since`` the begin of the present session; each ``None`` without one.

    An *incident* lasts from a loss to the end of the first stable session after it; a server that accepts and then
    closes does not reset the ladder.
    """

    __slots__ = ("attempt", "free_wait", "incident", "lost_at", "policy", "previous", "up_since")

    def __init__(self, policy: BackoffPolicy) -> None:
        self.policy = policy
        self.incident = 0
        self.attempt = 0
        self.lost_at: Instant = 0.0
        self.previous: Seconds | None = None
        self.up_since: Instant | None = None
        self.free_wait: tuple[Instant, Instant] | None = None

    def lost(self, now: Instant) -> None:
        """The session ended, or the first attempt to connect failed."""
        unstable = self.up_since is not None and now - self.up_since < self.policy.stable_after
        has_retried = self.attempt > 0 or self.free_wait is not None
        if not (unstable and has_retried):
            self.incident += 1
            self.attempt = 0
            self.lost_at = now
            self.previous = self.free_wait = None
        self.up_since = None

    def restored(self, now: Instant) -> None:
        """A session is established; it counts as stable after ``stable_after`` seconds."""
        self.up_since = now

    def exclude_sleep(self, asleep: Seconds) -> None:
        """Exclude ``asleep`` seconds of machine sleep from the time budget."""
        self.lost_at += asleep

    def next(self, now: Instant, u: float, window: ReturnWindow | None, advice: Seconds | None = None) -> Retry | None:
        """The next attempt, or ``None`` when a budget is spent.

        ``advice`` is the server's retry time in seconds, clamped to its bounds; an invalid one is ignored. The first
        one of an incident is the delay, and that wait counts as no attempt and no time; a later one is the least delay
        of an attempt that counts.
        """
        elapsed, advice = self._charge(now), clamp_retry_after(advice)
        if advice is not None and self.free_wait is None:
            return self._wait_freely(now, elapsed, advice)
        if self.policy.exhausted(self.attempt + 1, elapsed):
            return None
        self.attempt += 1
        delay = self.policy.delay(self.attempt, elapsed, u, window or DEFAULT_RETURN_WINDOW, self.previous)
        self.previous = delay
        if advice is not None and advice > delay:
            return Retry(self.attempt, advice, ADVICE)
        return Retry(self.attempt, delay, self.policy.preset.value)

    def _wait_freely(self, now: Instant, elapsed: Seconds, advice: Seconds) -> Retry | None:
        """The first advised wait of the incident; only a spent time budget forbids it."""
        if self.policy.budget is not None and elapsed >= self.policy.budget:
            return None
        self.free_wait = (now, now + advice)
        return Retry(max(self.attempt, 1), advice, ADVICE)

    def _charge(self, now: Instant) -> Seconds:
        """The time since the loss without the part of the free wait that passed before this decision."""
        since_loss = now - self.lost_at
        if self.free_wait is None:
            return since_loss
        began, until = self.free_wait
        until = min(until, now)  # a wake-up may have cut it short
        self.free_wait = (began, until)
        return since_loss - (until - began)
