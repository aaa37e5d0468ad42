"""The oracle: the explicit tier for all participants, which the batch tier must equal bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.units import Instant

from .explicit import ExplicitParticipant
from .population import Episodes, Population
from .rules import PopulationRules
from .server_world import World
from .station import JoinStation


@dataclass(frozen=True, eq=False)
class Result:
    """One server's run: an episode for each outage, the station's counts, and how many explicit events it took.

    ``departures``: int64 of shape (seconds,), how many requests left the server's queue in each second.
    """

    episodes: Episodes
    station: JoinStation
    departures: npt.NDArray[np.int64]
    events: int


def run_explicitly(population: Population, rules: PopulationRules) -> Result:
    """Carry every participant of one server through every message."""
    world = World.of(rules, population)
    queue, episodes = world.queue, world.episodes
    for who in range(population.size):
        ExplicitParticipant(who, world, _nothing_to_do).start_attached()
    while queue.run_to_request(rules.duration) is not None:
        queue.step()
    episodes.close(population.timelines, rules)
    return Result(episodes, world.station, world.departures, queue.done)


def _nothing_to_do(_: ExplicitParticipant, __: Instant) -> None:
    """Stay in this tier."""
