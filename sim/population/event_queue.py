"""What happens next in the explicit tier, in order of time; at one instant in the order of participants.

That second rule is the one of the batch tier, so both tiers let two requests of one instant in, in the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

from resilience.units import Instant


class Entry(NamedTuple):
    """One call to make: ``act(at, argument)``. ``is_request``: it arrives at the server's station."""

    at: Instant
    who: int
    number: int
    act: Callable[[Instant, Any], None]
    argument: Any
    is_request: bool


class EventQueue:
    """Calls to make. ``done`` counts those made."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._number = self.done = 0

    def add(
        self,
        at: Instant,
        who: int,
        act: Callable[[Instant, Any], None],
        argument: object = None,
        *,
        is_request: bool = False,
    ) -> None:
        """Call ``act`` at ``at`` on behalf of participant ``who``."""
        self._number += 1
        heapq.heappush(self._heap, Entry(at, who, self._number, act, argument, is_request))

    def peek(self, end: Instant) -> Entry | None:
        """The next call, if it is before ``end``."""
        return self._heap[0] if self._heap and self._heap[0].at < end else None

    def step(self) -> None:
        """Make the next call."""
        entry = heapq.heappop(self._heap)
        self.done += 1
        entry.act(entry.at, entry.argument)
