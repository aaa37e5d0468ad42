"""A population as the command runs it: a run directory with episodes, its report, and one line for each mistake."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from reports.build import analyse
from reports.checking import named_rows
from reports.episode_table import read_episodes
from reports.episodes import episodes_frame
from reports.frames import load_history
from reports.windows import windows_frame
from resilience.config import ClientConfig, ServerConfig
from resilience.errors import ExitCode, ExperimentError, HarnessError, UsageError
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import (
    AnyFault,
    BlackholeFault,
    ClientSuspendFault,
    CutFault,
    FreezeFault,
    LatencyFault,
    RefuseFault,
    ServerDrainFault,
    ServerKillFault,
    ServerSuspendFault,
)
from resilience.experiment.primitives import Direction
from resilience.experiment.spec import Cohort, Expectation, Experiment, Op, PopulationSpec
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus, read_run_info
from sim.cli import sim
from sim.model.lane import ModelLane
from sim.population.columns import EpisodeTable
from sim.population.jitter import DialDeviations
from sim.population.oracle import run_explicitly
from sim.population.population import EpisodeOutcome
from sim.population.run import PopulationRun
from sim.population.strikes import drain_s, process_ends, standstills_of
from sim.population.world import population_of
from sim.profiles.files import load_profile
from sim.profiles.timelines import on_grid
from sim.random_arrays import keys_of

HOME, PHONES = (
    Cohort("home", 40, profiles=("home-wifi",)),
    Cohort("phones", 30, profiles=("lte-moving", "carrier-outage")),
)
HALL = Experiment(
    name="hall",
    duration=900.0,
    cohorts=(HOME, PHONES, Cohort("wired", 20)),
    faults=(RefuseFault(300.0, ("home", "wired"), duration=20.0), CutFault(600.0, ("wired",), times=2, every=2.0)),
    expectations=(Expectation("success_rate", Op.AT_LEAST, 0.5),),
)


def changed(**values: object) -> Experiment:
    """The hall with other values."""
    return msgspec.structs.replace(HALL, **values)


def executed(experiment: Experiment, run_dir: Path, seed: int = 3) -> PopulationRun:
    """A run that has left its episodes there."""
    run_dir.mkdir()
    run = PopulationRun(experiment, seed)
    run.execute(run_dir)
    return run


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of one run of the hall."""
    run_dir = tmp_path_factory.mktemp("population") / "run"
    executed(HALL, run_dir)
    return run_dir


def test_the_run_is_whole_and_is_reported(hall: Path) -> None:
    info = read_run_info(hall)
    assert (info.status, info.lane.value, info.seed) == (RunStatus.COMPLETED, "population", 3)
    log, episodes, summary = analyse(hall)
    assert log.problems == ()
    assert summary.success_rate.affected == int(episodes["affected"].sum()) > 40
    assert set(episodes["cohort"].unique()) == {"home", "phones", "wired"}


def test_an_edited_file_of_episodes_is_noticed(hall: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in hall.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    frame = pd.read_parquet(copy / "episodes.parquet")
    frame.iloc[:-1].to_parquet(copy / "episodes.parquet")
    with_problems = analyse(copy)[2] if (copy / "run.json").exists() else None
    assert with_problems is not None
    assert with_problems.verdict.value == "inconclusive"


def test_the_same_seed_gives_the_same_episodes(tmp_path: Path) -> None:
    for name in "ab":
        executed(HALL, tmp_path / name)
    first, second = (read_episodes(tmp_path / name / "episodes.parquet") for name in "ab")
    pd.testing.assert_frame_equal(first, second)


def test_each_row_is_what_the_oracle_says_of_its_participant(hall: Path) -> None:
    """Instants, and durations computed from them by hand, outage by outage."""
    run = PopulationRun(HALL, 3)
    truth = run_explicitly(run.population, run.rules).episodes
    frame = read_episodes(hall / "episodes.parquet")
    exposed = np.flatnonzero(truth.outcome != EpisodeOutcome.NOT_EXPOSED)
    assert len(frame) == len(exposed)
    timelines = run.population.timelines
    for row, index in zip(named_rows(frame), exposed, strict=True):
        outages = [
            o for o in timelines.of_participant(int(timelines.owner[index])) if o.start >= timelines.start[index]
        ]
        assert row.fault_at == timelines.start[index]
        assert row.affected == (truth.outcome[index] != EpisodeOutcome.RODE_THROUGH)
        if not row.affected:
            assert row.downtime_s is None
            continue
        ended = truth.ended[index] if np.isfinite(truth.ended[index]) else run.rules.duration
        during = [o for o in outages if o.start < ended]
        down = sum(min(o.end, ended) - o.start for o in during)
        assert (row.ended_at, row.windows, row.attempts) == (ended, len(during), truth.dials[index])
        assert row.outage_s == pytest.approx(down)
        assert row.outage_s + row.usable_s == pytest.approx(row.downtime_s)
        assert (row.healed_at is None) == (during[-1].end > ended)
    assert frame["participant"].isin([f"home-{i:04d}" for i in range(1, 41)]).sum() == (frame["cohort"] == "home").sum()


def test_a_fault_keeps_its_id_and_an_outage_of_one_participant_is_named_by_its_minute(hall: Path) -> None:
    frame = read_episodes(hall / "episodes.parquet")
    wired = frame[frame["cohort"] == "wired"]
    assert set(wired["fault_id"]) == {"0.0:refuse@wired", "1.0:cut@wired", "1.1:cut@wired"}
    assert set(wired["kind"]) == {"refuse", "cut"}
    assert len(wired) == 60
    phones = frame[frame["cohort"] == "phones"]
    alone = phones[phones["event"].astype(str) != "carrier-outage.carrier-0.0"]
    assert 0 < len(alone) < len(phones)
    assert alone["event"].astype(str).tolist() == [f"minute-{at // 60:.0f}" for at in alone["fault_at"]]
    assert (alone["kind"] == "silent").any()


def test_an_outage_of_a_carrier_is_one_event_of_all_its_cohorts(tmp_path: Path) -> None:
    """And its begin is the one that the profile says, in both of them."""
    cohorts = tuple(Cohort(name, 60, profiles=("carrier-outage",)) for name in ("left", "right"))
    executed(changed(cohorts=cohorts, faults=()), tmp_path / "run")
    frame = read_episodes(tmp_path / "run" / "episodes.parquet")
    assert set(frame["cohort"]) == {"left", "right"}
    assert set(frame["event"]) == {"carrier-outage.carrier-0.0"}
    assert set(frame["fault_at"]) == {450.0}
    assert analyse(tmp_path / "run")[2].success_rate.events == 1


def test_access_points_fail_by_themselves_and_too_many_of_them_are_pooled() -> None:
    """Each is an event of its own cohort, until there are more than a report can list."""
    for clients, pooled in ((300, False), (60_000, True)):
        cohorts = (Cohort("venue", clients, profiles=("access-point-restart",)),)
        venue = changed(cohorts=cohorts, faults=(), duration=30_000.0)
        population = population_of(venue, 3)
        names = {population.causes[code] for code in population.timelines.cause.tolist()}  # type: ignore[union-attr]
        assert names
        assert all(not name if pooled else name.startswith("access-point-restart.restart.venue-") for name in names)


def test_the_gauges_add_up(hall: Path) -> None:
    """Each second's connected clients are those before, less the lost, with the returned; requests are counted once."""
    gauges, frame = pd.read_parquet(hall / "gauges.parquet"), read_episodes(hall / "episodes.parquet")
    assert gauges["second"].tolist() == list(range(900))
    assert gauges["lost"].sum() == frame["detected_at"].notna().sum()
    assert gauges["returned"].sum() == frame["returned"].sum() > 0
    away = frame["detected_at"].le(450.0) & ~frame["ended_at"].lt(450.0)
    assert gauges["connected"][449] == 90 - away.sum()
    assert gauges["served"].sum() >= gauges["returned"].sum()


def test_another_cohort_moves_no_other_participant() -> None:
    """The draws of a participant depend on its cohort and number alone."""
    alone, among = (population_of(changed(cohorts=cohorts, faults=()), 3) for cohorts in ((PHONES,), (HOME, PHONES)))
    assert np.array_equal(alone.seeds, among.seeds[40:])
    assert alone.timelines.of_participant(7) == among.timelines.of_participant(47)


def test_the_latency_of_a_cohort_is_that_of_its_first_profile_with_a_path() -> None:
    first = Cohort("moving", 1, profiles=("carrier-outage", "lte-moving", "home-wifi"))
    population = population_of(changed(cohorts=(first, Cohort("wired", 1)), faults=()), 3)
    assert population.latency.tolist() == on_grid([0.025, 0.0125]).tolist()
    assert population.jitter is not None
    assert population.jitter.tolist() == on_grid([load_profile("lte-moving").path.jitter.value, 0.0]).tolist()  # type: ignore[union-attr]


def test_the_trips_of_a_dial_deviate_by_the_jitter_of_their_path_at_most() -> None:
    """Around the mean, each by itself; a path without jitter is one whose trips all take the same."""
    numbers = np.arange(20_000)
    jitter = np.where(numbers % 2 == 0, 0.02, 0.0)
    found = DialDeviations(keys_of(1, 0, last=numbers), numbers.astype(np.int32) % 5, numbers % 3, jitter)
    for trips, values in ((3, found.request), (1, found.response), (1, found.resume)):
        assert not values[1::2].any()
        assert np.abs(values).max() <= 0.02 * trips
        assert values[::2].std() == pytest.approx(0.02 * math.sqrt(trips / 3), rel=0.03)
        assert abs(values[::2].mean()) < 0.02 * 4 * math.sqrt(trips / 3 / 10_000)
    assert abs(np.corrcoef(found.response[::2], found.resume[::2])[0, 1]) < 0.05


@pytest.mark.parametrize("jitter", [[0.3, 0.0], [-0.01, 0.0], [0.0]])
def test_a_jitter_that_no_path_has_is_refused(jitter: list[float]) -> None:
    calm = population_of(changed(cohorts=(Cohort("wired", 2),), faults=()), 1)
    with pytest.raises(ValueError, match="jitter must"):
        dataclasses.replace(calm, jitter=np.array(jitter))


def test_the_lane_agrees_with_the_model(tmp_path: Path) -> None:
    """Where both can carry an experiment: excess and attempts within four standard errors and the model's costs."""
    experiment = Experiment(
        name="both",
        duration=66.0,
        cohorts=(Cohort("a", 60),),
        population=PopulationSpec(latency=0.0005),
        faults=(RefuseFault(30.0, ("a",), duration=10.0), CutFault(60.0, ("a",))),
    )
    executed(experiment, tmp_path / "population")
    execute(ModelLane(), experiment, 3, tmp_path / "model")
    frames = {lane: episodes_frame(load_history(tmp_path / lane)) for lane in ("population", "model")}
    for kind in ("refuse", "cut"):
        mine, other = (frame[frame["kind"] == kind] for frame in frames.values())
        assert len(mine) == len(other) == 60
        for column, margin in (("excess_s", 0.05), ("attempts", 0.0), ("detection_s", 0.001)):
            values = [each[column].astype(float) for each in (mine, other)]
            error = sum(value.var() / len(value) for value in values) ** 0.5
            assert abs(values[0].mean() - values[1].mean()) <= 4 * error + margin, (kind, column)


@pytest.mark.parametrize(
    "fault",
    [
        BlackholeFault(24.0, ("a",), duration=12.0),
        ServerKillFault(30.0, duration=5.0),
        ServerDrainFault(30.0, duration=8.0),
        ServerSuspendFault(24.0, duration=12.0),
        ClientSuspendFault(24.0, ("a",), duration=45.0),
    ],
)
def test_the_lane_agrees_with_the_model_in_a_quiz(tmp_path: Path, fault: AnyFault) -> None:
    """A hole between answers, a crash, a deployment, suspensions of either end: as long away, after as many dials."""
    experiment = Experiment(
        name="both",
        duration=90.0,
        cohorts=(Cohort("a", 80),),
        population=PopulationSpec(latency=0.0005),
        faults=(fault,),
    )
    mine, other = both_lanes(experiment, tmp_path)
    assert len(mine) == len(other) == 80
    assert set(mine["healed_at"]) == {fault.at + fault.length}
    columns = [("restored_at", 0.1), ("attempts", 0.5)]
    if isinstance(fault, BlackholeFault):
        columns.append(("detection_s", 0.05))
    for column, margin in columns:
        assert_equal_means(mine, other, column, margin)


@pytest.mark.parametrize(
    "faults",
    [
        (ServerKillFault(30.0, duration=10.0), ServerSuspendFault(35.0, duration=40.0)),
        (ServerSuspendFault(30.0, duration=40.0), ServerKillFault(30.0, duration=10.0)),
        (ServerDrainFault(30.0, duration=20.0), ServerSuspendFault(35.0, duration=30.0)),
        (RefuseFault(45.0, ("a",), duration=2.0), ServerSuspendFault(40.0, duration=20.0)),
        (RefuseFault(35.0, ("a",), duration=10.0), ServerSuspendFault(40.0, duration=20.0)),
        (CutFault(57.0, ("a",)), ServerSuspendFault(40.0, duration=20.0)),
        (BlackholeFault(45.0, ("a",), duration=5.0), ServerSuspendFault(40.0, duration=20.0)),
        (ClientSuspendFault(45.0, ("a",), duration=5.0), ServerSuspendFault(40.0, duration=20.0)),
        (ServerSuspendFault(25.0, duration=20.0), ServerKillFault(30.0, duration=10.0)),
        (ServerDrainFault(30.0, duration=20.0), ServerSuspendFault(30.3, duration=5.0)),
    ],
)
def test_the_lane_agrees_with_the_model_where_an_outage_meets_a_standstill(
    tmp_path: Path, faults: tuple[AnyFault, ...]
) -> None:
    """A momentary cut stays one: dials of the rest of the standstill are taken, and wait.

    A suspension that begins between two processes is none, and its end does not matter to the next one.
    """
    experiment = Experiment("both", 120.0, (Cohort("a", 60),), population=PopulationSpec(latency=0.0005), faults=faults)
    mine, other = both_lanes(experiment, tmp_path)
    assert len(mine) == len(other) == 60
    assert_equal_means(mine, other, "restored_at", 0.1)
    assert_equal_means(mine, other, "attempts", 0.5)


def both_lanes(experiment: Experiment, tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The episodes of a run in this lane and of one in the model; without those that no client noticed."""
    executed(experiment, tmp_path / "population")
    execute(ModelLane(), experiment, 3, tmp_path / "model")
    mine, other = (episodes_frame(load_history(tmp_path / lane)) for lane in ("population", "model"))
    return mine[mine["affected"]], other[other["affected"]]


def assert_equal_means(mine: pd.DataFrame, other: pd.DataFrame, column: str, margin: float) -> None:
    """The means of this column are within four standard errors and the margin."""
    values = [each[column].astype(float) for each in (mine, other)]
    error = sum(value.var() / len(value) for value in values) ** 0.5
    assert abs(values[0].mean() - values[1].mean()) <= 4 * error + margin, column


def test_a_server_that_closes_its_connections_may_stand_still_meanwhile() -> None:
    """It closes and ends when it continues, as late as its successor is to start at most."""
    drain = ServerDrainFault(30.0, duration=20.0)
    for length, end in ((5.0, 35.25), (60.0, 50.0)):
        plan = changed(cohorts=(Cohort("a", 8),), faults=(drain, ServerSuspendFault(30.25, duration=length)))
        assert standstills_of(plan, 1).pairs == ((30.25, end),)
        assert process_ends(plan, 1) == (end,)


def test_a_drain_closes_one_connection_after_the_other_on_each_server() -> None:
    """Over the drain window, whose length and pause its clients' return follows."""
    fault = ServerDrainFault(300.0, duration=20.0)
    population = population_of(changed(cohorts=(Cohort("a", 8),), faults=(fault,), population=PopulationSpec(2)), 1)
    starts = [population.timelines.of_participant(who)[0].start for who in range(8)]
    assert starts == [300.0, 300.0, 300.5, 300.5, 301.0, 301.0, 301.5, 301.5]
    assert {outage.end for each in population.timelines for outage in each} == {float(on_grid(320.6))}


def test_a_share_of_a_cohort_suffers_alone() -> None:
    fault = BlackholeFault(300.0, ("a",), duration=20.0, share=0.25)
    population = population_of(changed(cohorts=(Cohort("a", 40), Cohort("b", 4)), faults=(fault,)), 1)
    struck = [len(each) for each in population.timelines]
    assert sum(struck[:40]) == 10
    assert sum(struck[40:]) == 0


@pytest.mark.parametrize(
    "values, said",
    [
        ({"faults": (FreezeFault(300.0, ("home",), duration=5.0),)}, "cannot carry out freeze"),
        ({"faults": (LatencyFault(300.0, ("home",), duration=5.0, delay=0.1),)}, "cannot carry out latency"),
        ({"faults": (BlackholeFault(300.0, ("home",), duration=5.0, direction=Direction.UP),)}, "in one direction"),
        ({"cohorts": (Cohort("home", 5, leaves_at=60.0),), "faults": ()}, "clients that leave"),
        ({"cohorts": (Cohort("home", 5, profiles=("home-wfi",)),), "faults": ()}, "did you mean home-wifi"),
        ({"cohorts": (Cohort("home", 5),), "faults": (), "population": PopulationSpec(latency=0.3)}, "0.25 s"),
        ({"cohorts": (Cohort("home", 5, profiles=("5g", "5g")),), "faults": ()}, "must not repeat"),
        ({"cohorts": (Cohort("home", 5),), "faults": (), "duration": 7e5}, "duration: 700000.0: must be at most"),
        ({"cohorts": tuple(Cohort(f"c{i}", 10**6) for i in range(17)), "faults": ()}, "population.servers: 1: one"),
        ({"server": ServerConfig(join_capacity=3e6)}, "server.join_capacity: 3000000.0: must be at most 1,048,576"),
        ({"costs": ModelCosts(commit=3.0)}, "costs.commit: 3.0: must be below 0.25 s in this lane"),
        (
            {"costs": ModelCosts(handshake=1e-9, restore=1e-9)},
            "costs.handshake: 0.0: must take at least 0.0000010 s together with costs.restore in this lane",
        ),
    ],
)
def test_what_the_lane_cannot_carry_is_one_clear_error(values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        PopulationRun(changed(**values), 1)
    assert str(raised.value).startswith("hall: ")


@pytest.mark.parametrize(
    "key, values",
    [
        ("client.probe_after", {"client": ClientConfig(probe_after=0.5)}),
        (
            "client.probe_deadline",
            {"client": ClientConfig(probe_deadline=0.5), "population": PopulationSpec(latency=0.25)},
        ),
        ("server.heartbeat_interval", {"server": ServerConfig(heartbeat_interval=9.0)}),
    ],
)
def test_timing_beyond_the_arithmetic_is_refused_by_its_key(key: str, values: dict[str, object]) -> None:
    with pytest.raises(ExperimentError, match=rf"^hall: {re.escape(key)}: "):
        PopulationRun(changed(**values), 1)


def test_the_deadline_of_a_probe_must_exceed_the_longest_round_trip_of_the_cohorts() -> None:
    """Not that of the slowest path which the lane could carry."""
    experiment = changed(
        cohorts=(Cohort("near", 2), Cohort("home", 2, profiles=("home-wifi",))),
        faults=(),
        population=PopulationSpec(latency=0.1),
        client=ClientConfig(probe_deadline=0.25),
    )
    assert PopulationRun(experiment, 1).rules.client.probe.deadline == 0.25
    with pytest.raises(ExperimentError, match=r"client\.probe_deadline: 0\.25: must exceed 0\.26 s in this lane"):
        PopulationRun(msgspec.structs.replace(experiment, population=PopulationSpec(latency=0.13)), 1)


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    run = PopulationRun(HALL, 1)
    with pytest.raises(HarnessError, match="cannot be written"):
        run.execute(tmp_path / "absent")


def command(tmp_path: Path, *more: str) -> Result:
    """``sim run`` of a small experiment in this lane."""
    path = tmp_path / "small.toml"
    path.write_text('name = "small"\nduration = 60.0\n[[cohorts]]\nname = "a"\nclients = 3\n', encoding="utf-8")
    arguments = ["run", str(path), "--lane", "population", "--out", str(tmp_path / "run"), *more]
    return CliRunner().invoke(sim, arguments, standalone_mode=False)


@pytest.mark.parametrize("option", [("--repeat", "2"), ("--log-format", "columns")])
def test_an_option_without_effect_is_refused_before_a_directory_is_made(
    tmp_path: Path, option: tuple[str, str]
) -> None:
    done = command(tmp_path, *option)
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith(option[0])
    assert not (tmp_path / "run").exists()


def test_the_command_runs_and_reports(tmp_path: Path) -> None:
    done = command(tmp_path, "--quiet")
    assert done.return_value == ExitCode.INCONCLUSIVE, done.output  # nothing happened that could be judged
    assert (tmp_path / "run" / "report.html").exists()


def test_a_table_of_no_outages_is_empty() -> None:
    calm = changed(cohorts=(Cohort("wired", 4),), faults=())
    run = PopulationRun(calm, 1)
    episodes = run_explicitly(run.population, run.rules).episodes
    (block,) = EpisodeTable(calm, 1, run.population, run.rules, episodes).blocks()
    assert block.num_rows == 0


def test_the_costs_of_the_experiment_are_the_servers(tmp_path: Path) -> None:
    """A slower server, a small backlog and no wasted work show in the gauges, and the run keeps its costs."""
    slow = ModelCosts(handshake=0.5, backlog=5, wasted_work=False)
    plan = Experiment(
        "slow",
        120.0,
        (Cohort("all", 40),),
        faults=(RefuseFault(20.0, ("all",), duration=5.0),),
        costs=slow,
    )
    quick = msgspec.structs.replace(plan, costs=ModelCosts())
    found = {}
    for name, each in (("slow", plan), ("quick", quick)):
        (tmp_path / name).mkdir()
        PopulationRun(each, 1).execute(tmp_path / name)
        found[name] = pd.read_parquet(tmp_path / name / "gauges.parquet").sum()
        assert read_run_info(tmp_path / name).costs == each.costs
    assert found["quick"]["served"] == found["quick"]["returned"] == 40
    assert found["slow"]["dropped"] > 0
    assert found["slow"]["skipped"] > 0


@pytest.mark.parametrize("end", [ServerKillFault(33.0, duration=9.0), ServerDrainFault(33.0, duration=9.0)])
def test_a_server_that_ends_takes_its_queue_with_it(tmp_path: Path, end: AnyFault) -> None:
    """Forty seconds of work wait when it ends; its successor begins with none, and all come back to that one."""
    plan = Experiment(
        "queue",
        300.0,
        (Cohort("all", 40),),
        faults=(RefuseFault(20.0, ("all",), duration=5.0), end),
        server=ServerConfig(admission_seconds=60.0),
        client=ClientConfig(open_timeout=60.0),
        costs=ModelCosts(handshake=1.0),
    )
    PopulationRun(plan, 1).execute(tmp_path)
    gauges = pd.read_parquet(tmp_path / "gauges.parquet")
    ended = 33 + (math.ceil(drain_s(plan)) if isinstance(end, ServerDrainFault) else 0)
    assert gauges["queued"][31] > 20
    assert gauges["queued"][ended] == 0
    assert gauges["unfinished"].sum() > 20
    assert gauges["connected"].iloc[-1] == 40


def test_an_outage_that_a_later_fault_continues_makes_no_window_longer(tmp_path: Path) -> None:
    """Who still waits for the slow server when the second fault strikes says nothing of when the first one ended."""
    plan = Experiment(
        "continued",
        120.0,
        (Cohort("all", 60),),
        faults=(RefuseFault(20.0, ("all",), duration=5.0), RefuseFault(33.0, ("all",), duration=5.0)),
        server=ServerConfig(admission_seconds=60.0),
        costs=ModelCosts(handshake=0.5),
    )
    for clients in (60, 1):
        run_dir = tmp_path / str(clients)
        run_dir.mkdir()
        PopulationRun(msgspec.structs.replace(plan, cohorts=(Cohort("all", clients),)), 1).execute(run_dir)
        windows = windows_frame(load_history(run_dir))
        assert windows["healed_at"].tolist() == [25.0, 38.0]
        assert windows["invalid"].isna().all()
