"""Detects that the computer was suspended, by comparing a clock that stops meanwhile with one that does not.

A process that was only stopped finds its deadlines long past. After a suspension they are not past, because the
monotonic clock stopped too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from resilience.units import Seconds

CHECK_INTERVAL_S: Seconds = 1.0
MIN_SUSPEND_S: Seconds = 2.0
"""A shorter suspension costs no connection; two clocks read one after the other differ by far less."""

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def suspended() -> Seconds:
    """Seconds for which this computer has been suspended since boot; 0 where the clocks do not tell."""
    return 0.0 if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK) - time.clock_gettime(time.CLOCK_MONOTONIC)


def elapsed_clock() -> Seconds:
    """Seconds from any origin that pass while this computer is suspended too, where its clocks can tell.

    What is shown as time that is left counts on it: a monotonic clock stands still in a suspension.
    """
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


class SuspendDetector:
    """Calls ``woke`` within a second after a suspension."""

    def __init__(self, woke: Callable[[], None], asleep: Callable[[], Seconds] = suspended) -> None:
        self._woke, self._asleep = woke, asleep
        self._handle: asyncio.TimerHandle | None = None
        self._seen = asleep()

    def start(self) -> None:
        """Start the detector, unless it runs already."""
        if self._handle is None:
            self._arm()

    def stop(self) -> None:
        """Stop the detector."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None

    def _arm(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check)

    def _check(self) -> None:
        self._arm()
        asleep = self._asleep()
        slept, self._seen = asleep - self._seen, asleep
        if slept >= MIN_SUSPEND_S:
            self._woke()
