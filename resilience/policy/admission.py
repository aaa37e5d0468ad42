"""Who may join now, and who comes back when. Pure arithmetic on the caller's clock.

Joins are work. The queue is bounded by seconds of it: whoever would wait longer is sent away at once with a slot of its
own to return in, and slots are given out no faster than the server can work. So a herd ten times too large is served at
full speed, nobody waits in vain, and nobody has to guess when to try again.
"""

from __future__ import annotations

from resilience.units import Instant, Seconds

SLOT_SHARE = 0.9
"""Slots are handed out at this share of the capacity, so that those who return meet a queue that shrinks."""

MAX_SLOT_S: Seconds = 60.0
"""Nobody is sent away for longer: by then the picture has changed."""


class AdmissionController:
    """The queue of one server: ``capacity`` joins a second, at most ``limit`` seconds of them waiting."""

    def __init__(self, capacity: float, limit: Seconds) -> None:
        self._cost: Seconds = 1.0 / capacity
        self._limit = limit
        self._busy_until: Instant = float("-inf")
        self._slots_until: Instant = float("-inf")

    def backlog(self, now: Instant, lag: Seconds = 0.0) -> Seconds:
        """Seconds of work ahead of a join that arrives now; ``lag`` is how late the server's own loop runs."""
        return max(self._busy_until - now, lag, 0.0)

    def try_admit(self, now: Instant, lag: Seconds = 0.0) -> Seconds | None:
        """``None``: come in. Else the seconds after which to come again; no two get the same slot."""
        backlog = self.backlog(now, lag)
        if backlog <= self._limit:
            self._busy_until = max(self._busy_until, now) + self._cost
            return None
        free = now + backlog
        if self._slots_until > now + MAX_SLOT_S:
            return MAX_SLOT_S
        self._slots_until = max(self._slots_until, free) + self._cost / SLOT_SHARE
        return self._slots_until - now
