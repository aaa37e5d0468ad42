"""Detects that the computer was suspended, by comparing a clock that stops meanwhile with one that does not.

A process that was only stopped finds its deadlines long past. After a suspension they are not past, because the
monotonic clock stopped too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

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
    """Calls each function that was added within a second after a suspension, in a turn of its own.

    One timer and one reading of the clocks serve all clients of an event loop: see :func:`suspend_detector`.
    """

    def __init__(self, asleep: Callable[[], Seconds] = suspended) -> None:
        self._asleep = asleep
        self._woken: dict[Callable[[], None], None] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._seen: Seconds = 0.0

    def add(self, woke: Callable[[], None]) -> None:
        """Call ``woke`` from now on; nothing changes if it was added before."""
        self._woken[woke] = None
        if self._handle is None:
            self._seen = self._asleep()
            self._arm()

    def remove(self, woke: Callable[[], None]) -> None:
        """Call ``woke`` no longer; the timer stops with the last one."""
        self._woken.pop(woke, None)
        if not self._woken and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check)

    def _check(self) -> None:
        self._arm()
        asleep = self._asleep()
        slept, self._seen = asleep - self._seen, asleep
        if slept >= MIN_SUSPEND_S:
            loop = asyncio.get_running_loop()
            for woke in self._woken:
                loop.call_soon(woke)


_detectors: WeakKeyDictionary[asyncio.AbstractEventLoop, SuspendDetector] = WeakKeyDictionary()


def suspend_detector() -> SuspendDetector:
    """The detector of the event loop that runs."""
    return _detectors.setdefault(asyncio.get_running_loop(), SuspendDetector())
