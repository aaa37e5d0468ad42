"""The quality of each participant's working path, as arrays: ``[path]`` of network profiles for a lane. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from resilience.errors import require

from .mix import NetworkMix, Segment
from .profile import PathQuality
from .timelines import Floats, on_grid


class PathArrays(NamedTuple):
    """One row for each participant, float64 of shape (n,), of a working path.

    ``latency``: one way, seconds on the grid, half the median round trip. ``jitter``: by how much one way differs at
    most, seconds on the grid. ``loss``: share of packets. ``loss_burst``: mean length of a run of lost ones, packets.
    """

    latency: Floats
    jitter: Floats
    loss: Floats
    loss_burst: Floats


def paths_of(mix: NetworkMix, first: int = 0, past: int | None = None) -> PathArrays:
    """The paths of the participants from ``first`` to before ``past`` (all by default).

    Of profiles laid over one another the first one that has a path says it. Raises
    :class:`~resilience.errors.ConfigError` for a segment of which none has one, such as an incident by itself.
    """
    ranges = list(mix.ranges(first, mix.participants if past is None else past))
    counts = [high - low for _, low, high in ranges]
    rows = [_row(segment) for segment, _, _ in ranges]
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    latency, jitter, loss, loss_burst = (np.repeat(column, counts) for column in columns)
    return PathArrays(on_grid(latency), on_grid(jitter), loss, loss_burst)


def _row(segment: Segment) -> tuple[float, float, float, float]:
    path = _path_of(segment)
    return path.round_trip.value / 2, path.jitter.value, path.loss.value, path.loss_burst.value


def _path_of(segment: Segment) -> PathQuality:
    names = "+".join(profile.name for profile in segment.profiles)
    rule = f"none of these profiles has a path: lay them over a link, such as home-wifi+{names}"
    paths = [profile.path for profile in segment.profiles if profile.path is not None]
    require(bool(paths), f"segments.{segment.name}.profiles", names, rule)
    return paths[0]
