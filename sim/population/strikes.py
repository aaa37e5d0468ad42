"""The outages that the faults of an experiment cause in a population. Pure.

A fault of the server strikes every server of the population. One that ends in order closes its connections over its
drain window, in the order of their participants, as :class:`resilience.protocol.server.drain.Drain` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from resilience.experiment.faults import (
    BlackholeFault,
    ClientSuspendFault,
    CutFault,
    RefuseFault,
    ResetFault,
    ServerDrainFault,
    ServerKillFault,
)
from resilience.experiment.primitives import FaultTarget
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment
from resilience.units import Instant, Seconds

from ..profiles.schedule import strikes_of
from ..profiles.timelines import OutageKind, merged
from .causes import NamedOutages
from .population import Floats, Population, Rows
from .rules import tick

_KINDS: Mapping[type, OutageKind] = {
    CutFault: OutageKind.REFUSED,
    ResetFault: OutageKind.REFUSED,
    RefuseFault: OutageKind.REFUSED,
    BlackholeFault: OutageKind.TORN,
    ServerKillFault: OutageKind.REFUSED,
    ServerDrainFault: OutageKind.DEPLOY,
    ClientSuspendFault: OutageKind.SUSPENDED,
}
"""Every fault that the lane can carry, as the outage that it is."""


class _Hits(NamedTuple):
    """One fault window: ``who`` of all participants it strikes, and from when each of them."""

    window: FaultWindow
    who: Rows
    start: Floats

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
    """These outages and those of the experiment's faults; where they overlap they are one."""
    hits = [*_of_links(experiment, seed), *_of_servers(experiment, seed)]
    if not hits:
        return outages
    timelines, names = outages
    sizes = [len(hit.who) for hit in hits]
    cause = np.zeros(0, np.int32) if timelines.cause is None else timelines.cause
    own = np.arange(len(names), len(names) + len(hits), dtype=np.int32)
    ends = np.repeat([_usable_at(experiment, hit.window) for hit in hits], sizes)
    kinds = np.repeat(np.array([hit.kind for hit in hits], np.uint8), sizes)
    together = merged(
        timelines.participants,
        np.concatenate([timelines.owner, *(hit.who for hit in hits)]),
        np.concatenate([timelines.start, *(hit.start for hit in hits)]),
        np.concatenate([timelines.end, ends]),
        np.concatenate([timelines.kind, kinds]),
        cause=np.concatenate([cause, np.repeat(own, sizes)]),
    )
    return NamedOutages(together, (*names, *(hit.window.fault_id for hit in hits)))


def process_ends(experiment: Experiment, seed: int) -> tuple[Instant, ...]:
    """When a process of each server ends, in order: killed, or drained of its last connection."""
    ends = {
        tick(window.starts_at + (drain_s(experiment) if isinstance(window.fault, ServerDrainFault) else 0.0))
        for window in experiment.windows(seed)
        if window.fault.target is FaultTarget.SERVER
    }
    return tuple(sorted(ends))


def planned_ends(experiment: Experiment, seed: int, population: Population) -> Floats:
    """The end of each outage as the schedule says it: a server is started then, and listens ``costs.startup`` later."""
    timelines = population.timelines
    ends = timelines.end
    for window in experiment.windows(seed):
        if window.fault.target is FaultTarget.SERVER and timelines.cause is not None:
            mine = timelines.cause == population.causes.index(window.fault_id)
            mine &= timelines.end == tick(_usable_at(experiment, window))
            ends = np.where(mine, tick(window.ends_at), ends)
    return ends


def _usable_at(experiment: Experiment, window: FaultWindow) -> Instant:
    """When links can be used again after a window; a new server process has to start first."""
    return window.ends_at + (experiment.costs.startup if window.fault.target is FaultTarget.SERVER else 0.0)


def _of_links(experiment: Experiment, seed: int) -> Iterator[_Hits]:
    for window, _, who in strikes_of(experiment, seed):
        yield _Hits(window, who, np.full(len(who), window.starts_at))


def _of_servers(experiment: Experiment, seed: int) -> Iterator[_Hits]:
    who = np.arange(experiment.clients)
    place = (who // experiment.population.servers) / clients_each(experiment)
    for window in experiment.windows(seed):
        if window.fault.target is FaultTarget.SERVER:
            drains = isinstance(window.fault, ServerDrainFault)
            yield _Hits(window, who, window.starts_at + place * (drain_s(experiment) if drains else 0.0))
