"""What a population's run looks like from second to second: who is connected, comes back, gives up, knocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from reports.gauge_charts import GAUGE_SCHEMA
from resilience.units import Instant

from .population import EpisodeOutcome, Episodes, Floats
from .shards import Departures, Load
from .station import StationAnswer

_ADMITTED = [StationAnswer.SERVED, StationAnswer.UNFINISHED]
"""Requests that are in the queue until a known instant."""


def gauges_of(
    episodes: Episodes, loads: Sequence[Load], departures: Sequence[Departures], participants: int, duration: Instant
) -> pa.Table:
    """The table of :data:`reports.gauge_charts.GAUGE_SCHEMA`; ``loads`` and ``departures`` are of all servers."""
    seconds = math.ceil(duration)
    lost = _per_second(episodes.detected, seconds)
    returned = _per_second(episodes.ended[episodes.outcome == EpisodeOutcome.RESTORED], seconds)
    gave_up = _per_second(episodes.ended[episodes.outcome == EpisodeOutcome.GAVE_UP], seconds)
    load = np.sum(loads, axis=0)
    columns = {
        "second": np.arange(seconds),
        "connected": participants + np.cumsum(returned - lost),
        "lost": lost,
        "returned": returned,
        "gave_up": gave_up,
        **{answer.name.lower(): load[:, answer] for answer in StationAnswer},
        "queued": queued(load, np.sum(departures, axis=0)),
    }
    return pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()}, schema=GAUGE_SCHEMA)


def admitted(load: Load) -> Load:
    """How many requests entered a queue in each second: int64 (seconds,)."""
    return np.asarray(load[:, _ADMITTED].sum(axis=1))


def queued(load: Load, departures: Departures) -> Load:
    """How many requests are in a queue or at a processor at the end of each second: int64 (seconds,)."""
    return np.asarray(np.cumsum(admitted(load) - departures))


def _per_second(instants: Floats, seconds: int) -> np.ndarray:
    """How many of these instants are in each second; NaN is in none."""
    known = instants[np.isfinite(instants)]
    return np.bincount(known.astype(np.int64), minlength=seconds)
