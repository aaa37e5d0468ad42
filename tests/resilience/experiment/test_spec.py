"""Experiments as values: fault windows and digests."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.config import ServerConfig
from resilience.errors import ConfigError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults import (
    AnyFault,
    BlackholeFault,
    CutFault,
    RefuseFault,
    ServerDrainFault,
    ServerKillFault,
    ServerSuspendFault,
)
from resilience.experiment.primitives import Crash
from resilience.experiment.spec import METRICS, Cohort, Expectation, Experiment, Hypothesis, Op


def experiment(*faults: AnyFault, seed: int = 1) -> Experiment:
    """Two cohorts, an hour, some faults."""
    return Experiment("a", 3600.0, (Cohort("x", 10), Cohort("y", 20)), seed=seed, faults=faults)


def test_a_fault_is_a_window_per_cohort_and_repetition() -> None:
    """Named by its place in the file, its repetition, its kind and its cohort; in order of time."""
    run = experiment(RefuseFault(100.0, ("x", "y"), times=2, every=50.0, duration=3.0), CutFault(120.0, ("y",)))
    assert [(w.fault_id, w.place, w.starts_at, w.ends_at) for w in run.windows()] == [
        ("0.0:refuse@x", "x", 100.0, 103.0),
        ("0.0:refuse@y", "y", 100.0, 103.0),
        ("1.0:cut@y", "y", 120.0, 120.0),
        ("0.1:refuse@x", "x", 150.0, 153.0),
        ("0.1:refuse@y", "y", 150.0, 153.0),
    ]


@given(st.integers(0, 10_000), st.floats(0.0, 40.0), st.integers(1, 20))
def test_jitter_moves_each_repetition_later_by_a_part(seed: int, jitter: float, times: int) -> None:
    """Within its bound, the same for all cohorts of the fault, and the same every time it is asked."""
    fault = CutFault(100.0, ("x", "y"), times=times, every=50.0, jitter=jitter)
    windows = experiment(fault, seed=seed).windows()
    assert windows == experiment(fault, seed=seed).windows()
    for number in range(times):
        mine = {w.starts_at for w in windows if w.fault_id.startswith(f"0.{number}:")}
        assert len(mine) == 1
        assert 100.0 + number * 50.0 <= mine.pop() <= 100.0 + number * 50.0 + jitter
    assert all(one.starts_at <= other.starts_at for one, other in pairwise(windows))


def test_jitter_follows_the_seed() -> None:
    """The run's own, or the one that is asked for."""
    fault = CutFault(100.0, ("x",), times=5, every=50.0, jitter=40.0)
    one, two = (experiment(fault, seed=seed).windows() for seed in (1, 2))
    assert one != two
    assert experiment(fault, seed=1).windows(seed=2) == two
    assert len({w.starts_at % 50 for w in one}) == 5


def test_another_fault_moves_no_window() -> None:
    """A fault added at the end leaves those before it where they were."""
    fault = CutFault(100.0, ("x",), times=5, every=50.0, jitter=40.0)
    alone = experiment(fault).windows()
    together = experiment(fault, BlackholeFault(200.0, ("y",), duration=9.0)).windows()
    assert set(alone) < set(together)


def test_kind_and_length() -> None:
    """Of each fault there is; a cut is over at once."""
    faults = (CutFault(1.0, ("x",)), RefuseFault(1.0, ("x",), duration=2.0), BlackholeFault(1.0, ("x",), duration=3.0))
    assert [(fault.kind, fault.length) for fault in faults] == [("cut", 0.0), ("refuse", 2.0), ("blackhole", 3.0)]


def test_a_silence_too_short_for_a_canary_is_refused() -> None:
    """Half a second can be seen; less looks like a slow answer, so the fault would never be confirmed."""
    assert experiment(BlackholeFault(100.0, ("x",), duration=0.5)).faults
    with pytest.raises(ConfigError, match=r"faults\[0\]\.duration = 0\.49: must be at least 0\.5 s: a canary"):
        experiment(BlackholeFault(100.0, ("x",), duration=0.49))


def test_a_run_waits_for_the_returns_that_it_judges() -> None:
    """Two seconds to see that participants are back; at least five, and any threshold, where a latency is judged."""
    rate, excess, downtime, trips = (
        Expectation(metric, Op.AT_MOST, threshold)
        for metric, threshold in (
            ("success_rate", 0.9),
            ("excess_s.mean", 1.0),
            ("downtime_s.max", 20.0),
            ("heartbeat_rtt_s.p95", 30.0),
        )
    )
    expected = {(): 2.0, (rate, trips): 2.0, (excess,): 5.0, (rate, downtime, excess): 20.0}
    for expectations, settle in expected.items():
        run = Experiment("a", 100.0, (Cohort("x", 10),), expectations=expectations)
        assert run.settle_s == settle
        assert msgspec.structs.replace(run, faults=(CutFault(100.0 - settle, ("x",)),)).faults
        with pytest.raises(ConfigError, match=f"returns need {settle:g} s"):
            msgspec.structs.replace(run, faults=(CutFault(100.1 - settle, ("x",)),))


@pytest.mark.parametrize(
    "metric, op, threshold, is_missable",
    [
        ("success_rate", Op.AT_LEAST, 0.0, False),
        ("success_rate", Op.ABOVE, 0.0, True),
        ("success_rate", Op.AT_MOST, 1.0, False),
        ("success_rate", Op.AT_LEAST, 1.0, True),
        ("detection_s.mean", Op.AT_LEAST, 0.0, False),
        ("grace_expirations", Op.AT_MOST, 0.0, True),
        ("excess_s.restricted_mean", Op.BELOW, 30.5, False),
        ("excess_s.restricted_mean", Op.BELOW, 30.0, True),
        ("excess_s.restricted_mean", Op.AT_MOST, 30.0, False),
        ("excess_s.mean", Op.AT_MOST, 30.0, True),
    ],
)
def test_a_target_that_every_run_meets_is_refused(metric: str, op: Op, threshold: float, is_missable: bool) -> None:
    """A restricted mean is at most its deadline, 30 s: with a higher target one of 41 back was every target met."""
    expectation = Expectation(metric, op, threshold)
    with nullcontext() if is_missable else pytest.raises(ConfigError, match="every run meets this target"):
        Experiment("a", 100.0, (Cohort("x", 10),), expectations=(expectation,))


def test_a_run_without_faults_may_be_short() -> None:
    assert Experiment("a", 1.0, (Cohort("x", 1),), ramp=0.5, hypothesis=Hypothesis(within=1.0)).duration == 1.0


def test_the_digest_is_stable() -> None:
    """A golden value: the same experiment has the same name in every process and version of Python."""
    assert experiment(CutFault(100.0, ("x",))).digest == GOLDEN


GOLDEN = "02bcc49959a177ebdec9542ba5b4d915fcbc137df9f37ac067a1828e4cbfbf15"


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"duration": 3601.0}, {"title": "b"}, {"faults": ()}, {"cohorts": (Cohort("x", 11),)}]
)
def test_every_part_is_in_the_digest(change: dict[str, object]) -> None:
    """What runs differently is called differently."""
    run = experiment(CutFault(100.0, ("x",)))
    assert msgspec.structs.replace(run, **change).digest != run.digest


def test_clients_are_summed_over_cohorts() -> None:
    """Ten and twenty."""
    assert experiment().clients == 30


def test_metrics_are_named_once() -> None:
    """Everything an expectation may be about, without repetition."""
    assert len(set(METRICS)) == len(METRICS) > 30
    assert {"success_rate", "excess_s.p95", "attempts.mean", "grace_expirations"} <= set(METRICS)


@pytest.mark.parametrize(
    "fault, lanes",
    [
        (ServerSuspendFault(10.0, duration=2.0), {Lane.REAL, Lane.VIRTUAL, Lane.MODEL}),
        (ServerDrainFault(10.0, duration=4.0), {Lane.REAL, Lane.VIRTUAL, Lane.MODEL}),
        (ServerKillFault(10.0, duration=2.0), {Lane.REAL, Lane.VIRTUAL, Lane.MODEL}),
        (ServerKillFault(10.0, duration=2.0, crash=Crash()), {Lane.VIRTUAL}),
    ],
)
def test_an_experiment_names_what_a_lane_cannot_carry_out(fault: AnyFault, lanes: set[Lane]) -> None:
    experiment = Experiment("x", 40.0, (Cohort("a", 2),), faults=(fault,))
    obstacles = {lane: experiment.obstacle(lane) for lane in (Lane.REAL, Lane.VIRTUAL, Lane.MODEL)}
    assert {lane for lane, obstacle in obstacles.items() if obstacle is None} == lanes
    for obstacle in filter(None, obstacles.values()):
        assert obstacle.key.startswith("faults[0]")
        assert obstacle.lanes == lanes


def test_a_drain_must_leave_the_server_its_time() -> None:
    """Its window, as long as its clients take to come back, and its last commits."""
    server = ServerConfig(drain_window=0.5, join_capacity=10.0)
    with pytest.raises(ConfigError, match=r"faults\[0\]\.duration.*at least 4 s: so long the server takes to drain 30"):
        Experiment("x", 40.0, (Cohort("a", 30),), server=server, faults=(ServerDrainFault(10.0, duration=3.9),))


def test_what_only_catalogues_read_changes_no_digest() -> None:
    one = experiment(CutFault(100.0, ("x",)))
    other = msgspec.structs.replace(one, question="Why?", group="links", shows=("F1",))
    assert other.digest == one.digest


@pytest.mark.parametrize("shows, key", [(("7",), "shows[0]"), (("F0",), "shows[0]"), (("F1", "F1"), "shows[1]")])
def test_what_is_shown_are_ids_of_failure_modes(shows: tuple[str, ...], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        msgspec.structs.replace(experiment(CutFault(100.0, ("x",))), shows=shows)
    assert caught.value.key == key
