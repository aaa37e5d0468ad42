"""When to close which connection while the server stops, and with what Retry-After. Pure.

Clients start their backoff from its first step after an orderly close, so the server spreads their return: closes
are spread evenly over a window, and each client comes back as long after the window as it was closed after its start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from resilience.units import Instant, Seconds

DRAIN_TICK_S: Seconds = 0.05
"""How often a driver asks which closes are due."""

MAX_COMMIT_WAIT_S: Seconds = 5.0
"""The longest time that a close waits for a commit."""


class DrainSettings(msgspec.Struct, frozen=True):
    """``drain_window``: the least window, seconds; ``join_capacity``: joins per second; ``restart_pause``: seconds."""

    drain_window: Seconds
    join_capacity: float
    restart_pause: Seconds

    def window(self, connections: int) -> Seconds:
        """Return the seconds over which to close: at least those that the joins of all would take; 0 for none."""
        return max(self.drain_window, connections / self.join_capacity) if connections else 0.0


class Drain:
    """One orderly stop, begun at ``now``: the i-th of n connections is due i/n of the window later.

    A connection that waits for a commit is closed once it is durable, or after :data:`MAX_COMMIT_WAIT_S`.
    """

    def __init__(self, keys: Sequence[int], settings: DrainSettings, now: Instant) -> None:
        self.window = settings.window(len(keys))
        self._began, self._pause = now, settings.restart_pause
        self._due = deque((i / len(keys) * self.window, key) for i, key in enumerate(keys))
        self._waiting: list[tuple[Seconds, int]] = []

    @property
    def retry_after(self) -> Seconds:
        """The Retry-After of handshakes that are rejected while the server drains."""
        return self.window + self._pause

    @property
    def is_over(self) -> bool:
        """Whether every close was returned by :meth:`due`."""
        return not (self._due or self._waiting)

    def due(self, now: Instant, is_waiting: Callable[[int], bool]) -> list[tuple[int, Seconds]]:
        """Return the connections to close now, each once, with the seconds after which its client is to come back.

        ``is_waiting`` tells whether a connection waits for a commit; it is asked only about connections that are due.
        """
        elapsed = now - self._began
        candidates, self._waiting = self._waiting, []
        while self._due and self._due[0][0] <= elapsed:
            candidates.append(self._due.popleft())
        closes = []
        for share, key in candidates:
            if elapsed <= share + MAX_COMMIT_WAIT_S and is_waiting(key):
                self._waiting.append((share, key))
            else:
                closes.append((key, max(self.retry_after - elapsed + share, 0.0)))
        return closes
