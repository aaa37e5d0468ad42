"""A process of the model that can be suspended: what reaches it meanwhile waits, in order. Knows neither end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Action = Callable[[], None]


class ModelProcess:
    """A process that runs, or stands still between :meth:`suspend` and :meth:`resume`.

    Its owner asks :attr:`is_suspended` before it acts on what has arrived, and hands over what has to wait. When the
    process continues, what has arrived is read first, then come the timers that have passed.
    """

    __slots__ = ("_arrived", "_timers", "is_suspended")

    def __init__(self) -> None:
        self.is_suspended = False
        self._arrived: deque[Action] = deque()
        self._timers: dict[object, Action] = {}

    def suspend(self) -> None:
        """Stand still from now on."""
        self.is_suspended = True

    def resume(self) -> None:
        """Do all that has waited, at this moment; nothing happens to a process that runs."""
        self.is_suspended = False
        while self._arrived and not self.is_suspended:
            self._arrived.popleft()()
        timers, self._timers = self._timers, {}
        for ring in timers.values():
            ring()

    def die(self) -> None:
        """Forget all that waits: it reaches nothing any more. A process that takes the place of this one runs."""
        self.is_suspended = False
        self._arrived.clear()
        self._timers.clear()

    def read_later(self, action: Action) -> None:
        """Do this when the process continues, after all that arrived before."""
        self._arrived.append(action)

    def ring_later(self, owner: object, ring: Action) -> None:
        """A timer of ``owner`` has passed; it rings once when the process continues, whatever its deadline was."""
        self._timers[owner] = ring
