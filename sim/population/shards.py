"""A population on several servers: participant ``i`` is the one of server ``i % servers``; a shard is one server.

Servers share nothing, so each is carried out alone, here or in a worker process, and the result is the same.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from resilience.errors import HarnessError

from .batch import run_in_batches
from .population import Episodes, Population
from .rules import PopulationRules

Load = npt.NDArray[np.int64]
"""Requests at one server by second and answer, as :class:`~sim.population.station.JoinStation` counts them."""

Departures = npt.NDArray[np.int64]
"""Requests that left the queue of one server, by second."""

_Part = tuple[Episodes, Load, Departures]


@dataclass(frozen=True, eq=False)
class PopulationResult:
    """The episodes, in the order of the population's timelines, and what each server had to do."""

    episodes: Episodes
    loads: tuple[Load, ...]
    departures: tuple[Departures, ...]


def run_population(
    population: Population, rules: PopulationRules, servers: int = 1, workers: int = 1
) -> PopulationResult:
    """Carry out every server, in this process or in so many others; the result does not depend on their number.

    Raises :class:`~resilience.errors.HarnessError` when a worker process ends before its work.
    """
    carry = partial(_carry_shard, rules=rules)
    if servers == 1 or population.size <= 1:
        episodes, load, departures = carry(population)
        return PopulationResult(episodes, (load,), (departures,))
    members = [np.arange(server, population.size, servers) for server in range(min(servers, population.size))]
    shards = map(population.take, members)  # each is made when its turn comes
    parts = map(carry, shards) if workers == 1 else _in_processes(carry, shards, min(workers, len(members)))
    episodes = Episodes.empty(population.timelines.outages)
    loads, departed = [], []
    for who, (part, load, departures) in zip(members, parts, strict=True):
        episodes.put(population.timelines.rows_of(who), part)
        loads.append(load)
        departed.append(departures)
    return PopulationResult(episodes, tuple(loads), tuple(departed))


def _carry_shard(shard: Population, rules: PopulationRules) -> _Part:
    result = run_in_batches(shard, rules)
    return result.episodes, result.station.load, result.departures


def _in_processes(carry: partial[_Part], shards: Iterator[Population], workers: int) -> Iterator[_Part]:
    """The parts in order; no more shards are under way than there are workers."""
    # A forked copy of a process with threads can hang, so the workers start afresh.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        try:
            under_way = deque(executor.submit(carry, shard) for shard in islice(shards, workers))
            while under_way:
                part = under_way.popleft().result()
                under_way.extend(executor.submit(carry, shard) for shard in islice(shards, 1))
                yield part
        except BrokenProcessPool as error:
            raise HarnessError(
                "a worker process of the population ended before its work, killed or out of memory"
            ) from error
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
