"""What waits at the proxy of a stalled or frozen link, for one direction. Knows times and order; delivers nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from resilience.units import Seconds

from .clock import NEVER, SimEnvironment

T = TypeVar("T")


class WaitingRoom(Generic[T]):
    """Holds items from :meth:`close` to :meth:`open`, and then passes them to ``deliver`` in their order.

    The proxy is half way: an item is at the proxy ``half`` seconds before it arrives. ``stalls`` and ``freezes`` count
    the conditions that hold.
    """

    def __init__(self, clock: SimEnvironment, half: Seconds, deliver: Callable[[T], None]) -> None:
        self._clock, self._half, self._deliver = clock, half, deliver
        self._since, self._last = NEVER, (NEVER, NEVER)
        self._items: list[T] = []
        self.stalls = self.freezes = 0

    @property
    def is_closed(self) -> bool:
        """Whether bytes wait now."""
        return self.stalls + self.freezes > 0

    def show(self) -> None:
        """Act on a change of ``stalls`` or ``freezes``."""
        now = self._clock.now
        if self.is_closed:
            self._since = min(self._since, now)
        elif self._since != NEVER:
            self._last, self._since = (self._since, now), NEVER
            items, self._items = self._items, []
            self._clock.at(now + self._half, lambda _: self._release(items))

    def takes(self, item: T, *, is_close: bool, same: Callable[[T], bool]) -> bool:
        """Whether an item that arrives now has to wait; then it is kept.

        A close waits for a stall only behind items of the ``same`` connection.
        """
        at_proxy = self._clock.now - self._half
        if at_proxy >= self._since:
            if is_close and not self.freezes and not any(same(other) for other in self._items):
                return False
            self._items.append(item)
            return True
        since, until = self._last
        if since <= at_proxy < until and not is_close:
            self._clock.at(until + self._half, lambda _: self._deliver(item))
            return True
        return False

    def _release(self, items: list[T]) -> None:
        for item in items:
            self._deliver(item)
