"""Whoever has not spoken in time: one timer for all who are waited for, as they all get the same patience."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from resilience.runtime import DeadlineTimer, RunClock
from resilience.units import Instant, Seconds


class TimeoutQueue:
    """Calls ``on_timeout`` with each key that was not cancelled ``timeout`` seconds after its start."""

    def __init__(self, clock: RunClock, timeout: Seconds, on_timeout: Callable[[int], None]) -> None:
        self._clock, self._timeout, self._on_timeout = clock, timeout, on_timeout
        self._queue: deque[tuple[Instant, int]] = deque()
        self._waiting: dict[int, Instant] = {}
        self._timer: DeadlineTimer | None = None

    def start(self, key: int) -> None:
        """Wait for this key, from now on."""
        deadline = self._waiting[key] = self._clock.now() + self._timeout
        self._queue.append((deadline, key))
        if self._timer is None:
            self._timer = DeadlineTimer(self._clock, self._on_deadline)
        self._timer.set_deadline(self._queue[0][0])

    def cancel(self, key: int) -> None:
        """It spoke, or it is gone."""
        self._waiting.pop(key, None)

    def stop(self) -> None:
        """Wait for nobody any more."""
        if self._timer is not None:
            self._timer.stop()
        self._waiting.clear()

    def _on_deadline(self) -> None:
        assert self._timer is not None  # noqa: S101 - it called
        now = self._timer.fired()
        while self._queue and self._queue[0][0] <= now:
            deadline, key = self._queue.popleft()
            if self._waiting.get(key) == deadline:
                del self._waiting[key]
                self._on_timeout(key)
        while self._queue and self._waiting.get(self._queue[0][1]) != self._queue[0][0]:
            self._queue.popleft()
        if self._queue:
            self._timer.set_deadline(self._queue[0][0])
