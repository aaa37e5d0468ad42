"""What a population costs: a million participants for an hour and in a storm, against its oracle and plain SimPy.

And what a standstill of the server costs in a quiz and after it, and what the report of that hour costs.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import pytest

from reports.build import build_report
from resilience.config import QuizConfig
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import RefuseFault, ServerSuspendFault
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from sim.population.batch import BatchTier
from sim.population.oracle import run_explicitly
from sim.population.population import EpisodeOutcome
from sim.population.run import PopulationRun
from sim.population.world import population_of, rules_of
from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.naive_population import run_naively
from tests.benchmarks.lab.results import Row, middle, spread

HOUR, PARTICIPANTS = 3600.0, 1_000_000
MIB = 1024.0
MOST_CPU_S, MOST_STORM_CPU_S, MOST_BYTES, MOST_RSS_MIB = 20.0, 8.0, 250.0, 1000.0
MOST_REPORT_CPU_S = 15.0
MOST_QUIZ_CPU_S = 30.0
"""For an hour of which every second is quiz: the arithmetic of the silent hour decides nothing then."""
STANDSTILLS_S = {"in the quiz": 100.0, "a minute after it": 170.0}
"""When the server stands still whose quiz ends after 106 seconds; each is carried for so many participants:"""
FROZEN = 20_000
MOST_FROZEN_CPU_S = 15.0
"""For the one in the quiz, which makes everyone explicit."""
LEAST_TIMES_NAIVE, LEAST_TIMES_ORACLE = 1000.0, 500.0
MOST_IN_COHORT = 1_000_000
MIX = {
    "home": (0.40, ("home-wifi",)),
    "office": (0.15, ("office-wifi",)),
    "moving": (0.20, ("lte-moving", "carrier-outage")),
    "phones": (0.17, ("5g", "carrier-outage")),
    "venue": (0.08, ("congested-venue",)),
}
_Result = TypeVar("_Result")


class Cost(NamedTuple):
    """CPU seconds of the drawing and the run, without imports; peak memory; bytes in arrays and outages, each."""

    cpu_s: float
    rss_mib: float
    bytes_each: float
    outages_each: float
    restored: int


class ReportCost(NamedTuple):
    """CPU seconds of a report with all its pictures, without imports; how many episodes; the process's peak memory."""

    cpu_s: float
    episodes: int
    rss_mib: float


def mixed(participants: int) -> Experiment:
    """An hour of a mix of links, on one server that takes them all; cohorts are as large as they can be."""
    cohorts = tuple(cohort for name in MIX for cohort in cohorts_of(name, participants))
    experiment = Experiment(name="mixed", duration=HOUR, cohorts=cohorts)
    return with_capacity(experiment, max(50_000.0, participants / 20))


def cohorts_of(name: str, participants: int) -> list[Cohort]:
    """The cohorts of one part of the mix: one, or as many equal ones as it takes."""
    share, profiles = MIX[name]
    clients = max(round(share * participants), 1)
    parts = -(-clients // MOST_IN_COHORT)
    names = [name] if parts == 1 else [f"{name}-{number}" for number in range(parts)]
    return [Cohort(each, clients // parts, profiles=profiles) for each in names]


def played(participants: int) -> Experiment:
    """The same hour with a question every ten seconds."""
    return msgspec.structs.replace(mixed(participants), quiz=QuizConfig(questions=360))


def storm(participants: int) -> Experiment:
    """Everyone is cut off for five seconds at once."""
    fault = RefuseFault(100.0, ("all",), duration=5.0)
    experiment = Experiment(
        name="storm",
        duration=900.0,
        cohorts=(Cohort("all", participants),),
        faults=(fault,),
        hypothesis=Hypothesis(within=50.0),
    )
    return with_capacity(experiment, participants / 20)


def frozen(participants: int, at: float) -> Experiment:
    """The server of a quiz of ten questions stands still for five seconds."""
    experiment = Experiment(
        name="frozen",
        duration=900.0,
        cohorts=(Cohort("all", participants),),
        faults=(ServerSuspendFault(at, duration=5.0),),
        quiz=QuizConfig(questions=10),
    )
    return with_capacity(experiment, participants / 20)


def with_capacity(experiment: Experiment, joins_per_s: float) -> Experiment:
    """The same with a server that completes so many resumes a second, as its admission control knows."""
    server = msgspec.structs.replace(experiment.server, join_capacity=joins_per_s)
    costs = ModelCosts(handshake=0.5 / joins_per_s, restore=0.5 / joins_per_s)
    return msgspec.structs.replace(experiment, server=server, costs=costs)


def carry(experiment: Experiment, seed: int) -> Cost:
    """Draw and run in this process."""
    before = time.process_time()
    population, rules = population_of(experiment, seed), rules_of(experiment)
    tier = BatchTier(population, rules)
    result = tier.run()
    cpu = time.process_time() - before
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    restored = int((result.episodes.outcome == EpisodeOutcome.RESTORED).sum())
    each = population.timelines.outages / population.size
    return Cost(cpu, rss, tier.array_bytes / population.size, each, restored)


def report(experiment: Experiment, seed: int) -> ReportCost:
    """Run it into a directory and report on that, in this process; the report reads what the run has written."""
    with tempfile.TemporaryDirectory() as directory:
        PopulationRun(experiment, seed).execute(Path(directory))
        before = time.process_time()
        summary = build_report(Path(directory))
        cpu = time.process_time() - before
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    outcomes = msgspec.structs.asdict(summary.success_rate.outcomes)
    return ReportCost(cpu, sum(outcomes.values()), rss)


def cpu_of(run: Callable[[], object]) -> float:
    """CPU seconds of a call in this process."""
    before = time.process_time()
    run()
    return time.process_time() - before


def apart(work: Callable[[], _Result]) -> _Result:
    """The result of a call in a process of its own, whose memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(work).result()


def hour_rows(costs: list[Cost], few: int) -> list[Row]:
    """The hour against its limits, and against the oracle and SimPy with ``few`` participants."""
    small = mixed(few)
    population, rules = population_of(small, 1), rules_of(small)
    oracle = cpu_of(partial(run_explicitly, population, rules)) / population.size
    naive = cpu_of(partial(run_naively, population, rules)) / population.size
    cpu, rss, each = ([cost[i] for cost in costs] for i in range(3))
    return [
        Row(
            "population, an hour, CPU",
            f"{middle(cpu):.1f} s",
            f"{costs[0].outages_each:.2f} outages each",
            None,
            spread(cpu, "{:.1f} s"),
            f"at most {MOST_CPU_S:g} s",
            middle(cpu) <= MOST_CPU_S,
        ),
        Row(
            "population, peak memory",
            f"{middle(rss):.0f} MiB",
            f"{middle(each):.0f} B each in arrays",
            None,
            spread(rss, "{:.0f} MiB"),
            f"at most {MOST_RSS_MIB:g} MiB, {MOST_BYTES:g} B each",
            middle(rss) <= MOST_RSS_MIB and middle(each) <= MOST_BYTES,
        ),
        *(
            _times(costs, name, reference, least)
            for name, reference, least in (
                ("oracle", oracle, LEAST_TIMES_ORACLE),
                ("plain SimPy", naive, LEAST_TIMES_NAIVE),
            )
        ),
    ]


def _times(costs: list[Cost], name: str, reference: float, least: float) -> Row:
    """How much less a participant costs than in another simulation, CPU."""
    ours = [cost.cpu_s / PARTICIPANTS for cost in costs]
    ratios = [reference / each for each in ours]
    return Row(
        f"population, a participant's hour against the {name}",
        f"{middle(ours) * 1e6:.1f} µs",
        f"{reference * 1e3:.1f} ms",
        middle(ratios),
        spread(ratios, "{:.0f}"),
        f"at least {least:g} times less",
        middle(ratios) >= least,
    )


def storm_row(costs: list[Cost], participants: int) -> Row:
    """The storm of so many against its limit; a round that leaves one of them away is no storm carried out."""
    cpu, back = [cost.cpu_s for cost in costs], min(cost.restored for cost in costs)
    return Row(
        "population, storm, CPU",
        f"{middle(cpu):.1f} s",
        f"{back:,} back",
        None,
        spread(cpu, "{:.1f} s"),
        f"at most {MOST_STORM_CPU_S:g} s, {participants:,} back",
        middle(cpu) <= MOST_STORM_CPU_S and back == participants,
    )


def quiz_row(costs: list[Cost]) -> Row:
    """An hour of quiz against its limit."""
    cpu = [cost.cpu_s for cost in costs]
    return Row(
        "population, an hour of quiz, CPU",
        f"{middle(cpu):.1f} s",
        f"{costs[0].outages_each:.2f} outages each",
        None,
        spread(cpu, "{:.1f} s"),
        f"at most {MOST_QUIZ_CPU_S:g} s",
        middle(cpu) <= MOST_QUIZ_CPU_S,
    )


def frozen_row(costs: list[Cost], when: str) -> Row:
    """A standstill of the server against the limit of the one that makes everyone explicit."""
    cpu = [cost.cpu_s for cost in costs]
    return Row(
        f"population, a standstill {when}, CPU",
        f"{middle(cpu):.1f} s",
        f"{FROZEN:,} participants",
        None,
        spread(cpu, "{:.1f} s"),
        f"at most {MOST_FROZEN_CPU_S:g} s",
        middle(cpu) <= MOST_FROZEN_CPU_S,
    )


def report_row(costs: list[ReportCost]) -> Row:
    """The report of the hour against its limit."""
    cpu, rss = [cost.cpu_s for cost in costs], middle([cost.rss_mib for cost in costs])
    return Row(
        "population, report of the hour, CPU",
        f"{middle(cpu):.1f} s",
        f"{costs[0].episodes:,} episodes, peak {rss:.0f} MiB",
        None,
        spread(cpu, "{:.1f} s"),
        f"at most {MOST_REPORT_CPU_S:g} s",
        middle(cpu) <= MOST_REPORT_CPU_S,
    )


def test_a_few_participants_are_measured() -> None:
    hour, stormy = carry(mixed(300), 1), carry(storm(2000), 1)
    reported = report(mixed(300), 1)
    assert reported.episodes > hour.restored
    assert report_row([reported]).met
    assert hour.restored > 100
    assert quiz_row([carry(played(300), 1)]).met
    assert storm_row([stormy], 2000).met
    assert not storm_row([stormy], 2001).met
    assert all(frozen_row([carry(frozen(100, at), 1)], when).met for when, at in STANDSTILLS_S.items())
    assert hour.bytes_each < 2 * MOST_BYTES


def test_plain_simpy_tells_statistically_the_same() -> None:
    """Of as many losses and returns, give or take what its simpler messages make; else it would be no reference."""
    experiment = msgspec.structs.replace(mixed(100), duration=900.0)
    population, rules = population_of(experiment, 1), rules_of(experiment)
    clients = run_naively(population, rules)
    truth = run_explicitly(population, rules).episodes
    losses, noticed = sum(client.losses for client in clients), int(np.isfinite(truth.detected).sum())
    returns, restored = sum(client.returns for client in clients), int((truth.outcome == EpisodeOutcome.RESTORED).sum())
    assert abs(losses - noticed) <= 0.1 * noticed
    assert abs(returns - restored) <= 0.1 * restored


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_cost_of_a_million_participants(record_rows: RecordRows) -> None:
    """Each round with a seed and a process of its own."""
    hours = [apart(partial(carry, mixed(PARTICIPANTS), seed)) for seed in range(3)]
    storms = [apart(partial(carry, storm(PARTICIPANTS), seed)) for seed in range(3)]
    quizzes = [apart(partial(carry, played(PARTICIPANTS), seed)) for seed in range(3)]
    reports = [apart(partial(report, mixed(PARTICIPANTS), seed)) for seed in range(3)]
    stood = {
        when: [apart(partial(carry, frozen(FROZEN, at), seed)) for seed in range(3)]
        for when, at in STANDSTILLS_S.items()
    }
    rows = [*hour_rows(hours, 300), quiz_row(quizzes), storm_row(storms, PARTICIPANTS), report_row(reports)]
    record_rows([*rows, *(frozen_row(costs, when) for when, costs in stood.items())])
