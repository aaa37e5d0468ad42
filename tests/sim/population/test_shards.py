"""Servers are carried out one by one, wherever; their number of workers changes nothing."""

from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pytest

from resilience.errors import HarnessError
from sim.population import shards
from sim.population.batch import run_in_batches
from sim.population.population import Episodes, Population, Rows
from sim.population.rules import PopulationRules
from sim.population.shards import run_population
from sim.population.station import StationAnswer
from tests.sim.population.worlds import REFUSED, Shared, Trouble

HERD = Trouble(
    size=403, duration=300.0, rate=20.0, joins_per_s=5.0, slots=1, service=0.05, shared=(Shared(50.0, 55.0, REFUSED),)
)


def test_the_digest_is_the_same_for_one_two_and_four_workers() -> None:
    population, rules = HERD.population, HERD.rules
    results = [run_population(population, rules, servers=5, workers=workers) for workers in (1, 2, 4)]
    assert len({result.episodes.digest for result in results}) == 1
    rejected = {int(result.loads[0][:, StationAnswer.REJECTED].sum()) for result in results}
    assert len(rejected) == 1
    assert min(rejected) > 0


def test_one_server_is_the_batch_tier() -> None:
    population, rules = HERD.population, HERD.rules
    assert run_population(population, rules).episodes.digest == run_in_batches(population, rules).episodes.digest


def test_a_server_is_crowded_by_its_own_participants_only() -> None:
    """Each of two servers is as if the other were not there."""
    population, rules = HERD.population, HERD.rules
    both = run_population(population, rules, servers=2)
    odd = np.arange(1, population.size, 2)
    alone = run_in_batches(population.take(odd), rules)
    rows = np.isin(population.timelines.owner, odd)
    assert np.array_equal(both.episodes.ended[rows], alone.episodes.ended, equal_nan=True)
    assert both.loads[1][:, StationAnswer.SERVED].sum() == alone.station.served


def test_more_servers_than_participants_are_no_error() -> None:
    trouble = dataclasses.replace(HERD, size=2)
    assert len(run_population(trouble.population, trouble.rules, servers=8).loads) == 2


def test_no_more_shards_exist_than_workers_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is made for each worker, and the next when a part has come back."""
    made, seen = [0], list[int]()
    take, put = Population.take, Episodes.put

    def counted_take(population: Population, who: Rows) -> Population:
        made[0] += 1
        return take(population, who)

    def counted_put(episodes: Episodes, rows: Rows, part: Episodes) -> None:
        seen.append(made[0])
        put(episodes, rows, part)

    monkeypatch.setattr(Population, "take", counted_take)
    monkeypatch.setattr(Episodes, "put", counted_put)
    run_population(HERD.population, HERD.rules, servers=5, workers=2)
    assert seen == [3, 4, 5, 5, 5]


def _ends_itself(_: Population, rules: PopulationRules) -> None:
    del rules
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_carry_shard", _ends_itself)
    with pytest.raises(HarnessError, match="worker process"):
        run_population(HERD.population, HERD.rules, servers=2, workers=2)
