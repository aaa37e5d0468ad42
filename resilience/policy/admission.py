"""Which joins are admitted now, and when the others are to come back. Pure arithmetic on the caller's clock.

Joins are work. The queue is bounded by seconds of it: a join that would wait longer is rejected with a return slot, and
slots are given out no faster than the server can work. So a herd ten times too large is served at full speed, and no
client has to guess when to try again.

A server that runs late admits no join either, for as long as it does. Lateness is no queue: it may be over at once, so
it puts a return slot off by ``limit`` at most, and a stall that has passed by nothing.
"""

from __future__ import annotations

from resilience.policy.backoff import MAX_RETRY_AFTER_S
from resilience.units import Instant, Seconds

SLOT_SHARE = 0.9
"""Slots are given out at this share of the capacity, so that the queue shrinks while clients return."""

MAX_SLOT_S: Seconds = MAX_RETRY_AFTER_S
"""The longest wait for a slot: the longest advice that a client follows. A client that shortened its wait would return
at the same time as all others which did.
"""


class AdmissionController:
    """The join queue of one server: ``capacity`` joins per second, at most ``limit`` seconds of work waiting."""

    def __init__(self, capacity: float, limit: Seconds) -> None:
        self._cost: Seconds = 1.0 / capacity
        self._limit = limit
        self._busy_until: Instant = float("-inf")
        self._slots_until: Instant = float("-inf")

    def backlog(self, now: Instant) -> Seconds:
        """Return the seconds of admitted work ahead of a join that arrives now."""
        return max(self._busy_until - now, 0.0)

    def try_admit(self, now: Instant, lag: Seconds = 0.0) -> Seconds | None:
        """Return ``None`` for an admitted join, else the seconds until its return slot, at most :data:`MAX_SLOT_S`.

        ``lag`` is how late the server runs at this moment, in seconds; above the limit every join is rejected.
        Slots are ``1 / (SLOT_SHARE * capacity)`` apart. A crowd with more joins than there are slots within the longest
        wait is spread over that wait again, and as often as needed: in any second there are then as few returns as any
        assignment can have, and slots of one round are still apart.
        The population lane restates this for crowds (``sim/population/crowds.py``) and changes with it.
        """
        backlog = self.backlog(now)
        if max(backlog, lag) <= self._limit:
            self._busy_until = max(self._busy_until, now) + self._cost
            return None
        wait = max(backlog, min(lag, self._limit))
        step, free = self._cost / SLOT_SHARE, now + min(wait, MAX_SLOT_S)
        slot = max(self._slots_until, free) + step
        if slot > now + MAX_SLOT_S:
            slot = min(free + step, now + MAX_SLOT_S)
        self._slots_until = slot
        return slot - now
