"""The outages that the faults of an experiment cause in a population. Pure.

A fault of the server strikes every server of the population. One that ends in order closes its connections over its
drain window, in the order of their participants, as :class:`resilience.protocol.server.drain.Drain` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from resilience.experiment.faults import (
    REPLACES_SERVER,
    BlackholeFault,
    ClientSuspendFault,
    CutFault,
    RefuseFault,
    ResetFault,
    ServerDrainFault,
    ServerKillFault,
    ServerSuspendFault,
)
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment
from resilience.units import Instant, Seconds

from ..profiles.schedule import strikes_of
from ..profiles.timelines import OutageKind, OutageTimelines, merged, on_grid
from .causes import NamedOutages
from .population import Floats, Population, Rows
from .rules import tick
from .standstill import Standstills, around_outages

_KINDS: Mapping[type, OutageKind] = {
    CutFault: OutageKind.REFUSED,
    ResetFault: OutageKind.REFUSED,
    RefuseFault: OutageKind.REFUSED,
    BlackholeFault: OutageKind.TORN,
    ServerKillFault: OutageKind.REFUSED,
    ServerDrainFault: OutageKind.DEPLOY,
    ClientSuspendFault: OutageKind.SUSPENDED,
    ServerSuspendFault: OutageKind.FROZEN,
}
"""Every fault that the lane can carry, as the outage that it is."""


class _Hits(NamedTuple):
    """One fault window: ``who`` of all participants it strikes, from when each of them, and to when each or all."""

    window: FaultWindow
    who: Rows
    start: Floats
    end: Floats | Instant

    @property
    def kind(self) -> OutageKind:
        return _KINDS[type(self.window.fault)]


def clients_each(experiment: Experiment) -> int:
    """The most clients on one server."""
    return -(-experiment.clients // experiment.population.servers)


def drain_s(experiment: Experiment) -> Seconds:
    """Over how many seconds one server closes its connections."""
    return experiment.server.drain.window(clients_each(experiment))


def with_faults(experiment: Experiment, seed: int, outages: NamedOutages) -> NamedOutages:
    """These outages and those of the experiment's faults; where they overlap they are one.

    A standstill of the server is cut around the others: see :func:`~sim.population.standstill.around_outages`.
    """
    outages = _with_hits(outages, [*_of_links(experiment, seed), *_of_servers(experiment, seed)])
    standstills = _standstills_around(outages.timelines, experiment, seed)
    return _with_hits(outages, list(standstills))


def _with_hits(outages: NamedOutages, hits: Sequence[_Hits]) -> NamedOutages:
    """These outages and the hits."""
    if not hits:
        return outages
    timelines, names = outages
    sizes = [len(hit.who) for hit in hits]
    cause = np.zeros(0, np.int32) if timelines.cause is None else timelines.cause
    own = np.arange(len(names), len(names) + len(hits), dtype=np.int32)
    together = merged(
        timelines.participants,
        np.concatenate([timelines.owner, *(hit.who for hit in hits)]),
        np.concatenate([timelines.start, *(hit.start for hit in hits)]),
        np.concatenate([timelines.end, *(np.broadcast_to(hit.end, len(hit.who)) for hit in hits)]),
        np.concatenate([timelines.kind, np.repeat(np.array([hit.kind for hit in hits], np.uint8), sizes)]),
        cause=np.concatenate([cause, np.repeat(own, sizes)]),
    )
    return NamedOutages(together, (*names, *(hit.window.fault_id for hit in hits)))


def standstills_of(experiment: Experiment, seed: int) -> Standstills:
    """When the process of each server stands still: none before it is there, nor once it has to end.

    One that stands still while it closes its connections continues no later than its successor is to start.
    """
    found = list[tuple[Instant, Instant]]()
    windows = _of_kind(experiment, seed, ServerSuspendFault)
    replaced = _of_kind(experiment, seed, ServerKillFault, ServerDrainFault)
    told = [tick(window.starts_at) for window in replaced]
    gone = [(tick(_ends_at(experiment, window)), tick(window.ends_at)) for window in replaced]
    for window in windows:
        start = tick(window.starts_at)
        if any(first <= start < last for first, last in gone):
            continue
        limits = [each for each in (*told, *(last for _, last in gone)) if each > start]
        end = min([tick(window.ends_at), *limits])
        if found and start <= found[-1][1]:
            start, end = found[-1][0], max(found.pop()[1], end)
        found.append((start, end))
    return Standstills(found)


def _of_kind(experiment: Experiment, seed: int, *kinds: type) -> list[FaultWindow]:
    """The windows of these faults, in order."""
    return [window for window in experiment.windows(seed) if isinstance(window.fault, kinds)]


def _ends_at(experiment: Experiment, window: FaultWindow) -> Instant:
    """When a process ends that runs all the time: killed, or drained of its last connection."""
    return window.starts_at + (drain_s(experiment) if isinstance(window.fault, ServerDrainFault) else 0.0)


def process_ends(experiment: Experiment, seed: int) -> tuple[Instant, ...]:
    """When a process of each server ends, in order; one that stands still meanwhile, when it continues."""
    standstills = standstills_of(experiment, seed)
    replaced = _of_kind(experiment, seed, ServerKillFault, ServerDrainFault)
    return tuple(sorted({standstills.reads_at(tick(_ends_at(experiment, window))) for window in replaced}))


def planned_ends(experiment: Experiment, seed: int, population: Population) -> Floats:
    """The end of each outage as the schedule says it: a server is started then, and listens ``costs.startup`` later."""
    timelines, standstills = population.timelines, Standstills(population.standstills)
    ends = timelines.end
    for window in experiment.windows(seed):
        if window.fault.kind in REPLACES_SERVER and timelines.cause is not None:
            mine = timelines.cause == population.causes.index(window.fault_id)
            mine &= timelines.end == tick(_usable_at(experiment, window, standstills))
            ends = np.where(mine, tick(window.ends_at), ends)
    return ends


def _usable_at(experiment: Experiment, window: FaultWindow, standstills: Standstills) -> Instant:
    """When links can be used again after a window; a new server process has to start first, after the end of its own.

    ``standstills``: those of each server.
    """
    if window.fault.kind not in REPLACES_SERVER:
        return window.ends_at
    return max(window.ends_at, standstills.reads_at(tick(_ends_at(experiment, window)))) + experiment.costs.startup


def _of_links(experiment: Experiment, seed: int) -> Iterator[_Hits]:
    for window, _, who in strikes_of(experiment, seed):
        yield _Hits(window, who, np.full(len(who), window.starts_at), window.ends_at)


def _of_servers(experiment: Experiment, seed: int) -> Iterator[_Hits]:
    """The ends of server processes."""
    who = np.arange(experiment.clients)
    place = (who // experiment.population.servers) / clients_each(experiment)
    standstills = standstills_of(experiment, seed)
    for window in _of_kind(experiment, seed, ServerKillFault, ServerDrainFault):
        closes = on_grid(window.starts_at + place * (_ends_at(experiment, window) - window.starts_at))
        yield _Hits(window, who, standstills.read_instants(closes), _usable_at(experiment, window, standstills))


def _standstills_around(timelines: OutageTimelines, experiment: Experiment, seed: int) -> Iterator[_Hits]:
    """The standstills of servers, as far as these outages leave room for them."""
    standstills = standstills_of(experiment, seed)
    for window in _of_kind(experiment, seed, ServerSuspendFault):
        start = tick(window.starts_at)
        end = standstills.reads_at(start)
        if end > start:
            yield _Hits(window, *around_outages(timelines, start, end))
