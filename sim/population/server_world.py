"""What all participants of one server share, in both tiers. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resilience.units import Instant

from .event_queue import EventQueue
from .population import Episodes, Floats, Population
from .rules import PopulationRules
from .standstill import Standstills
from .station import JoinStation


@dataclass(frozen=True, eq=False)
class World:
    """What all participants of one server share. ``departures``: requests that leave its queue in each second."""

    rules: PopulationRules
    population: Population
    queue: EventQueue
    station: JoinStation
    episodes: Episodes
    departures: npt.NDArray[np.int64]
    standstills: Standstills

    @classmethod
    def of(cls, rules: PopulationRules, population: Population) -> World:
        """At instant 0."""
        standstills = Standstills(population.standstills)
        rules = rules.with_standstills(standstills)
        station = JoinStation(rules.station, rules.duration, population.ends, standstills)
        episodes = Episodes.empty(population.timelines.outages)
        departures = np.zeros(len(station.load), np.int64)
        return cls(rules, population, EventQueue(), station, episodes, departures, standstills)

    def count_departure(self, leaves: Instant) -> None:
        """A request leaves the server's queue at this instant, with a response or without."""
        if leaves < len(self.departures):
            self.departures[int(leaves)] += 1

    def count_departures(self, leaves: Floats) -> None:
        """The same of requests at these instants."""
        within = leaves[leaves < len(self.departures)]
        np.add.at(self.departures, within.astype(np.int64), 1)
