"""How late the event loop runs its timers: the one number that shows whether a server of one loop is overloaded.

A periodic timer on the loop; knows nothing of quizzes. Lag is measured on the run's clock, not on the loop's, because
some loops stop their own clock while they are busy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

SAMPLE_INTERVAL_S: Seconds = 0.25
RETENTION_S: Seconds = 60.0


class LoopLag:
    """Wakes every ``every`` seconds and reports its delay to ``listen``, in seconds; keeps the last minute."""

    def __init__(self, clock: RunClock, listen: Callable[[Seconds], None], every: Seconds = SAMPLE_INTERVAL_S) -> None:
        self._clock, self._listen, self._every = clock, listen, every
        self._kept: deque[Seconds] = deque(maxlen=max(1, round(RETENTION_S / every)))
        self._handle: asyncio.TimerHandle | None = None
        self._due: Instant = 0.0

    def start(self) -> None:
        """Start, on the running loop."""
        self._due = self._clock.now() + self._every
        self._handle = asyncio.get_running_loop().call_later(self._every, self._wake)

    def stop(self) -> None:
        """Stop."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def worst(self, within: Seconds = RETENTION_S) -> Seconds:
        """The largest lag of the last ``within`` seconds; 0 before the first."""
        return max(islice(reversed(self._kept), round(within / self._every)), default=0.0)

    def current(self) -> Seconds:
        """How late the loop runs now: the smaller of its last two delays.

        A single late wake-up is a stall that is over when it is noticed; an overloaded loop is late again at the next.
        """
        latest = list(islice(reversed(self._kept), 2))
        return min(latest) if len(latest) == 2 else 0.0  # noqa: PLR2004 - two of two

    def _wake(self) -> None:
        lag = max(self._clock.now() - self._due, 0.0)
        self._kept.append(lag)
        self._listen(lag)
        self.start()
