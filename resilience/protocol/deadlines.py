"""A queue of the deadlines of everything a machine waits for: the single scheduler behind all heartbeats. Pure.

A lazy heap: a deadline that moved later is not touched until the old one comes up, so a sign of life costs nothing.
"""

from __future__ import annotations

import heapq

from resilience.units import Instant


class DeadlineQueue:
    """Keys with one deadline each. Equal deadlines come out in order of their keys."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, str]] = []
        self._at: dict[str, Instant] = {}

    def schedule(self, key: str, at: Instant) -> None:
        """Set the key's deadline, replacing its former one."""
        if self._at.get(key) != at:
            self._at[key] = at
            heapq.heappush(self._heap, (at, key))

    def cancel(self, key: str) -> None:
        """Remove the key's deadline."""
        self._at.pop(key, None)

    def next_deadline(self) -> Instant | None:
        """The earliest deadline, if there is one."""
        while self._heap:
            at, key = self._heap[0]
            if self._at.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: Instant) -> list[str]:
        """The keys whose deadline has passed, earliest first; each must be scheduled again to come again."""
        keys = []
        while (at := self.next_deadline()) is not None and at <= now:
            key = heapq.heappop(self._heap)[1]
            del self._at[key]
            keys.append(key)
        return keys
