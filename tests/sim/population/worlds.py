"""Small populations with all kinds of trouble, and the comparison of a tier with its oracle."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from resilience.config import QuizConfig
from resilience.experiment.costs import ServiceDistribution
from resilience.policy.backoff import CLASSIC, WINDOW, BackoffPolicy, Jitter
from resilience.policy.failure_detectors import HeartbeatTimeouts, ProbeTimeouts
from resilience.policy.return_window import return_window
from resilience.protocol.client.connection import ClientRules
from resilience.random_streams import derive_key
from sim.population.oracle import Result
from sim.population.population import Episodes, Population
from sim.population.quiz import NO_QUIZ, QuizSchedule
from sim.population.rules import MAX_LATENCY_S, PopulationRules, StationRules
from sim.population.standstill import around_outages
from sim.profiles.timelines import OutageKind, OutageTimelines, merged, on_grid
from sim.random_arrays import fold, keys_of, uniforms

SILENT, REFUSED, DEPLOY, TORN = OutageKind.SILENT, OutageKind.REFUSED, OutageKind.DEPLOY, OutageKind.TORN
SUSPENDED, FROZEN = OutageKind.SUSPENDED, OutageKind.FROZEN
HEARTBEAT, PROBE = HeartbeatTimeouts(), ProbeTimeouts()
LATENCIES = (0.0125, 0.006, 0.025, 0.060, 0.2)


def with_jitter(jitter: Jitter) -> BackoffPolicy:
    """The contract's ladder with this jitter."""
    return msgspec.structs.replace(CLASSIC, ladder=msgspec.structs.replace(CLASSIC.ladder, jitter=jitter))


class Shared(NamedTuple):
    """One outage of every participant whose number leaves ``remainder`` when divided by ``modulus``."""

    start: float
    end: float
    kind: OutageKind
    modulus: int = 1
    remainder: int = 0


@dataclass(frozen=True)
class Trouble:
    """A world to be made: sizes, rates per participant and hour, shared outages, and everything of the rules.

    ``median``: of the outages' lengths, seconds. ``jitter``: of paths, as a share of their latency.
    ``latencies``: one of them is that of each participant.
    """

    size: int = 200
    seed: int = 1
    duration: float = 900.0
    rate: float = 20.0
    shared: tuple[Shared, ...] = ()
    policy: BackoffPolicy = WINDOW
    joins_per_s: float = 3000.0
    admission_seconds: float = 2.0
    slots: int = 2
    service: float = 0.00015
    backlog: int = 0
    distribution: ServiceDistribution = ServiceDistribution.DETERMINISTIC
    wasted_work: bool = True
    heartbeat: HeartbeatTimeouts = HEARTBEAT
    probe: ProbeTimeouts = PROBE
    open_timeout: float = 5.0
    join_timeout: float = 5.0
    quiz: QuizConfig | None = None
    kinds: tuple[OutageKind, ...] = ()
    median: float = 4.0
    advice: float = 3.0
    ends: tuple[float, ...] = ()
    standstills: tuple[tuple[float, float], ...] = ()
    jitter: float = 0.0
    latencies: Sequence[float] = LATENCIES

    @property
    def rules(self) -> PopulationRules:
        """What the run depends on besides its participants."""
        return PopulationRules(
            ClientRules(self.policy, self.probe, self.open_timeout, self.join_timeout),
            self.heartbeat,
            return_window(300, 3000.0),
            StationRules(
                self.joins_per_s,
                self.admission_seconds,
                self.slots,
                self.service,
                self.backlog,
                self.distribution,
                wasted_work=self.wasted_work,
            ),
            commit=0.003,
            duration=self.duration,
            quiz=NO_QUIZ if self.quiz is None else QuizSchedule.of(self.quiz, self.duration),
            advice=self.advice,
            latency=max(on_grid(self.latencies).tolist()),
        )

    @property
    def population(self) -> Population:
        """Who takes part."""
        timelines = with_standstills(self._timelines(), self.standstills)
        population = population_of(self.seed, timelines, self.latencies, ends=self.ends, standstills=self.standstills)
        return with_path_jitter(population, self.jitter) if self.jitter else population

    def _timelines(self) -> OutageTimelines:
        """Poisson begins, lognormal lengths, four in five silent (or of ``kinds``), and the shared."""
        generator = np.random.default_rng(self.seed)
        count = int(generator.poisson(self.rate / 3600 * self.duration * self.size)) if self.rate else 0
        owner = generator.integers(0, self.size, count)
        start = generator.uniform(0.0, self.duration, count)
        end = start + np.clip(generator.lognormal(math.log(self.median), 1.3, count), 0.05, 300.0)
        kind = np.where(generator.uniform(size=count) < 0.8, SILENT, REFUSED)
        if self.kinds:
            kind = generator.choice(self.kinds, count)
        columns = [(owner, start, end, kind)]
        everyone = np.arange(self.size)
        for one in self.shared:
            who = everyone[everyone % one.modulus == one.remainder]
            columns.append((who, *(np.full(len(who), float(value)) for value in one[:2]), np.full(len(who), one.kind)))
        return merged(self.size, *(np.concatenate(column) for column in zip(*columns, strict=True)))


def with_standstills(timelines: OutageTimelines, standstills: Sequence[tuple[float, float]]) -> OutageTimelines:
    """These outages, and around them those of everyone while the server stands still."""
    pieces = [around_outages(timelines, *on_grid(each).tolist()) for each in standstills]
    return merged(
        timelines.participants,
        np.concatenate([timelines.owner, *(piece.who for piece in pieces)]),
        np.concatenate([timelines.start, *(piece.start for piece in pieces)]),
        np.concatenate([timelines.end, *(piece.end for piece in pieces)]),
        np.concatenate([timelines.kind, np.full(sum(len(piece.who) for piece in pieces), FROZEN)]),
    )


def population_of(
    seed: int,
    timelines: OutageTimelines,
    latencies: Sequence[float] = LATENCIES,
    ends: tuple[float, ...] = (),
    standstills: tuple[tuple[float, float], ...] = (),
) -> Population:
    """Participants with these timelines, each with one of the latencies."""
    seeds = keys_of(seed, 0, last=np.arange(timelines.participants))
    latency = on_grid(latencies)[(uniforms(fold(seeds, "latency")) * len(latencies)).astype(np.int64)]
    assert not len(seeds) or int(seeds[0]) == derive_key(seed, 0, 0)
    exact = tuple((float(on_grid(first)), float(on_grid(last))) for first, last in standstills)
    return Population(seeds, latency, timelines, ends=ends, standstills=exact)


def with_path_jitter(population: Population, share: float) -> Population:
    """The same with a jitter of this share of each latency, as far as the lane can carry both."""
    jitter = np.minimum(on_grid(population.latency * share), MAX_LATENCY_S - population.latency)
    return dataclasses.replace(population, jitter=jitter)


def differing(one: Episodes, other: Episodes) -> list[int]:
    """The outages whose episodes differ in any column, bit for bit."""
    differs = np.zeros(len(one.outcome), np.bool_)
    for name in Episodes.COLUMNS:
        mine, theirs = getattr(one, name), getattr(other, name)
        differs |= (mine != theirs) & ~((mine != mine) & (theirs != theirs))  # noqa: PLR0124 - not-a-number
    return np.flatnonzero(differs).tolist()


def explain(population: Population, oracle: Result, tier: Result, row: int) -> str:
    """One outage in both tiers, with the other outages of its participant."""
    timelines = population.timelines
    who = int(timelines.owner[row])
    lines = [f"outage {row} of participant {who}, latency {population.latency[who]}: {timelines.of_participant(who)}"]
    for name, result in (("oracle", oracle), ("tier", tier)):
        values = {column: getattr(result.episodes, column)[row].item() for column in Episodes.COLUMNS}
        lines.append(f"{name}: {values}")
    return "\n".join(lines)
