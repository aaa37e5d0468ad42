"""What a population's run looks like from second to second: who is connected, comes back, gives up, knocks.

One row is one second of the run. All columns are int64 of that shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from resilience.units import Instant

from .population import EpisodeOutcome, Episodes, Floats
from .shards import Load
from .station import StationAnswer

GAUGES = "gauges.parquet"


def gauges_of(episodes: Episodes, loads: Sequence[Load], participants: int, duration: Instant) -> pa.Table:
    """``second``; ``connected`` clients at its end; how many ``lost`` their server in it, ``returned`` or ``gave_up``.

    ``served``, ``rejected``, ``dropped``: requests at all servers by their answer.
    """
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
    }
    return pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})


def _per_second(instants: Floats, seconds: int) -> np.ndarray:
    """How many of these instants are in each second; NaN is in none."""
    known = instants[np.isfinite(instants)]
    return np.bincount(known.astype(np.int64), minlength=seconds)
