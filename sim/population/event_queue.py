"""What happens next in the explicit tier, in order of time; at one instant in the order of participants.

That second rule is the one of the batch tier, so both tiers let two requests of one instant in, in the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from resilience.units import Instant

Act = Callable[[Instant, Any], None]


class EventQueue:
    """Calls to make. ``done`` counts those made."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, int, Act, Any, bool]] = []  # the third item orders calls of one instant
        self._number = self.done = 0

    def add(self, at: Instant, who: int, act: Act, argument: object = None, *, is_request: bool = False) -> None:
        """Call ``act(at, argument)`` on behalf of participant ``who``. ``is_request``: it arrives at the station."""
        self._number += 1
        heapq.heappush(self._heap, (at, who, self._number, act, argument, is_request))

    def run_to_request(self, end: Instant) -> tuple[Instant, int] | None:
        """Make all calls before ``end`` up to the next request; returns its instant and participant, if there is one.

        That request is the next call of :meth:`step`.
        """
        heap = self._heap
        while heap and heap[0][0] < end:
            if heap[0][5]:
                return heap[0][:2]
            self.step()
        return None

    def step(self) -> None:
        """Make the next call."""
        at, _, _, act, argument, _ = heapq.heappop(self._heap)
        self.done += 1
        act(at, argument)
