"""Unfolds faults into windows: repetition, Poisson, flapping, rolling waves, jitter, shares of a cohort. Pure.

Each combinator is a function from start offsets to start offsets; :func:`windows_of` composes them. A fault that
strikes only a share of a cohort splits the cohort's clients over several links, so that every fault acts on whole links
(:func:`links_of`). The same seed gives the same windows, victims and links in every lane.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from resilience.experiment.faults import AnyFault
from resilience.experiment.primitives import FaultTarget
from resilience.random_streams import uniform
from resilience.units import Instant, Seconds

SERVER = "server"
"""Where a fault of the server strikes; no cohort has this name."""


class FaultWindow(msgspec.Struct, frozen=True):
    """One strike of a fault at one place: the unit that is injected, confirmed by a canary, and counted as one event.

    ``fault_id`` is ``"<index in the file>.<strike>:<kind>@<place>"``, ``place`` a cohort or :data:`SERVER`; ``links``
    are those that it acts on (none for a fault of the server). Times are seconds after the run's start.
    """

    fault_id: str
    fault: AnyFault
    place: str
    links: tuple[str, ...]
    starts_at: Instant
    ends_at: Instant


class LinkGroup(msgspec.Struct, frozen=True):
    """The clients of one cohort that share one link; ``indices`` count from 1 within the cohort."""

    name: str
    cohort: str
    indices: tuple[int, ...]


# combinators ----------------------------------------------------------------------------------------------------------


def repeat(offsets: Iterable[Seconds], times: int, every: Seconds | None) -> list[Seconds]:
    """Each offset ``times`` times, ``every`` so many seconds."""
    return [offset + i * (every or 0.0) for offset in offsets for i in range(times)]


def poisson(start: Instant, until: Instant, mean_gap: Seconds, draws: Iterable[float]) -> list[Instant]:
    """The strikes of a Poisson process between two instants: gaps are exponential, of ``mean_gap`` seconds on average.

    Each gap needs one draw, uniform in [0, 1): its inverse distribution function is ``-mean_gap * log(1 - u)``.
    """
    gaps = (-mean_gap * math.log1p(-u) for u in draws)
    return list(itertools.takewhile(lambda at: at <= until, itertools.accumulate(gaps, initial=start)))[1:]


def jitter(offsets: Iterable[Seconds], width: Seconds, draws: Iterable[float]) -> list[Seconds]:
    """Each offset moved later by its own draw (uniform in [0, 1)) of ``width`` seconds."""
    return [offset + width * u for offset, u in zip(offsets, draws, strict=False)]


def roll(offsets: Iterable[Seconds], position: int, step: Seconds) -> list[Seconds]:
    """The offsets as they are for the cohort at this ``position`` of a wave that takes ``step`` seconds a cohort."""
    return [offset + position * step for offset in offsets]


def strikes(index: int, fault: AnyFault, position: int, seed: int) -> list[Instant]:
    """When fault number ``index`` strikes the ``position``-th of its places, in the order of repetition and flap."""
    planned = _repetitions(index, fault, seed)
    draws = (uniform(seed, "fault", index, number) if fault.jitter else 0.0 for number in range(len(planned)))
    repetitions = jitter(planned, fault.jitter, draws)
    return roll(repeat(repetitions, fault.flaps, fault.flap_every), position, fault.rolling)


def _repetitions(index: int, fault: AnyFault, seed: int) -> list[Instant]:
    if fault.mean_gap is None or fault.until is None:
        return repeat([fault.at], fault.times, fault.every)
    draws = (uniform(seed, "gap", index, number) for number in itertools.count())
    return poisson(fault.at, fault.until, fault.mean_gap, draws)


def last_end(fault: AnyFault) -> Instant:
    """By when every window of the fault is over, whatever the seed."""
    last = fault.at + (fault.times - 1) * (fault.every or 0.0) if fault.until is None else fault.until
    flaps = (fault.flaps - 1) * (fault.flap_every or 0.0)
    return last + fault.jitter + flaps + max(len(fault.cohorts) - 1, 0) * fault.rolling + fault.length


# victims and links ----------------------------------------------------------------------------------------------------


def victims(index: int, fault: AnyFault, cohort: str, clients: int, seed: int) -> bytes:
    """Which clients of a cohort the fault strikes: the ``share`` of them with the smallest draws, at least one.

    1 at the index of a client that is struck, else 0; indices count from 1.
    """
    return _victims(index, max(1, round(fault.share * clients)), cohort, clients, seed)


@lru_cache(maxsize=16)
def _victims(index: int, struck: int, cohort: str, clients: int, seed: int) -> bytes:
    """Kept, since windows, links and reports of one run ask for the same ones and a large cohort takes seconds.

    One byte a client, since the cohorts of several seeds are kept and one may be of a million.
    """
    ranked = sorted(range(1, clients + 1), key=lambda i: (uniform(seed, "share", index, cohort, i), i))
    marks = bytearray(clients + 1)
    for client in ranked[:struck]:
        marks[client] = 1
    return bytes(marks)


def links_of(faults: Sequence[AnyFault], cohorts: Iterable[tuple[str, int]], seed: int) -> tuple[LinkGroup, ...]:
    """Every link of a run, cohort by cohort (name and number of clients): one, or one for each set of shared fates.

    The link of a cohort has its name; the parts of a cohort that is split are numbered, ``"<cohort>.1"`` and so on.
    """
    return tuple(group for name, clients in cohorts for group in _split(faults, name, clients, seed))


def _split(faults: Sequence[AnyFault], cohort: str, clients: int, seed: int) -> list[LinkGroup]:
    partial = [
        victims(i, fault, cohort, clients, seed)
        for i, fault in enumerate(faults)
        if fault.share < 1.0 and cohort in fault.cohorts
    ]
    if not partial:
        return [LinkGroup(cohort, cohort, tuple(range(1, clients + 1)))]
    fates: dict[tuple[int, ...], list[int]] = {}
    for client in range(1, clients + 1):
        fates.setdefault(tuple(struck[client] for struck in partial), []).append(client)
    if len(fates) == 1:
        return [LinkGroup(cohort, cohort, tuple(range(1, clients + 1)))]
    return [LinkGroup(f"{cohort}.{n}", cohort, tuple(indices)) for n, indices in enumerate(fates.values(), 1)]


# windows --------------------------------------------------------------------------------------------------------------


def windows_of(faults: Sequence[AnyFault], cohorts: Sequence[tuple[str, int]], seed: int) -> tuple[FaultWindow, ...]:
    """Every window in the order of its start; of those that start together, by fault id."""
    links = links_of(faults, cohorts, seed)
    sizes = dict(cohorts)
    windows = [window for i, fault in enumerate(faults) for window in _windows(i, fault, links, sizes, seed)]
    return tuple(sorted(windows, key=lambda window: (window.starts_at, window.fault_id)))


def _windows(
    index: int, fault: AnyFault, links: Sequence[LinkGroup], sizes: dict[str, int], seed: int
) -> Iterable[FaultWindow]:
    places = (SERVER,) if fault.target is FaultTarget.SERVER else fault.cohorts
    for position, place in enumerate(places):
        struck = _links_struck(index, fault, place, links, sizes, seed)
        for n, start in enumerate(strikes(index, fault, position, seed)):
            yield FaultWindow(f"{index}.{n}:{fault.kind}@{place}", fault, place, struck, start, start + fault.length)


def _links_struck(  # noqa: PLR0913, PLR0917 - a fault at a place, among all links
    index: int, fault: AnyFault, place: str, links: Sequence[LinkGroup], sizes: dict[str, int], seed: int
) -> tuple[str, ...]:
    mine = [link for link in links if link.cohort == place]
    if fault.share < 1.0 and mine:
        struck = victims(index, fault, place, sizes[place], seed)
        mine = [link for link in mine if struck[link.indices[0]]]
    return tuple(link.name for link in mine)
