"""Capacity plans: crowds of triggers, the answer against arithmetic, its report, continuing, and bad plans."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.sweep import BandName, load_sweep
from resilience.errors import ConfigError, ExitCode, ExperimentError
from sim.calibration.calibration_file import HERD
from sim.planning.capacity import LOADS, _quantile_for, copies_for, downtime_to_show, envelope_of, experiment_of
from sim.planning.plan_files import PlanAnswer, load_plan
from sim.planning.triggers import CapacityPlan, Crowd, PlanTarget, Trigger, TriggerKind, crowd_of

from .sweeps import run_sim

PLAN = CapacityPlan(
    "plan",
    1_000_000,
    PlanTarget(longest_downtime=60.0),
    (Trigger(TriggerKind.REGION),),
    connections_per_process=50_000,
)
FILE = """
name = "small"
participants = 3000
processes = [3, 4, 6, 11]
replications = 3

[target]
longest_downtime = 30.0
back = 0.95

[mix]
home-wifi = 0.5

[server]
join_capacity = 30.0

[costs]
handshake = 0.016
restore = 0.017

[[triggers]]
kind = "region"
duration = 5.0
"""


def _plan(**changes: object) -> CapacityPlan:
    return msgspec.structs.replace(PLAN, **changes)


def test_the_crowds_of_the_triggers() -> None:
    """Eleven processes, one of them lost: 100,000 on each that is left."""
    crowds = {
        kind: crowd_of(PLAN, Trigger(kind, duration=5.0, participants=200, share=0.25), 11) for kind in TriggerKind
    }
    assert crowds == {
        TriggerKind.REGION: Crowd(100_000, 100_000),
        TriggerKind.ROLLING_DEPLOY: Crowd(100_000, 100_000),
        TriggerKind.CARRIER: Crowd(100_000, 25_000),
        TriggerKind.ACCESS_POINT: Crowd(100_000, 200),
        TriggerKind.SERVER_PROCESS: Crowd(100_000, math.ceil(math.ceil(1_000_000 / 11) / 10)),
    }


def test_events_stay_whole() -> None:
    plan = _plan(event_size=30_000)
    assert plan.on_one(20) == 60_000  # 34 events on 20 processes
    assert plan.on_one(34) == plan.on_one(90) == 30_000


@given(st.integers(2, 400), st.sampled_from(LOADS), st.sampled_from(TriggerKind), st.integers(1, 10**6))
def test_a_crowd_fits_its_process(processes: int, load: float, kind: TriggerKind, people: int) -> None:
    plan = _plan(participants=people)
    crowd = crowd_of(plan, Trigger(kind, duration=5.0), processes, load)
    assert 1 <= crowd.struck <= crowd.connected
    assert copies_for(plan, crowd) >= 1


def test_a_small_crowd_is_simulated_several_times() -> None:
    crowd = Crowd(1000, 20)
    needed = 3 * math.log(0.05) / math.log(0.99)
    assert copies_for(PLAN, crowd) * crowd.struck * PLAN.replications >= needed
    assert copies_for(PLAN, Crowd(50_000, 50_000)) == 1
    experiment = experiment_of(PLAN, Trigger(TriggerKind.ACCESS_POINT), 41, copies=3)
    assert (experiment.clients, experiment.population.servers) == (75_000, 3)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small plan, answered."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "plan.toml").write_text(FILE, encoding="utf-8")
    result = run_sim("capacity", folder / "plan.toml", "--workers", "1", "--out", folder / "out")
    assert result.exit_code == 0, result.exception
    return folder / "out"


def test_the_answer_is_what_arithmetic_says(answered: Path) -> None:
    """3,000 at 30 joins a second each: two left need 50 s, three 33 s, five 20 s, ten 10 s; there are 25."""
    answer = msgspec.json.decode((answered / "plan.json").read_bytes(), type=PlanAnswer)
    assert (answer.processes, answer.binding, answer.exit_code) == (6.0, "region", ExitCode.PASS)
    assert "6 server processes, one of them spare" in (answered / "plan.md").read_text(encoding="utf-8")


def test_the_directory_of_a_trigger_has_everything_that_was_asked(answered: Path) -> None:
    sweep = load_sweep(answered / "region").sweep
    times = {item.at: item.most for item in sweep.recoveries}
    assert list(times) == [3.0, 4.0, 6.0, 11.0]
    assert [each is not None for each in times.values()] == [True] * 4
    assert sorted((value or 0.0) for value in times.values()) == [times[at] for at in (11.0, 6.0, 4.0, 3.0)]
    assert [band.load for band in sweep.bands] == list(LOADS)
    assert {band.band for band in sweep.bands if band.load <= 1} == {BandName.STABLE}
    settings = {each.setting: each.value for each in sweep.recommendations}
    assert settings["client.budget"] == 60.0
    assert settings["back in time, checked"] is not None
    assert settings["back in time, checked"] >= 95.0
    assert sweep.storm is not None
    assert sweep.storm.connected[0] == pytest.approx(3000, rel=0.02)
    assert min(sweep.storm.connected) < 100
    assert max(sweep.storm.joins_per_s) <= sweep.storm.capacity_per_s + 5  # each of five may end one more in a second
    assert sum(sweep.storm.joins_per_s) == pytest.approx(3000, rel=0.05)


def test_its_report_is_built_again_by_report_capacity(answered: Path) -> None:
    page = (answered / "region" / "capacity.html").read_text(encoding="utf-8")
    for words in ("Time to return", "How large a trigger may be", "Settings at the answer", "within 30 s of the loss"):
        assert words in page
    assert page.count("<figure") == 4


def test_the_same_command_only_reads_what_is_there(answered: Path) -> None:
    before = (answered / "region" / "sweep.parquet").read_bytes()
    runs = (answered / "region" / "runs" / "levels" / "results.jsonl").read_bytes()
    result = run_sim("capacity", answered.parent / "plan.toml", "--workers", "1", "--out", answered)
    assert result.exit_code == 0, result.exception
    assert (answered / "region" / "sweep.parquet").read_bytes() == before
    assert (answered / "region" / "runs" / "levels" / "results.jsonl").read_bytes() == runs


def test_background_outages_of_the_mix_are_not_the_triggers(answered: Path) -> None:
    """Half have home Wi-Fi: only those that the trigger struck count."""
    table = pd.read_parquet(answered / "region" / "sweep.parquet")
    rows = table[(table["processes"] == 6) & (table["load"] == 1)]
    assert (rows["affected"] <= 600).all()
    assert (rows["affected"] > 550).all()


# --- plans that no number of processes holds --------------------------------------------------------------------------


def _limits(folder: Path, *changes: tuple[str, str]) -> list[str]:
    """What the answer to the small plan, changed so, says of the most processes."""
    text = FILE
    for old, new in changes:
        text = text.replace(old, new)
    (folder / "plan.toml").write_text(text, encoding="utf-8")
    result = run_sim("capacity", folder / "plan.toml", "--workers", "1", "--out", folder / "out")
    assert (result.exit_code, result.exception) == (0, None)
    said = list(load_sweep(folder / "out" / "region").sweep.limiting)
    assert all(line in (folder / "out" / "plan.md").read_text(encoding="utf-8") for line in said)
    return said


def test_processes_that_miss_the_target_are_limited_by_something_and_hold_a_longer_downtime(tmp_path: Path) -> None:
    """Of three processes two are left, with 50 s of work each after 5 s of outage."""
    limit, holds = _limits(tmp_path, ("[3, 4, 6, 11]", "[3]"))
    assert limit.startswith("What limits 3 server processes: 1,500 participants return to one process")
    assert holds == "They hold target.longest_downtime = 58."


def test_a_longer_downtime_is_at_most_what_a_plan_may_ask_for(tmp_path: Path) -> None:
    """500 s of work after 3,000 s of outage: 95 of 100 are back after 3,522 s, and 5 % more were 3,699 s."""
    changes = {"[3, 4, 6, 11]": "[3]", "longest_downtime = 30.0": "longest_downtime = 3300.0"}
    changes |= {"join_capacity = 30.0": "join_capacity = 3.0", "duration = 5.0": "duration = 3000.0"}
    _, holds = _limits(tmp_path, *changes.items(), ("[server]", "[client]\nbudget = 4000.0\n\n[server]"))
    assert holds == "They hold target.longest_downtime = 3600."


def test_processes_that_are_not_shown_to_miss_the_target_are_limited_by_nothing(tmp_path: Path) -> None:
    """95 of 100 are back within 23.91 s, as the target asks: neither side of it is shown."""
    said = _limits(tmp_path, ("[3, 4, 6, 11]", "[6]"), ("longest_downtime = 30.0", "longest_downtime = 23.91"))
    assert said == ["6 server processes are not shown to miss the target: more replications would tell."]


@pytest.mark.parametrize(
    "reached, missed, shown",
    [
        (20.0, 15.0, 21.0),
        (20.0, 21.0, None),
        (19.0, 19.5, 20.0),
        (math.nan, 15.0, None),
        (3500.0, 3300.0, 3600.0),
        (3500.0, 3600.0, None),
        (3601.0, 3300.0, None),
    ],
    ids=[
        *("longer", "no longer than the target's", "by the slack", "not all were back"),
        *("at most what a plan may ask", "the target's is that already", "longer than a plan may ask"),
    ],
)
def test_a_downtime_is_shown_only_where_it_is_longer_than_the_targets(
    reached: float, missed: float, shown: float | None
) -> None:
    assert downtime_to_show(reached, missed) == shown


@pytest.mark.parametrize(
    "back, statistic", [(0.3, "p50"), (0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.96, "p99"), (0.995, "max")]
)
def test_the_downtime_that_was_reached_is_the_statistic_of_at_least_the_targets_share(
    back: float, statistic: str
) -> None:
    assert _quantile_for(back) == statistic


# --- bad plans --------------------------------------------------------------------------------------------------------


def _changed(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda _: "[", "not TOML"),
        (_changed('kind = "region"', 'kind = "comet"'), "triggers[0].kind"),
        (_changed("participants = 3000", ""), "participants"),
        (_changed("home-wifi", "home-wify"), "did you mean home-wifi"),
        (_changed("home-wifi", "suspended-tab"), "suspends clients"),
        (_changed("home-wifi = 0.5", "home-wifi = 1.5"), "share above 0"),
        (_changed("duration = 5.0", "duration = 50.0"), "shorter than target.longest_downtime"),
        (_changed("join_capacity = 30.0", "join_capacty = 30.0"), "join_capacty"),
        (_changed("join_capacity = 30.0", "join_capacity = -3.0"), "join_capacity"),
        (_changed("join_capacity = 30.0", "join_capacity = 31.0"), "at the costs of [costs], 30 returns a second"),
        (_changed("[3, 4, 6, 11]", "[1, 2]"), "must be from 2"),
        (_changed("replications = 3", "connections_per_process = 1200"), "processes[0]: 3: leaves 1,500 participants"),
        (
            _changed("participants = 3000", "participants = 3000\nconnections_per_process = 1"),
            "processes[0]: 3: leaves",
        ),
        (
            _changed("participants = 3000", "participants = 30_000\nconnections_per_process = 1"),
            "need 30,001 processes",
        ),
        (_changed("replications = 3", "event_size = 60_000"), "event_size"),
        (_changed("replications = 3", "calibration = 'none.json'"), "calibration: none.json: cannot be read"),
        (_changed("[[triggers]]", "[[triggers]]\nkind = 'region'\n[[triggers]]"), "must not repeat a kind"),
    ],
)
def test_a_bad_plan_is_one_line(tmp_path: Path, change: Callable[[str], str], said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(change(FILE), encoding="utf-8")
    with pytest.raises(ExperimentError) as caught:
        load_plan(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_answer_says_that_events_announce_windows_of_their_own() -> None:
    trigger = Trigger(TriggerKind.REGION)
    said = [
        any("one return window" in line for line in envelope_of(_plan(event_size=size), trigger, 40).does_not_hold)
        for size in (0, 1000)
    ]
    assert said == [False, True]


def test_an_answer_says_what_its_calibration_measured() -> None:
    """The shipped runs had hundreds of clients: a plan for a million is extrapolated, and says by what."""
    plan, trigger = _plan(calibration="shipped"), Trigger(TriggerKind.REGION)
    envelope = envelope_of(plan, trigger, 40)
    crowd = crowd_of(plan, trigger, 40)
    assert envelope.calibrated_on
    assert envelope.reached[HERD] == crowd.struck > envelope.ranges[HERD][1] > 0
    assert envelope_of(_plan(), trigger, 40).ranges == {}
    assert envelope_of(plan, trigger, None).reached == {}


def test_a_plan_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = run_sim("capacity", tmp_path / "none.toml", "--out", tmp_path / "out")
    assert isinstance(result.exception, ExperimentError)
    assert not (tmp_path / "out").exists()


def test_a_trigger_checks_its_numbers() -> None:
    with pytest.raises(ConfigError, match="share"):
        Trigger(TriggerKind.CARRIER, share=0.0)
