"""Timeouts for many keys that share one duration, driven by a single timer of the caller. Pure.

All timeouts last equally long, so the queue is in order of deadlines as it stands: starting and cancelling cost O(1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from resilience.policy.failure_detectors import extended
from resilience.units import Instant, Seconds

K = TypeVar("K", bound=Hashable)


class TimeoutQueue(Generic[K]):
    """Keys with one timeout of ``timeout`` seconds each, started at times that do not decrease."""

    def __init__(self, timeout: Seconds) -> None:
        self._timeout = timeout
        self._queue: deque[tuple[Instant, K]] = deque()
        self._deadlines: dict[K, Instant] = {}

    def start(self, key: K, now: Instant) -> None:
        """Start the key's timeout, or start it again."""
        deadline = self._deadlines[key] = now + self._timeout
        self._queue.append((deadline, key))

    def cancel(self, key: K) -> None:
        """Cancel the key's timeout, if it has one."""
        self._deadlines.pop(key, None)

    def next_deadline(self) -> Instant | None:
        """The earliest deadline, if there is one."""
        while self._queue:
            deadline, key = self._queue[0]
            if self._deadlines.get(key) == deadline:
                return deadline
            self._queue.popleft()
        return None

    def due(self, now: Instant) -> list[K]:
        """Remove and return the keys whose timeout has passed, earliest first."""
        keys = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            key = self._queue.popleft()[1]
            del self._deadlines[key]
            keys.append(key)
        return keys

    def extend_by_lag(self, lag: Seconds, now: Instant) -> None:
        """Give every key the ``lag`` seconds back that the caller overslept until ``now``."""
        self._deadlines = {key: extended(at, lag, now, longest=self._timeout) for key, at in self._deadlines.items()}
        self._queue = deque(sorted(((at, key) for key, at in self._deadlines.items()), key=_deadline_of))

    def clear(self) -> None:
        """Cancel every timeout."""
        self._queue.clear()
        self._deadlines.clear()


def _deadline_of(entry: tuple[Instant, object]) -> Instant:
    return entry[0]
