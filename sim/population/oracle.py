"""The oracle: the explicit tier for all participants, which the batch tier must equal bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

from resilience.units import Instant

from .event_queue import EventQueue
from .explicit import ExplicitParticipant, World
from .population import Episodes, Population
from .rules import PopulationRules
from .station import JoinStation


@dataclass(frozen=True, eq=False)
class Result:
    """One server's run: an episode for each outage, the station's counts, and how many explicit events it took."""

    episodes: Episodes
    station: JoinStation
    events: int


def run_explicitly(population: Population, rules: PopulationRules) -> Result:
    """Carry every participant of one server through every message."""
    queue = EventQueue()
    episodes = Episodes.empty(population.timelines.outages)
    world = World(rules, population, queue, JoinStation(rules.station, rules.duration), episodes)
    for who in range(population.size):
        ExplicitParticipant(who, world, _nothing_to_do).start_attached()
    while queue.peek(rules.duration) is not None:
        queue.step()
    episodes.close(population.timelines, rules)
    return Result(episodes, world.station, queue.done)


def _nothing_to_do(_: ExplicitParticipant, __: Instant) -> None:
    """Stay in this tier."""
