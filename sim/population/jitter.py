"""By how much the trips of a dial deviate from the one-way latency: the same numbers for arrays and for one client.

Each trip of a message is uniformly up to the path's jitter longer or shorter. Of a return, the three trips up to the
arrival of its request deviate, then that of the response and that of the resume; the welcome takes the mean. A draw is
addressed by participant, incident and dial. Pings and probes take the mean: see ``docs/population.md``. Pure.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from resilience.random_streams import uniform
from resilience.units import Seconds

from ..profiles.timelines import on_grid
from ..random_arrays import Keys, keys_under, uniforms
from .rules import tick

Floats = npt.NDArray[np.float64]
T = TypeVar("T", float, Floats)

_REQUEST_TRIPS = 3
_TRIPS = 5


class Deviations(NamedTuple):
    """Seconds on the grid, of one dial: of the request's arrival, of the response, of the resume."""

    request: Seconds
    response: Seconds
    resume: Seconds


NO_DEVIATIONS = Deviations(0.0, 0.0, 0.0)
"""Those of a path without jitter."""


def deviations(seed: int, incident: int, dial: int, jitter: Seconds) -> Deviations:
    """Those of one client's dial of this number in its incident."""
    if not jitter:
        return NO_DEVIATIONS
    u = [uniform(seed, "path", incident, dial * _TRIPS + trip) for trip in range(_TRIPS)]
    return Deviations(
        tick(_of(sum(u[:_REQUEST_TRIPS]), _REQUEST_TRIPS, jitter)),
        *(tick(_of(each, 1, jitter)) for each in u[_REQUEST_TRIPS:]),
    )


class DialDeviations:
    """The same of many clients' dials, each drawn when it is asked for. All arrays have one shape."""

    def __init__(
        self, seeds: Keys, incident: npt.NDArray[np.int32], dials: npt.NDArray[np.integer], jitter: Floats
    ) -> None:
        self._keys, self._jitter = keys_under(seeds, "path", incident), jitter
        self._first = dials.astype(np.int64) * _TRIPS

    @property
    def request(self) -> Floats:
        """Of the arrivals of the requests."""
        u = [uniforms(self._keys, self._first + trip) for trip in range(_REQUEST_TRIPS)]
        return on_grid(_of((u[0] + u[1]) + u[2], _REQUEST_TRIPS, self._jitter))

    @property
    def response(self) -> Floats:
        """Of the responses."""
        return self._one(_REQUEST_TRIPS)

    @property
    def resume(self) -> Floats:
        """Of the resumes."""
        return self._one(_REQUEST_TRIPS + 1)

    def _one(self, trip: int) -> Floats:
        return on_grid(_of(uniforms(self._keys, self._first + trip), 1, self._jitter))


def _of(total: T, trips: int, jitter: T) -> T:
    """The deviation of so many trips together, whose uniform numbers have this sum."""
    return jitter * (2.0 * total - trips)
