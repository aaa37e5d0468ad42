"""Requests on their way to a server, in order of their arrival: rows of one table, bucketed by window, then by bin.

The order is (instant, participant), as in the queue of the explicit tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resilience.units import Instant, Seconds

from ..profiles.timelines import TICKS_PER_S
from .population import Floats
from .rules import WINDOW_S

REQUEST = np.dtype(
    [
        ("at", np.float64),
        ("who", np.int32),
        ("outage", np.int32),
        ("dialled", np.float64),
        ("previous", np.float64),
        ("lost", np.float64),
        ("waited", np.float64),
        ("grace_ends", np.float64),
        ("expires", np.float64),
        ("attempt", np.int16),
        ("dials", np.int16),
        ("packet", np.int8),
    ]
)
"""One request: its arrival, its participant, the outage that it returns from, when its dial began, and the incident:
the last delay, the loss, the length of the free wait (-1 before), the server's deadlines, the count of attempts and
dials, and which first packet of the dial was answered."""

Requests = npt.NDArray[Any]

_WHO_BITS = 24
MOST_PARTICIPANTS = 1 << _WHO_BITS
"""So many of one server have an order: an instant, at most ``LATEST_S``, takes the other 40 bits of a key."""

BIN_S: Seconds = 0.5
"""Requests that come up while their window is carried out are sorted within such a bin."""


class RequestQueue:
    """All requests that are known. Only those of the window that was opened last can be taken."""

    def __init__(self) -> None:
        self._later: dict[int, list[Requests]] = {}
        self._window = -1
        self._sorted, self._at, self._next = np.empty(0, REQUEST), np.empty(0), 0
        self._bins: dict[int, list[Requests]] = {}

    def put(self, rows: Requests) -> None:
        """Add requests, in any order; none may be earlier than one that was taken."""
        if not len(rows):
            return
        windows = np.floor(rows["at"] / WINDOW_S).astype(np.int64)
        for window, part in _split(windows, rows):
            if window <= self._window:
                for number, few in _split(np.floor(part["at"] / BIN_S).astype(np.int64), part):
                    self._bins.setdefault(number, []).append(few)
            else:
                self._later.setdefault(window, []).append(part)

    def open(self, window: int) -> None:
        """Begin with the requests of this window; those of the former one must have been taken."""
        self._window = window
        parts = self._later.pop(window, [])
        self._sorted = _in_order(joined(parts))
        self._at, self._next, self._bins = np.ascontiguousarray(self._sorted["at"]), 0, {}

    def before(self, at: Instant, who: int) -> Requests:
        """Take a stretch of requests in order, all of them before ``(at, who)``; empty only if there is none."""
        number = min(self._bins) if self._bins else None
        first = self._at[self._next] if self._next < len(self._at) else np.inf
        if number is None or first < number * BIN_S:
            limit, least = (at, who) if number is None or at <= number * BIN_S else (number * BIN_S, -1)
            past = _count_before(self._sorted, self._at, limit, least, self._next)
            taken, self._next = self._sorted[self._next : past], past
            return taken
        if number * BIN_S > at:
            return np.empty(0, REQUEST)
        return self._from_bin(number, at, who)

    def _from_bin(self, number: int, at: Instant, who: int) -> Requests:
        past = self._next + int(np.searchsorted(self._at[self._next :], (number + 1) * BIN_S))
        rows = _in_order(joined([self._sorted[self._next : past], *self._bins.pop(number)]))
        self._next = past
        count = _count_before(rows, rows["at"], at, who, 0)
        if count < len(rows):
            self._bins[number] = [rows[count:]]
        return rows[:count]


def joined(parts: Sequence[Requests]) -> Requests:
    """The rows of all parts; ``np.concatenate`` compares the fields of structured types one by one first."""
    rows, first = np.empty(sum(map(len, parts)), REQUEST), 0
    for part in parts:
        rows[first : first + len(part)] = part
        first += len(part)
    return rows


def _in_order(rows: Requests) -> Requests:
    """By instant, then by participant: both fit into one 64-bit key, and no two requests share one."""
    key = (rows["at"] * TICKS_PER_S).astype(np.uint64) << np.uint64(_WHO_BITS)
    return rows[np.argsort(key | rows["who"].astype(np.uint64))]


def _count_before(rows: Requests, instants: Floats, at: Instant, who: int, first: int) -> int:
    """How many rows, in order, are before ``(at, who)``; the first ``first`` of them are."""
    past = first + int(np.searchsorted(instants[first:], at))
    while past < len(rows) and instants[past] == at and rows["who"][past] < who:
        past += 1
    return past


def _split(numbers: npt.NDArray[np.int64], rows: Requests) -> list[tuple[int, Requests]]:
    """The rows of each number."""
    if numbers[0] == numbers[-1] and (numbers == numbers[0]).all():
        return [(int(numbers[0]), rows)]
    order = np.argsort(numbers, kind="stable")
    numbers, rows = numbers[order], rows[order]
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    firsts = np.concatenate(([0], cuts))
    return [(int(numbers[first]), part) for first, part in zip(firsts, np.split(rows, cuts), strict=True)]
