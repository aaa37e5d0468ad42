"""The batch tier equals its oracle, episode by episode and bit for bit."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.config import QuizConfig
from resilience.experiment.costs import ServiceDistribution
from resilience.policy.backoff import CLASSIC, WINDOW, Jitter
from resilience.policy.failure_detectors import HeartbeatTimeouts, ProbeTimeouts
from sim.population.batch import BatchTier, run_in_batches
from sim.population.oracle import Result, run_explicitly
from sim.population.population import EpisodeOutcome, Population
from sim.population.rules import WINDOW_S, PopulationRules
from sim.population.station import StationAnswer
from sim.profiles.timelines import TICK_S, OutageTimelines
from tests.sim.population.worlds import (
    DEPLOY,
    REFUSED,
    SILENT,
    SUSPENDED,
    TORN,
    Shared,
    Trouble,
    differing,
    explain,
    population_of,
    with_jitter,
    with_path_jitter,
    with_standstills,
)
from tests.support.strategies import LONG_RUNS

replace = msgspec.structs.replace
EXPONENTIAL, LOGNORMAL = ServiceDistribution.EXPONENTIAL, ServiceDistribution.LOGNORMAL
HERD = (Shared(100, 105, REFUSED), Shared(300, 330, SILENT, 2, 1))
SLOW = Trouble(size=200, duration=500.0, rate=2.0, shared=HERD, slots=1, service=0.05)
CROWDED = Trouble(size=200, duration=400.0, rate=4.0, shared=(Shared(100, 105, REFUSED), Shared(200, 230, SILENT, 2)))

QUIZ = QuizConfig(questions=500)

WORLDS = {
    "mixed": Trouble(),
    "stormy": Trouble(rate=60.0, seed=2),
    "hectic": Trouble(rate=120.0, seed=3),
    "frantic": Trouble(rate=600.0, seed=4, duration=300.0),
    "calm": Trouble(rate=2.0, seed=5),
    "classic": Trouble(policy=CLASSIC, seed=6),
    **{f"classic {jitter}": Trouble(policy=with_jitter(jitter), seed=7) for jitter in Jitter},
    "window decorrelated": Trouble(
        policy=replace(WINDOW, ladder=replace(WINDOW.ladder, jitter=Jitter.DECORRELATED)), rate=60.0, seed=8
    ),
    "three attempts": Trouble(policy=replace(CLASSIC, attempts=3), slots=1, seed=9),
    "20 s budget": Trouble(policy=replace(WINDOW, budget=20.0), slots=1, seed=10),
    "long stable": Trouble(policy=replace(WINDOW, stable_after=40.0), rate=60.0, seed=11),
    "short pings": Trouble(heartbeat=HeartbeatTimeouts(14.5, 20.0, 25.0), seed=12),
    "long pings": Trouble(heartbeat=HeartbeatTimeouts(31.0, 70.0, 90.0), rate=60.0, seed=13),
    "slow probe": Trouble(heartbeat=HeartbeatTimeouts(20.0, 40.0, 41.0), probe=ProbeTimeouts(6.0, 3.0), seed=14),
    "quick probe": Trouble(probe=ProbeTimeouts(1.5, 1.0), rate=60.0, seed=15),
    "probe meets ping": Trouble(probe=ProbeTimeouts(3.6, 2.0), rate=60.0, seed=16, duration=600.0),
    "short timeouts": Trouble(open_timeout=2.0, join_timeout=1.5, rate=60.0, seed=17),
    "long timeouts": Trouble(open_timeout=9.0, join_timeout=8.0, rate=60.0, seed=18),
    "rejections": dataclasses.replace(SLOW, joins_per_s=20.0, seed=19),
    "rejections, classic": dataclasses.replace(SLOW, joins_per_s=20.0, policy=CLASSIC, seed=20),
    "rejections, little admission": dataclasses.replace(SLOW, joins_per_s=20.0, admission_seconds=0.1, seed=21),
    "no admission": dataclasses.replace(SLOW, joins_per_s=1000.0, admission_seconds=50.0, policy=CLASSIC, seed=22),
    "backlog": dataclasses.replace(
        SLOW,
        joins_per_s=1000.0,
        admission_seconds=50.0,
        slots=2,
        service=0.1,
        backlog=30,
        policy=with_jitter(Jitter.FULL),
        seed=23,
    ),
    "rejections over outages": dataclasses.replace(CROWDED, rate=60.0, joins_per_s=5.0, service=0.2, seed=24),
    "rejections and a budget": dataclasses.replace(
        CROWDED, joins_per_s=2.0, service=0.5, policy=replace(WINDOW, budget=30.0), seed=25
    ),
    "rejections and attempts": dataclasses.replace(
        CROWDED, joins_per_s=2.0, service=0.5, policy=replace(CLASSIC, attempts=4), seed=26
    ),
    "backlog and rejections": dataclasses.replace(
        CROWDED, joins_per_s=10.0, service=0.3, backlog=20, policy=with_jitter(Jitter.DECORRELATED), seed=27
    ),
    "many slots": dataclasses.replace(CROWDED, slots=50, service=2.0, admission_seconds=30.0, seed=28),
    "exponential services": dataclasses.replace(SLOW, distribution=EXPONENTIAL, joins_per_s=20.0, rate=60.0, seed=31),
    "heavy-tailed services": dataclasses.replace(
        CROWDED, distribution=LOGNORMAL, slots=3, service=0.3, backlog=15, policy=with_jitter(Jitter.FULL), seed=32
    ),
    "no wasted work": dataclasses.replace(
        CROWDED,
        distribution=LOGNORMAL,
        service=0.4,
        joins_per_s=1000.0,
        admission_seconds=50.0,
        wasted_work=False,
        policy=CLASSIC,
        seed=33,
    ),
    "a quiz": Trouble(quiz=QUIZ, seed=31),
    "a stormy quiz": Trouble(quiz=QUIZ, rate=60.0, seed=32),
    "a frantic quiz": Trouble(quiz=QUIZ, rate=600.0, duration=300.0, seed=33),
    "a slow quiz": Trouble(
        quiz=QuizConfig(questions=500, question_time=20.0, reveal_time=5.0, leaderboard_time=5.0), rate=60.0, seed=34
    ),
    "a quick quiz": Trouble(
        quiz=QuizConfig(questions=500, question_time=3.0, reveal_time=0.5, leaderboard_time=0.5, slowest=1.0),
        rate=60.0,
        seed=35,
    ),
    "a short quiz": Trouble(quiz=QuizConfig(questions=12), rate=60.0, seed=36),
    "a quiz, quick probe": Trouble(quiz=QUIZ, probe=ProbeTimeouts(1.5, 1.0), rate=60.0, seed=37),
    "a quiz, slow probe": Trouble(quiz=QUIZ, probe=ProbeTimeouts(5.0, 1.4), rate=60.0, seed=38),
    "a quiz on a slow server": dataclasses.replace(SLOW, quiz=QUIZ, joins_per_s=20.0, seed=39),
    "a quiz, long stable": Trouble(
        quiz=QUIZ, policy=replace(WINDOW, stable_after=0.0), shared=(Shared(100, 104, SILENT),), seed=40
    ),
    "torn": Trouble(kinds=(TORN,), seed=41),
    "all kinds": Trouble(kinds=(SILENT, REFUSED, DEPLOY, TORN), rate=60.0, seed=42),
    "all kinds in a quiz": Trouble(kinds=(SILENT, REFUSED, DEPLOY, TORN), rate=60.0, quiz=QUIZ, seed=43),
    "all kinds, classic": Trouble(kinds=(SILENT, REFUSED, DEPLOY, TORN), rate=60.0, policy=CLASSIC, seed=44),
    "all kinds, long advice": Trouble(kinds=(DEPLOY, TORN), rate=30.0, advice=20.0, seed=45),
    "a deployment": Trouble(
        rate=2.0, shared=(Shared(100, 130, DEPLOY, 2), Shared(101, 130, DEPLOY, 2, 1)), joins_per_s=20.0, seed=46
    ),
    "a hole in a quiz": Trouble(
        rate=2.0, shared=(Shared(100, 104, TORN, 2), Shared(200, 230, TORN)), quiz=QUIZ, seed=47
    ),
    "a kill of a crowded server": dataclasses.replace(
        SLOW, shared=(*HERD, Shared(107.0, 109.0, REFUSED)), ends=(107.0,), seed=48
    ),
    "kills and outages": dataclasses.replace(
        CROWDED,
        rate=60.0,
        shared=(*CROWDED.shared, Shared(106.5, 108.0, REFUSED), Shared(232.0, 233.0, REFUSED)),
        ends=(106.5, 232.0),
        joins_per_s=10.0,
        service=0.3,
        backlog=20,
        policy=with_jitter(Jitter.FULL),
        seed=49,
    ),
    "suspended": Trouble(kinds=(SUSPENDED,), rate=60.0, seed=51),
    "suspended for long": Trouble(kinds=(SUSPENDED,), median=35.0, rate=40.0, seed=52),
    "suspended among others": Trouble(kinds=(SUSPENDED, SILENT, REFUSED, TORN), median=10.0, rate=120.0, seed=53),
    "suspended in a quiz": Trouble(kinds=(SUSPENDED, SILENT), median=20.0, rate=60.0, quiz=QUIZ, seed=54),
    "suspended with a budget": Trouble(
        kinds=(SUSPENDED, REFUSED), median=20.0, rate=120.0, policy=replace(WINDOW, budget=20.0), seed=55
    ),
    "suspended with slow probes": Trouble(
        kinds=(SUSPENDED,),
        median=30.0,
        rate=60.0,
        probe=ProbeTimeouts(6.0, 0.6),
        heartbeat=HeartbeatTimeouts(20.0, 41.0, 50.0),
        seed=56,
    ),
    "suspended at once": dataclasses.replace(
        SLOW, shared=(Shared(100, 140, SUSPENDED), Shared(200, 206, SUSPENDED), *HERD[1:]), joins_per_s=20.0, seed=57
    ),
    "short deadline of a probe": Trouble(
        kinds=(SILENT, REFUSED, DEPLOY, TORN, SUSPENDED),
        probe=ProbeTimeouts(1.5, 0.0625),
        latencies=(0.0125, 0.03),
        rate=60.0,
        standstills=((150.0, 161.0),),
        seed=76,
    ),
    "short deadline of a probe in a quiz": Trouble(
        quiz=QUIZ, probe=ProbeTimeouts(1.5, 0.0625), latencies=(0.006, 0.03), rate=60.0, seed=77
    ),
    "a standstill": Trouble(rate=5.0, standstills=((100.0, 112.0), (300.0, 303.0)), seed=61),
    "short standstills": Trouble(
        rate=5.0, standstills=((60.0, 60.5), (100.0, 101.0), (150.5, 153.0), (200.0, 206.25), (250.0, 255.7)), seed=62
    ),
    "standstills among outages": Trouble(
        kinds=(SILENT, REFUSED, DEPLOY, TORN, SUSPENDED),
        rate=60.0,
        standstills=((100.0, 112.0), (200.3, 202.7), (300.1, 345.9)),
        seed=63,
    ),
    "a standstill of a slow server": dataclasses.replace(
        SLOW, standstills=((108.0, 120.0), (250.0, 280.0), (310.0, 316.0)), joins_per_s=20.0, seed=64
    ),
    "a standstill of a full server": dataclasses.replace(
        CROWDED,
        standstills=((106.0, 131.0), (203.0, 209.0)),
        joins_per_s=10.0,
        service=0.3,
        backlog=20,
        policy=with_jitter(Jitter.FULL),
        seed=65,
    ),
    "a standstill without wasted work": dataclasses.replace(
        CROWDED,
        standstills=((106.0, 131.0), (203.0, 209.0)),
        distribution=LOGNORMAL,
        service=0.2,
        joins_per_s=1000.0,
        admission_seconds=50.0,
        wasted_work=False,
        seed=66,
    ),
    "standstills and a budget": Trouble(
        rate=60.0, standstills=((100.0, 140.0), (200.0, 260.0)), policy=replace(CLASSIC, attempts=4), seed=67
    ),
    "standstills in a quiz": Trouble(
        rate=30.0, standstills=((100.0, 112.0), (200.0, 203.0), (300.0, 335.0)), quiz=QUIZ, seed=68
    ),
    "a standstill in a short quiz": Trouble(
        rate=30.0, standstills=((30.0, 55.0), (300.0, 312.0)), quiz=QuizConfig(questions=6), seed=69
    ),
    "outages of all in standstills": Trouble(
        kinds=(SILENT, REFUSED, DEPLOY, TORN, SUSPENDED),
        rate=20.0,
        shared=(
            Shared(45.0, 47.0, REFUSED),
            Shared(105.0, 105.001, REFUSED),
            Shared(98.0, 99.0, SUSPENDED, 2),
            Shared(155.0, 163.0, TORN),
            Shared(210.0, 215.0, SILENT),
            Shared(259.0, 266.0, DEPLOY, 3),
            Shared(269.0, 275.0, SUSPENDED),
        ),
        standstills=((40.0, 60.0), (97.0, 110.0), (160.0, 170.0), (205.0, 207.0), (208.0, 220.0), (260.0, 270.0)),
        seed=70,
    ),
    "jitter": Trouble(rate=60.0, jitter=1.0, seed=71),
    "jitter, all kinds": Trouble(
        kinds=(SILENT, REFUSED, DEPLOY, TORN, SUSPENDED), rate=60.0, jitter=0.5, standstills=((150.0, 161.0),), seed=72
    ),
    "jitter in a quiz": Trouble(rate=60.0, jitter=1.0, quiz=QUIZ, seed=73),
    "jitter at a slow server": dataclasses.replace(SLOW, joins_per_s=20.0, jitter=1.0, seed=74),
    "jitter at a full server": dataclasses.replace(
        CROWDED, joins_per_s=10.0, service=0.3, backlog=20, policy=with_jitter(Jitter.FULL), jitter=1.0, seed=75
    ),
    "everything refused": Trouble(size=50, rate=0.0, shared=(Shared(10.0, 899.0, REFUSED),), policy=CLASSIC, seed=29),
    "everything silent": Trouble(size=50, rate=0.0, shared=(Shared(10.0, 899.0, SILENT),), seed=30),
}


def assert_equal(population: Population, rules: PopulationRules) -> tuple[Result, Result]:
    """Both tiers tell the same of every outage, and their stations did the same work."""
    oracle, batch = run_explicitly(population, rules), run_in_batches(population, rules)
    rows = differing(oracle.episodes, batch.episodes)
    assert not rows, f"{len(rows)} differ\n" + "\n".join(explain(population, oracle, batch, row) for row in rows[:3])
    counts = [(s.served, s.longest_wait) for s in (oracle.station, batch.station)]
    assert counts[0] == counts[1]
    assert np.array_equal(oracle.station.load, batch.station.load)
    assert np.array_equal(oracle.departures, batch.departures)
    return oracle, batch


@pytest.mark.parametrize("name", WORLDS)
def test_every_episode_is_the_oracles(name: str) -> None:
    trouble = WORLDS[name]
    trouble = dataclasses.replace(trouble, size=trouble.size // 3, duration=min(trouble.duration, 500.0))
    assert_equal(trouble.population, trouble.rules)


def test_the_worlds_meet_every_answer_and_every_outcome() -> None:
    """Or their equality would prove less than it says."""
    outcomes, answers = set[int](), np.zeros(len(StationAnswer), np.int64)
    for name in ("backlog and rejections", "no wasted work", "three attempts", "rejections", "kills and outages"):
        trouble = WORLDS[name]
        result = run_in_batches(trouble.population, trouble.rules)
        outcomes |= set(result.episodes.outcome.tolist())
        answers += result.station.load.sum(axis=0)
        assert result.episodes.grace_ended.any()
    assert outcomes == set(EpisodeOutcome)
    assert (answers > 0).all()


def test_few_participants_become_explicit() -> None:
    """The batch tier is one because of that."""
    trouble = dataclasses.replace(WORLDS["calm"], size=2000)
    result = run_in_batches(trouble.population, trouble.rules)
    assert result.events < 3 * trouble.population.timelines.outages


EIGHTHS = st.integers(1, 8 * 250).map(lambda eighths: eighths / 8)
LENGTHS = st.one_of(
    st.floats(0.01, 12.0), st.floats(1.0, 100.0), st.sampled_from([0.0625, 1.0, 2.0, 4.0, 6.0, 8.0, 31.0])
)
KINDS = st.sampled_from([SILENT, REFUSED, DEPLOY, TORN, SUSPENDED])
OUTAGE = st.tuples(st.one_of(EIGHTHS, st.floats(0.0, 250.0)), LENGTHS, KINDS)
PARTICIPANTS = st.lists(st.lists(OUTAGE, max_size=8), min_size=1, max_size=4)
POLICIES = st.sampled_from([WINDOW, CLASSIC, with_jitter(Jitter.FULL), with_jitter(Jitter.DECORRELATED)])

STANDSTILLS = st.sampled_from(
    [(), (), ((100.0, 100.5),), ((100.0, 103.0), (160.0, 172.5)), ((40.25, 75.0), (200.0, 205.875)), ((60.0, 180.0),)]
)

QUIZZES = st.one_of(
    st.none(),
    st.builds(
        QuizConfig,
        questions=st.sampled_from([3, 100]),
        lobby=st.sampled_from([0.0, 6.0]),
        question_time=st.sampled_from([2.0, 4.0, 6.0, 20.0]),
        reveal_time=st.sampled_from([0.5, 2.0, 4.0]),
        leaderboard_time=st.sampled_from([0.5, 2.0, 6.0]),
        answer_share=st.sampled_from([1.0, 0.5]),
        slowest=st.sampled_from([0.85, 1.0]),
    ),
)


@LONG_RUNS
@given(
    participants=PARTICIPANTS,
    policy=POLICIES,
    seed=st.integers(0, 1000),
    latency=st.sampled_from([0.0125, 0.001, 0.0625, 0.125, 0.25]),
    joins_per_s=st.sampled_from([3000.0, 0.2]),
    quiz=QUIZZES,
    standstills=STANDSTILLS,
    jitter=st.sampled_from([0.0, 1.0]),
)
def test_any_timelines_give_the_oracles_episodes(  # noqa: PLR0917 - what a world is made of
    participants: list[list[tuple[float, float, int]]],
    policy: object,
    seed: int,
    latency: float,
    joins_per_s: float,
    quiz: QuizConfig | None,
    standstills: tuple[tuple[float, float], ...],
    jitter: float,
) -> None:
    """Instants on round numbers, where two events fall together, and latencies that are sums of them, included."""
    outages = [[(start, start + length, kind) for start, length, kind in each] for each in participants]
    trouble = Trouble(duration=300.0, joins_per_s=joins_per_s, admission_seconds=1.0, quiz=quiz)
    rules = dataclasses.replace(trouble, policy=policy).rules  # type: ignore[arg-type]
    timelines = with_standstills(OutageTimelines.of(outages), standstills)
    population = population_of(seed, timelines, [latency], standstills=standstills)
    assert_equal(with_path_jitter(population, jitter) if jitter else population, rules)


def test_a_torn_link_ends_what_an_earlier_outage_left_at_the_server() -> None:
    """The client has left in silence and gives up; its old connection ends with the tear, before its grace period."""
    rules = Trouble(duration=300.0, policy=replace(CLASSIC, attempts=3)).rules
    timelines = OutageTimelines.of([[(200.0, 219.25, SILENT), (220.125, 224.5, TORN)]] * 8)
    oracle, _ = assert_equal(population_of(1, timelines), rules)
    assert (oracle.episodes.outcome == EpisodeOutcome.GAVE_UP).any()
    assert not oracle.episodes.grace_ended[oracle.episodes.outcome == EpisodeOutcome.GAVE_UP].any()


def test_a_torn_link_ends_nothing_where_the_server_has_seen_the_end_already() -> None:
    """So the clean-up counts from there."""
    outages = [(12.0, 82.25, REFUSED), (83.75, 101.75, DEPLOY), (115.875, 144.5, TORN)]
    rules = Trouble(policy=with_jitter(Jitter.FULL), duration=200.0).rules
    oracle, _ = assert_equal(population_of(1, OutageTimelines.of([outages] * 300)), rules)
    assert oracle.episodes.cleaned_up.any()


@pytest.mark.parametrize("kind", [SILENT, TORN, SUSPENDED])
@pytest.mark.parametrize("first, last", [(45.0, 60.0), (46.5, 50.0)])
def test_no_one_is_handed_back_while_the_server_stands_still(kind: int, first: float, last: float) -> None:
    """Nor at the instant between an outage in it and what is left of it, where a window of outages ends."""
    assert WINDOW_S * 6 == 48.0
    timelines = with_standstills(OutageTimelines.of([[(47.0, 48.0 - TICK_S, kind)]] * 200), [(first, last)])
    population = population_of(1, timelines, standstills=((first, last),))
    assert_equal(population, Trouble(duration=150.0).rules)


def test_a_second_standstill_before_the_answers_of_the_first_arrive_is_another_outage() -> None:
    """A client notices then what the first one has begun, in the second one."""
    standstills = ((60.0, 63.0), (63.015625, 67.0))
    timelines = with_standstills(OutageTimelines.none(400), standstills)
    oracle, _ = assert_equal(population_of(1, timelines, standstills=standstills), Trouble(duration=150.0).rules)
    assert ((oracle.episodes.detected > 63.015625) & (oracle.episodes.detected < 63.2)).any()


def test_a_torn_link_ends_an_old_connection_while_its_client_waits_as_advised() -> None:
    """The server lets one client in each second, so many wait for long, past that link's end."""
    rules = Trouble(duration=300.0, joins_per_s=1.0, service=0.5, admission_seconds=1.0).rules
    timelines = OutageTimelines.of([[(100.0, 108.0, SILENT), (124.0, 124.5, TORN)]] * 60)
    oracle, _ = assert_equal(population_of(1, timelines), rules)
    assert not oracle.episodes.grace_ended.all()


def test_the_size_of_all_arrays_counts_the_jitter_of_paths() -> None:
    trouble = WORLDS["jitter"]
    without = dataclasses.replace(trouble, jitter=0.0)
    sizes = [BatchTier(each.population, each.rules).array_bytes for each in (trouble, without)]
    assert sizes[0] - sizes[1] == 8 * trouble.size


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", WORLDS)
def test_larger_worlds_are_equal_too(name: str) -> None:
    trouble = dataclasses.replace(WORLDS[name], size=300, duration=3600.0)
    assert_equal(trouble.population, trouble.rules)
