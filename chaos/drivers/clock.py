"""A driver's monotonic clock against the runner's: how far they are apart, how surely that is known, who lies. Pure.

A greeting that was sent at ``sent`` and answered at ``received`` of the runner's clock, with the driver's time ``t`` in
the answer, says that the offset lies between ``sent - t`` and ``received - t``. Several of them narrow it down.

Time never runs backwards in the answers to greetings, nor in what is reported of one client. Of two clients the later
event may be reported first: they may live in processes of their own, as the tabs of a browser do.
"""

from __future__ import annotations

from typing import NamedTuple

from resilience.units import Instant, Seconds

from .messages import BrokenLineError

MAX_UNCERTAINTY_S: Seconds = 0.05
"""A clock that is not known better than this measures no outage."""

TOLERANCE_S: Seconds = 0.05
"""What a driver's times may be off, beyond the uncertainty: it reads the clock a moment before or after."""

MAX_DRIFT = 0.001
"""Seconds per second that two monotonic clocks of one machine may drift apart: four times what is ever corrected."""

DISORDER_S: Seconds = 0.01
"""How far time may run backwards between two lines of one client: threads read the clock and then wait to write."""

_GREETINGS = ""
"""Whose lines the answers to greetings are."""


class Greeting(NamedTuple):
    """One greeting and its answer."""

    sent: Instant
    t: float
    received: Instant


class DriverClock:
    """Made of the first greetings; all instants are of the runner's monotonic clock, seconds."""

    def __init__(self) -> None:
        self._low, self._high = float("-inf"), float("inf")
        self._measured_at: Instant | None = None
        self._latest: dict[str, float] = {}

    @property
    def offset(self) -> Seconds:
        """What to add to the driver's time."""
        return (self._low + self._high) / 2

    @property
    def uncertainty(self) -> Seconds:
        """By how much the offset may be wrong, either way."""
        return (self._high - self._low) / 2

    def measure(self, greeting: Greeting) -> None:
        """Narrow the offset down; BrokenLineError when no offset explains all greetings."""
        self._keep_order(_GREETINGS, greeting.t)
        low = max(self._low, greeting.sent - greeting.t)
        high = min(self._high, greeting.received - greeting.t)
        if low - high > TOLERANCE_S:
            raise BrokenLineError(
                f"t = {greeting.t}: its clock moved by {low - high:.3f} s between two answers to hello"
            )
        self._low, self._high, self._measured_at = min(low, high), max(low, high), greeting.received

    def compare(self, greeting: Greeting) -> None:
        """Check that a later answer agrees with the offset; BrokenLineError when it does not."""
        self._keep_order(_GREETINGS, greeting.t)
        early, late = greeting.sent - greeting.t, greeting.received - greeting.t
        allowed = self._allowed(greeting.received)
        off = max(early - self._high, self._low - late)
        if off > allowed:
            rule = f"at most {allowed:.3f} s can be a clock's drift"
            raise BrokenLineError(f"t = {greeting.t}: its clock moved by {off:.3f} s since the start; {rule}")

    def instant(self, client: str, t: float, received: Instant) -> Instant:
        """When something happened to a client, at ``t`` of the driver's clock; ``received`` is when its line came.

        Raises BrokenLineError when it lies before what was reported of that client earlier, or after its own line.
        """
        self._keep_order(client, t)
        ahead = t + self._low - received
        if ahead > self._allowed(received):
            raise BrokenLineError(f"t = {t}: {ahead:.3f} s after its line came; t is the time when it happened")
        return min(t + self.offset, received)

    def _allowed(self, now: Instant) -> Seconds:
        return TOLERANCE_S + MAX_DRIFT * (now - (self._measured_at or now))

    def _keep_order(self, whose: str, t: float) -> None:
        latest = self._latest.get(whose, t)
        if t < latest - DISORDER_S:
            before = f"a line of {whose} before it" if whose else "an answer to hello before it"
            rule = "a monotonic clock never runs backwards"
            raise BrokenLineError(f"t = {t}: {latest - t:.3f} s earlier than {before}; {rule}")
        self._latest[whose] = max(latest, t)
