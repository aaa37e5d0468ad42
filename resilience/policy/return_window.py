"""The return window: how long a herd of a given size should take to return. Pure arithmetic.

The server announces it at join and with heartbeats, because only the server knows the number of clients and its own
joins per second. The client draws its first delay over ``spread_s``; later delays climb from ``step_s`` to ``cap_s``.
"""

from __future__ import annotations

import functools

import msgspec

from resilience.units import Seconds

MIN_SPREAD_S: Seconds = 0.05
MAX_SPREAD_S: Seconds = 5.0
MIN_CAP_S: Seconds = 3.0
MAX_CAP_S: Seconds = 60.0
CAP_PER_LOAD = 1.5
STEPS_IN_CAP = 10.0


class ReturnWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's announcement, all in seconds: spread of the first attempt, first step and cap of the ladder."""

    spread_s: Seconds
    step_s: Seconds
    cap_s: Seconds


@functools.lru_cache(maxsize=1024)
def return_window(population: int, joins_per_s: float, longest: Seconds = MAX_SPREAD_S) -> ReturnWindow:
    """The window for ``population`` clients and a capacity of ``joins_per_s``; ``longest``: the largest spread.

    ``load = population / joins_per_s`` is the time that the server needs to accept every client once. The cap follows
    from the requirement that after a long outage clients come no faster than admission control gives out slots
    (``SLOT_SHARE``, 0.9 of the capacity): equal jitter waits 0.75 cap on average, so
    ``population / (0.75 cap) <= 0.9 joins_per_s`` gives ``cap >= 1.48 load``, rounded up to 1.5. A longer cap makes
    clients wait for a server that has room. 300 clients and 3,000 joins/s get 0.1 s, 0.3 s and 3 s; a million and
    50,000 joins/s get 5 s, 3 s and 30 s.
    """
    load = population / joins_per_s
    cap = min(max(CAP_PER_LOAD * load, MIN_CAP_S), MAX_CAP_S)
    return ReturnWindow(min(max(load, MIN_SPREAD_S), longest), cap / STEPS_IN_CAP, cap)


DEFAULT_RETURN_WINDOW = ReturnWindow(spread_s=1.0, step_s=0.3, cap_s=MIN_CAP_S)
"""The window of a client that has received no announcement yet: one second of spread, the ladder of a small event."""
