"""Draws outage timelines of a population from its profiles: vectorised, in blocks, the same whatever the blocks.

A draw is addressed by seed, replication, segment, the participant's number in it (or its group's), process, purpose and
incident, so a further segment or a later horizon moves no earlier draw. Pure: arrays in, arrays out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from resilience.errors import require
from resilience.units import Seconds

from ..random_arrays import Keys, fold, inner_uniforms, keys_of, uniforms
from .mix import NetworkMix, Segment
from .profile import (
    GilbertElliott,
    LengthDistribution,
    Lognormal,
    NetworkProfile,
    Once,
    OutageProcess,
    Poisson,
    SharedFate,
)
from .timelines import Floats, Ints, OutageKind, OutageTimelines, merged, ranges

MAX_HORIZON_S: Seconds = 7 * 86_400.0

_BLOCK = 1 << 16
"""Participants that are drawn together: few enough for their arrays to stay in a processor's cache."""


class _Draw(NamedTuple):
    """What every draw of one timeline shares."""

    seed: int
    replication: int
    horizon: Seconds


class _Strikes(NamedTuple):
    """Outages of entities (participants or groups), one a row: ``which`` entity, its ``incident`` number, the rest.

    ``group``: the number of the group that shares it, -1 for an outage of one participant.
    """

    which: Ints
    incident: Ints
    start: Floats
    length: Floats
    kind: npt.NDArray[np.uint8]
    group: Ints


class Cause(NamedTuple):
    """The physical event of an outage: an ``incident`` of a ``process`` in a ``group``; -1 for participants' own ones.

    ``process``: its place among the processes of the segment's profiles, in their order.
    """

    process: int
    group: int
    incident: int


_INCIDENT_BITS, _GROUP_BITS = 20, 32
OWN_GROUP = -1


def cause_of(code: int) -> Cause:
    """The event that a number of :attr:`~sim.profiles.timelines.OutageTimelines.cause` of :func:`sample` stands for."""
    group = (code >> _INCIDENT_BITS) & ((1 << _GROUP_BITS) - 1)
    return Cause(code >> (_INCIDENT_BITS + _GROUP_BITS), group - 1, code & ((1 << _INCIDENT_BITS) - 1))


def _codes(process: int, strikes: _Strikes) -> Ints:
    """One number for each physical event; the participants' own outages of a process share one."""
    shared = strikes.group != OWN_GROUP
    own = np.int64(process) << (_INCIDENT_BITS + _GROUP_BITS)
    return own + np.where(shared, ((strikes.group + 1) << _INCIDENT_BITS) + strikes.incident, 0)


def sample(  # noqa: PLR0913 - a part of a population is asked for by keyword
    mix: NetworkMix,
    horizon: Seconds,
    *,
    seed: int,
    replication: int = 0,
    first: int = 0,
    past: int | None = None,
    block: int = _BLOCK,
) -> OutageTimelines:
    """The outages of the participants from ``first`` to before ``past`` (all by default).

    An outage begins before ``horizon`` (seconds, at most seven days) and may end after it; :func:`cause_of` tells what
    its cause is. Raises
    :class:`~resilience.errors.ConfigError` for a horizon that is too long.
    """
    require(0 < horizon <= MAX_HORIZON_S, "horizon", horizon, f"must be above 0 and at most {MAX_HORIZON_S:g} s")
    past = mix.participants if past is None else past
    draw = _Draw(seed, replication, horizon)
    blocks = [
        _sample_block(segment, low, min(low + block, end), draw)
        for segment, begin, end in mix.ranges(first, past)
        for low in range(begin, end, block)
    ]
    return OutageTimelines.concatenate(blocks)


def _sample_block(segment: Segment, low: int, high: int, draw: _Draw) -> OutageTimelines:
    """Members ``low`` to before ``high`` of one segment."""
    numbers = np.arange(low, high)
    keys = keys_of(draw.seed, draw.replication, segment.name, last=numbers)
    parts = [
        _of_members(segment, label, process, numbers, keys, draw) for label, process in processes_of(segment.profiles)
    ]
    causes = np.concatenate([_codes(number, part) for number, part in enumerate(parts)])
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    which, _, start, length, kind, _ = columns
    return merged(high - low, which, start, start + length, kind, cause=causes)


def processes_of(profiles: Sequence[NetworkProfile]) -> list[tuple[str, OutageProcess]]:
    """Every process of these profiles with its name, in the order that causes count them."""
    return [(f"{each.name}/{name}", process) for each in profiles for name, process in each.outages.items()]


def _of_members(  # noqa: PLR0913, PLR0917 - a process among these participants
    segment: Segment, label: str, process: OutageProcess, numbers: Ints, keys: Keys, draw: _Draw
) -> _Strikes:
    own = fold(keys, label)
    if process.shared is None:
        return _strikes(process, own, np.zeros(len(own)), draw.horizon)
    groups, index = _groups(process.shared, numbers, own)
    scope = () if process.shared.members is None else (segment.name,)
    group_keys = keys_of(draw.seed, draw.replication, *scope, label, "group", last=groups)
    strikes = _strikes(process, group_keys, groups.astype(np.float64), draw.horizon)
    return _spread(process, strikes._replace(group=groups[strikes.which]), index, own)


def _groups(shared: SharedFate, numbers: Ints, own: Keys) -> tuple[Ints, Ints]:
    """The numbers of the groups that these participants are in, and the position of each participant's among them."""
    if shared.members is not None:
        group = numbers // int(shared.members.value)
    else:
        count = shared.groups.value if shared.groups is not None else 1.0
        group = np.floor(uniforms(own, "group") * count).astype(np.int64)
    groups, index = np.unique(group, return_inverse=True)
    return groups, index


def _spread(process: OutageProcess, strikes: _Strikes, index: Ints, own: Keys) -> _Strikes:
    """Outages of groups as those of their members: of the struck ones, each with its own delays."""
    order = np.argsort(index, kind="stable")
    sizes = np.bincount(index)
    begins = np.cumsum(sizes) - sizes
    counts = sizes[strikes.which]
    rows = np.repeat(np.arange(len(counts)), counts)
    member = order[ranges(begins[strikes.which], counts)]
    struck = process.shared.struck.value if process.shared is not None else 1.0
    if struck < 1.0:
        hit = uniforms(own[member], "struck", strikes.incident[rows]) < struck
        rows, member = rows[hit], member[hit]
    incident = strikes.incident[rows]
    length = strikes.length[rows]
    for i, delay in enumerate(process.member_delays):
        keys = fold(own[member], f"delay {i}")
        delayed = uniforms(keys, "whether", incident) < delay.share.value
        length = length + delayed * quantile(delay, inner_uniforms(keys, "length", incident))
    return _Strikes(member, incident, strikes.start[rows], length, strikes.kind[rows], strikes.group[rows])


# arrivals -------------------------------------------------------------------------------------------------------------


def _strikes(process: OutageProcess, keys: Keys, position: Floats, horizon: Seconds) -> _Strikes:
    """Every outage of the entities with these keys; ``position``: their place in a wave."""
    none = np.zeros(0, np.int64)
    empty = _Strikes(none, none, none.astype(float), none.astype(float), none.astype(np.uint8), none)
    rounds = _rounds(process, keys, position, horizon)
    return _Strikes(*(np.concatenate(column) for column in zip(empty, *rounds, strict=True)))


def _rounds(process: OutageProcess, keys: Keys, position: Floats, horizon: Seconds) -> Iterator[_Strikes]:
    """The first outage of every entity that has one before the horizon, then the second ones, and so on."""
    which = np.arange(len(keys))
    if isinstance(process.arrivals, Once):
        start = process.arrivals.at.value * horizon + process.arrivals.step.value * position
        which = which[start < horizon]
        yield _round(process, keys, which, 0, start[which])
        return
    mean, waits = _mean_gap(process.arrivals)
    gap_keys, start = fold(keys, "gap"), np.zeros(len(keys))
    for incident in itertools.count():
        start = start - mean * np.log1p(-uniforms(gap_keys, incident))
        early = start < horizon
        which, start, gap_keys = which[early], start[early], gap_keys[early]
        if not len(which):
            return
        strikes = _round(process, keys, which, incident, start)
        yield strikes
        if waits:
            start = start + strikes.length


def _mean_gap(arrivals: Poisson | GilbertElliott) -> tuple[Seconds, bool]:
    """The mean of the exponential gaps, and whether they count from an end (else from begin to begin)."""
    if isinstance(arrivals, GilbertElliott):
        return arrivals.mean_gap, True
    rate = arrivals.per_hour.value
    return (3600.0 / rate if rate else math.inf), False


def _round(process: OutageProcess, keys: Keys, which: Ints, incident: int, start: Floats) -> _Strikes:
    mine = keys[which]
    length = _lengths(process, mine, incident)
    own = np.full(len(which), OWN_GROUP)
    return _Strikes(which, np.full(len(which), incident), start, length, _kinds(process, mine, incident), own)


def _kinds(process: OutageProcess, keys: Keys, incident: int) -> npt.NDArray[np.uint8]:
    if process.silent is None:
        return np.full(len(keys), process.kind, np.uint8)
    silent = uniforms(keys, "kind", incident) < process.silent.value
    return np.where(silent, OutageKind.SILENT, OutageKind.REFUSED).astype(np.uint8)


# lengths --------------------------------------------------------------------------------------------------------------


def _lengths(process: OutageProcess, keys: Keys, incident: int) -> Floats:
    u = inner_uniforms(keys, "length", incident)
    if isinstance(process.arrivals, GilbertElliott):
        length = -process.arrivals.burst.value * np.log1p(-u)
    else:
        length = _mixture(process.lengths, u, keys, incident)
    return np.clip(length, process.least.value, process.most.value)


def _mixture(parts: Sequence[LengthDistribution], u: Floats, keys: Keys, incident: int) -> Floats:
    """Lengths from a mixture: a part by its share, then the inverse of its distribution function at ``u``."""
    if len(parts) == 1:
        return quantile(parts[0], u)
    bounds = np.cumsum([part.share.value for part in parts])[:-1]
    chosen = np.searchsorted(bounds, uniforms(keys, "part", incident), side="right")
    length = np.empty(len(u))
    for i, part in enumerate(parts):
        mine = chosen == i
        length[mine] = quantile(part, u[mine])
    return length


def quantile(distribution: LengthDistribution, u: Floats) -> Floats:
    """The inverse of the distribution function, seconds; ``u`` in (0, 1), of any shape."""
    if isinstance(distribution, Lognormal):
        scaled: Floats = distribution.median.value * np.exp(distribution.sigma.value * ndtri(u))
        return scaled
    shortest, longest = distribution.shortest.value, distribution.longest.value
    return shortest + (longest - shortest) * u
