"""Every kind of fault runs in every lane: its canary sees it begin and end, and every client that it struck returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from chaos.real_lane import RealLane
from reports.build import analyse
from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import Lane, LogEventKind
from resilience.experiment.faults import AnyFault, ServerKillFault, connections_end
from resilience.experiment.primitives import FaultTarget
from resilience.experiment.spec import Cohort, Experiment, Hypothesis, Statistics
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus
from resilience.lab.system import LaneDriver
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane

FIRST_S, SPACING_S, SETTLE_S = 5.0, 7.0, 6.0
VALUES = {"duration": 1.5, "delay": 0.2}
"""The keys that a kind may need beyond the schedule's."""

UNTRIED = {"absences_shown", "dead_peers_detected", "late_answers_refused"}
"""Checks that do not apply, in any lane: the faults are shorter than every timeout, and no client sees a reveal."""


def sample(kind: Any, at: float) -> AnyFault:  # noqa: ANN401 - one of the classes of AnyFault
    """A fault of this kind."""
    needed = {field.name for field in msgspec.structs.fields(kind) if field.required} - {"at"}
    cohorts = () if kind.target is FaultTarget.SERVER else ("all",)
    fault: AnyFault = kind(at, cohorts, **{name: VALUES[name] for name in needed})
    return fault


def every_kind(lane: Lane) -> Experiment:
    """One fault of each kind of the lane, one after the other, each over the reveal of a question answered late."""
    kinds = [kind for kind in get_args(AnyFault) if lane in kind.lanes]
    faults = tuple(sample(kind, FIRST_S + i * SPACING_S) for i, kind in enumerate(kinds))
    return Experiment(
        "every-fault",
        FIRST_S + len(kinds) * SPACING_S + SETTLE_S,
        (Cohort("all", 6),),
        ramp=0.5,
        server=ServerConfig(heartbeat_interval=1.0, drain_window=0.5),
        quiz=QuizConfig(
            lobby=FIRST_S + 3.8,
            questions=len(kinds),
            question_time=SPACING_S - 3.0,
            reveal_time=1.5,
            leaderboard_time=1.5,
            answer_share=1.0,
            fastest=0.5,
            slowest=1.0,
        ),
        faults=faults,
        hypothesis=Hypothesis(within=3.0),
        statistics=Statistics(deadline=SETTLE_S - VALUES["duration"]),
    )


@pytest.mark.parametrize("driver", [ModelLane(), VirtualLane()], ids=["model", "virtual"])
def test_every_kind_of_fault_runs_in_a_simulated_lane(driver: LaneDriver, tmp_path: Path) -> None:
    check_every_kind(driver, tmp_path)


@pytest.mark.usefixtures("binary")
def test_every_kind_of_fault_runs_in_the_real_lane(tmp_path: Path) -> None:
    check_every_kind(RealLane(), tmp_path)


def check_every_kind(driver: LaneDriver, tmp_path: Path) -> None:
    experiment = every_kind(driver.lane)
    assert execute(driver, experiment, 1, tmp_path / "run").status is RunStatus.COMPLETED
    _, episodes, summary = analyse(tmp_path / "run")
    assert [window.kind for window in summary.windows] == [fault.kind for fault in experiment.faults]
    assert {window.kind: window.reason for window in summary.windows if window.reason} == {}
    outcomes = {fault.kind: expected_outcome(fault.kind) for fault in experiment.faults}
    assert episodes.groupby("kind", observed=True)["outcome"].unique().map(list).to_dict() == outcomes
    assert len(episodes) == 6 * len(experiment.faults)
    verdicts = [(item.name, item.verdict, item.detail) for item in summary.invariants if item.verdict != "pass"]
    assert [told for told in verdicts if told[1] != "not_applicable"] == []
    assert {name for name, _, _ in verdicts} == UNTRIED


def expected_outcome(kind: str) -> list[str]:
    """The silence of a kind that connections survive is too short here for any client to notice."""
    return ["rode_through"] if connections_end(kind) is None else ["restored"]


@pytest.mark.parametrize("driver", [ModelLane(), VirtualLane()], ids=["model", "virtual"])
@pytest.mark.parametrize("second", [12.0, 15.0, 10.0], ids=["overlapping", "touching", "simultaneous"])
def test_kills_of_the_server_add_up(driver: LaneDriver, second: float, tmp_path: Path) -> None:
    """The server starts once, when the last of the windows ends."""
    faults = (ServerKillFault(10.0, duration=5.0), ServerKillFault(second, duration=6.0))
    experiment = msgspec.structs.replace(every_kind(Lane.MODEL), faults=faults, duration=40.0)
    assert execute(driver, experiment, 1, tmp_path / "run").status is RunStatus.COMPLETED
    history, _, summary = analyse(tmp_path / "run")
    starts = [event.t for event in history.of(LogEventKind.SERVER_STARTED)]
    assert len(starts) == 2
    assert second + 6.0 <= starts[1] < second + 7.0
    assert {window.fault_id: window.reason for window in summary.windows if window.reason} == {}
