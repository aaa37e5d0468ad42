"""Proxy and server as two stations in a row, and the service times with which they come nearest to what was seen. Pure.

A proxy passes the dials of its link one after another; the server serves what arrives in order of arrival: handshakes,
and what clients ask for over the connections that were opened. What is seen of a dial is when it began, when it was
open, and when the server had served its first message. In a herd both stations have a queue, and only all these times
together tell how much of the time between two of them belongs to which station.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from resilience.units import Seconds

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

LEAST_SERVICE_S: Seconds = 1e-7
_STARTS = (0.1, 0.5, 0.9)
"""Where the search begins: so large a part of the time of an unhindered dial is the proxy's."""
_SEARCH = {"xatol": 1e-3, "fatol": 1e-9, "maxfev": 300.0}
_ROUNDS = 2
"""How often the search begins, each time where it ended before: a simplex may shrink off the way down."""
_STEP = 0.3
"""How far the first steps of the search go, as logarithms."""
_SMALL = 0.05
"""No service time is searched from less than this part of an unhindered dial's time: the search moves by factors."""
_FAR = np.log(4.0)
"""How far from the value of the run that of a block is looked for, as a logarithm."""
_CHANGE, _FELT = 0.25, 0.03
"""A change of a service time by this part must move the times that were seen by this part of it, on average."""
_CLOSELY = 10.0
"""Pieces of other work that are done within so many times their service time of one another belong together."""
_UNHINDERED = 0.1
"""Dials that take no longer than this part of them hardly met any other one."""


class Dials(NamedTuple):
    """The dials of one run that a proxy accepted, in the order of ``accepted``. One entry each; seconds.

    ``link``: number of its link. ``upgraded``: when the server had completed the handshake, ``taken``: when it had
    served the first message; NaN where that was not seen. ``kind``: number of what the first message asks for, -1 for
    nothing.
    """

    accepted: Floats
    link: Numbers
    upgraded: Floats
    taken: Floats
    kind: Numbers

    def unseen(self, where: NDArray[np.bool_]) -> Dials:
        """The same dials, of which those ``where`` say nothing."""
        return self._replace(upgraded=np.where(where, np.nan, self.upgraded), taken=np.where(where, np.nan, self.taken))


class Surroundings(NamedTuple):
    """What is known around both stations, seconds.

    ``there``: from proxy to server. ``around``: from the server to the client and back. ``done``: when the server was
    done with each piece of other work, each of which takes ``other``.
    """

    there: Seconds
    around: Seconds
    done: Floats
    other: Seconds

    @property
    def arrivals(self) -> Floats:
        """When each piece of other work arrived: what follows closely on another piece arrived with it."""
        alone = self.done - self.other
        begins = np.diff(self.done, prepend=-np.inf) > _CLOSELY * self.other
        return alone[np.maximum.accumulate(np.where(begins, np.arange(len(alone)), 0))] if len(alone) else alone


class SeenRun(NamedTuple):
    """One run: its dials, and what is around both stations."""

    dials: Dials
    around: Surroundings

    def only(self, where: NDArray[np.bool_]) -> SeenRun:
        """The same run, of which the dials ``where`` alone say something."""
        return self._replace(dials=self.dials.unseen(~where))


class Service(NamedTuple):
    """Service times, seconds: of the proxy, of a handshake, and of each kind of first message."""

    relay: Seconds
    handshake: Seconds
    messages: tuple[Seconds, ...]

    @property
    def values(self) -> tuple[Seconds, ...]:
        """All of them in this order."""
        return (self.relay, self.handshake, *self.messages)


def predict(dials: Dials, around: Surroundings, service: Service) -> tuple[Floats, Floats]:
    """When both stations complete each dial's handshake, and its first message; NaN of one that asks for nothing."""
    arrivals, order = _arrivals(dials, around.there, service.relay)
    upgraded, taken = [np.nan] * len(order), [np.nan] * len(order)
    kinds, handshake, way = dials.kind.tolist(), service.handshake, around.around
    others = around.arrivals.tolist()
    asked: deque[tuple[float, int]] = deque()  # by arrival: clients ask in the order of their handshakes
    free, i, j, last = -np.inf, 0, 0, len(order)
    while i < last or asked:
        new = arrivals[order[i]] if i < last else np.inf
        old = asked[0][0] if asked else np.inf
        while j < len(others) and others[j] <= new and others[j] <= old:
            free, j = max(free, others[j]) + around.other, j + 1
        if new <= old:
            dial, i = order[i], i + 1
            upgraded[dial] = free = max(free, new) + handshake
            if kinds[dial] >= 0:
                asked.append((free + way, dial))
        else:
            dial = asked.popleft()[1]
            taken[dial] = free = max(free, old) + service.messages[kinds[dial]]
    return np.array(upgraded), np.array(taken)


def _arrivals(dials: Dials, there: Seconds, relay: Seconds) -> tuple[list[float], list[int]]:
    """When each dial arrives at the server, and the dials in the order of their arrival."""
    busy: dict[int, float] = {}
    found = []
    for at, link in zip(dials.accepted.tolist(), dials.link.tolist(), strict=True):
        busy[link] = free = max(busy.get(link, -np.inf), at) + relay
        found.append(free + there)
    return found, sorted(range(len(found)), key=found.__getitem__)


def distance(runs: Sequence[SeenRun], service: Service) -> Seconds:
    """How far the two stations are from what was seen, on average; infinite if nothing was.

    Compared are when each handshake was complete, and how long each first message then took: the former alone shows
    that a herd was slower than others, the latter in whose queue it waited.
    """
    total, count = 0.0, 0
    for dials, around in runs:
        upgraded, taken = predict(dials, around, service)
        waits = (taken - upgraded) - (dials.taken - dials.upgraded)
        apart = np.concatenate([upgraded - dials.upgraded, waits])
        apart = np.abs(apart[np.isfinite(apart)])
        total, count = total + float(apart.sum()), count + len(apart)
    return total / count if count else np.inf


def nearest(runs: Sequence[SeenRun], kinds: int, start: Service | None = None) -> Service | None:
    """The service times with which both stations are nearest to what was seen; None where nothing was.

    ``kinds``: how many kinds of first messages there are. ``start``: where to begin the search, if that is known.
    """
    starts = _starts(runs, kinds) if start is None else [start]
    found = [_search(runs, each, _ROUNDS if start is None else 1) for each in starts]
    return min(found, key=lambda each: distance(runs, each), default=None)


def _search(runs: Sequence[SeenRun], start: Service, rounds: int) -> Service:
    def cost(logs: Floats) -> float:
        return distance(runs, _service(np.exp(logs)))

    logs = np.log(start.values)
    for _ in range(rounds):
        simplex = np.vstack([logs, logs + _STEP * np.eye(len(logs))])
        logs = minimize(cost, logs, method="Nelder-Mead", options={**_SEARCH, "initial_simplex": simplex}).x
    return _service(np.exp(logs))


def nearest_alone(runs: Sequence[SeenRun], service: Service, number: int) -> Seconds | None:
    """The same for the ``number``-th service time alone, the others as they are; None if it moves hardly any time."""

    def cost(log: float) -> float:
        values = list(service.values)
        values[number] = float(np.exp(log))
        return distance(runs, _service(values))

    middle = float(np.log(service.values[number]))
    found = minimize_scalar(cost, bounds=(middle - _FAR, middle + _FAR), method="bounded", options={"xatol": 1e-3})
    best, log = min((float(found.fun), float(found.x)), (cost(middle), middle))
    value = float(np.exp(log))
    moved = cost(log + float(np.log1p(_CHANGE))) - best
    return value if moved > _FELT * _CHANGE * value else None


def tells_apart(runs: Sequence[SeenRun], service: Service) -> bool:
    """Whether what was seen tells proxy and handshake apart: dials that meet no other one tell only their sum."""
    moved, best = _CHANGE * (service.relay + service.handshake) / 2, distance(runs, service)
    others = [service._replace(relay=service.relay + by, handshake=service.handshake - by) for by in (moved, -moved)]
    possible = [each for each in others if min(each.relay, each.handshake) > 0]
    return all(distance(runs, each) - best > _FELT * moved for each in possible)


def _starts(runs: Sequence[SeenRun], kinds: int) -> list[Service]:
    whole = _unhindered([dials.upgraded - dials.accepted - around.there for dials, around in runs])
    if np.isnan(whole):
        return []
    asked = [(dials.taken - dials.upgraded - around.around, dials.kind) for dials, around in runs]
    messages = [_unhindered([times[kind == number] for times, kind in asked]) for number in range(kinds)]
    filled = tuple(_SMALL * whole if np.isnan(each) else max(each, _SMALL * whole) for each in messages)
    return [Service(whole * share, whole * (1 - share), filled) for share in _STARTS]


def _unhindered(parts: Sequence[Floats]) -> Seconds:
    times = np.concatenate(parts)
    known = times[np.isfinite(times)]
    return max(float(np.quantile(known, _UNHINDERED)), LEAST_SERVICE_S) if len(known) else np.nan


def _service(values: Sequence[float] | Floats) -> Service:
    relay, handshake, *messages = (max(float(each), LEAST_SERVICE_S) for each in values)
    return Service(relay, handshake, tuple(messages))
