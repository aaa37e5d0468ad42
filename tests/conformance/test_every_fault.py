"""Every kind of fault runs in every lane that carries it: its canary sees it, and clients see the same everywhere.

A client whose connection a fault ends returns; one whose connection can survive does not lose it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from chaos.real_lane import RealLane
from reports.build import analyse
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import ServerDrainFault, ServerKillFault, ServerSuspendFault, kinds
from resilience.experiment.primitives import FaultTarget
from resilience.experiment.spec import Experiment
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus
from resilience.lab.system import LaneDriver
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane
from tests.support.prompt_runs import prompt_run
from tests.support.stored_lines import read_events

from . import lanes
from .every_kind import CLIENTS, SERVER_AT, every_kind

UNTRIED = {"absences_shown", "dead_peers_detected"}
"""Checks that do not apply, in any lane: the faults are shorter than every timeout."""

ENDED = frozenset({name for name, kind in kinds().items() if kind.connections_end} | {"cut_mid_message"})
"""Kinds that end every connection here; a connection can survive a window of a torn message, but none does."""

OTHER = {"client_duplicate": "superseded"}
"""Kinds with an outcome of their own."""

QUICK_START_S = 0.01
"""What a start takes in the virtual lane, about."""

CONNECTING = ("transport.", "session.", "peer.", "backoff.", "client.")
"""The part of a history that depends on the link alone."""


@pytest.mark.parametrize("driver", [ModelLane(), VirtualLane()], ids=["model", "virtual"])
def test_every_kind_of_fault_runs_in_a_simulated_lane(driver: LaneDriver, tmp_path: Path) -> None:
    check_every_kind(driver, tmp_path)


@pytest.mark.usefixtures("binary")
def test_every_kind_of_fault_runs_in_the_real_lane(tmp_path: Path) -> None:
    check_every_kind(RealLane(), tmp_path)


def check_every_kind(driver: LaneDriver, tmp_path: Path) -> None:
    experiment = every_kind(driver.lane)
    outcome, run_dir = prompt_run(lambda where: execute(driver, experiment, 1, where), tmp_path)
    assert outcome.status is RunStatus.COMPLETED, outcome.cause
    _, episodes, summary = analyse(run_dir)
    assert sorted(window.kind for window in summary.windows) == sorted(fault.kind for fault in experiment.faults)
    assert {window.kind: window.reason for window in summary.windows if window.reason} == {}
    found = episodes.groupby(["kind", "outcome"], observed=True).size().to_dict()
    assert found == expected_outcomes(experiment)
    verdicts = [(item.name, item.verdict, item.detail) for item in summary.invariants if item.verdict != "pass"]
    assert [told for told in verdicts if told[1] != "not_applicable"] == []
    assert {name for name, _, _ in verdicts} == UNTRIED
    found_here = connecting(read_events(run_dir))
    assert found_here == {actor: connecting_in_virtual_time()[actor] for actor in found_here}


def expected_outcomes(experiment: Experiment) -> dict[tuple[str, str], int]:
    """How many episodes of each kind have which outcome: the second tabs take the place of the first ones."""
    everybody = CLIENTS * len(experiment.cohorts)
    found: Counter[tuple[str, str]] = Counter()
    for fault in experiment.faults:
        how = "restored" if fault.kind in ENDED else OTHER.get(fault.kind, "rode_through")
        is_servers = fault.target is FaultTarget.SERVER
        found[fault.kind, how] += everybody if is_servers else CLIENTS
        if (
            is_servers or fault.kind in OTHER
        ):  # the tabs without a session: the first ones later, the second ones before
            found[fault.kind, "not_exposed"] += CLIENTS
    return found


def connecting(events: Iterable[LogEvent], until: float = SERVER_AT) -> dict[str, list[str]]:
    """How each client connects and loses connections; by default until the server's faults, as a restart takes time."""
    found = lanes.histories(events, until=until)
    return {actor: [line for line in lines if line.startswith(CONNECTING)] for actor, lines in found.items()}


@functools.cache
def connecting_in_virtual_time() -> dict[str, list[str]]:
    """What the other lanes must agree with."""
    return connecting(lanes.virtual(every_kind(Lane.VIRTUAL), 1))


def test_the_model_agrees_on_the_faults_of_the_server_where_a_start_takes_no_time() -> None:
    """Every client goes through the same, in the same order, from its first dial to the run's end."""
    experiment = msgspec.structs.replace(every_kind(Lane.MODEL), costs=ModelCosts(startup=QUICK_START_S))
    histories = [
        connecting(lanes.in_memory(driver, experiment, 1), until=experiment.duration)
        for driver in (ModelLane(), VirtualLane())
    ]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("driver", [ModelLane(), VirtualLane()], ids=["model", "virtual"])
@pytest.mark.parametrize("suspended_at, drained_at", [(10.0, 12.0), (12.0, 11.0)], ids=["before", "during"])
def test_an_order_to_end_wakes_a_suspended_server(
    driver: LaneDriver, suspended_at: float, drained_at: float, tmp_path: Path
) -> None:
    """Both windows count: the drain begins, or continues, at once, and the next server starts at the drain's end."""
    faults = (ServerSuspendFault(suspended_at, duration=9.0), ServerDrainFault(drained_at, duration=6.0))
    experiment = msgspec.structs.replace(every_kind(driver.lane), faults=faults, duration=40.0)
    assert execute(driver, experiment, 1, tmp_path / "run").status is RunStatus.COMPLETED
    history, episodes, summary = analyse(tmp_path / "run")
    assert {window.fault_id: window.reason for window in summary.windows if window.reason} == {}
    starts = [event.t for event in history.of(LogEventKind.SERVER_STARTED)]
    assert len(starts) == 2
    assert drained_at + 6.0 <= starts[1] < drained_at + 7.5
    assert set(episodes["outcome"]) == {"restored"}
    assert [item.name for item in summary.invariants if item.verdict == "fail"] == []


@pytest.mark.parametrize("driver", [ModelLane(), VirtualLane()], ids=["model", "virtual"])
@pytest.mark.parametrize("second", [12.0, 15.0, 10.0], ids=["overlapping", "touching", "simultaneous"])
def test_kills_of_the_server_add_up(driver: LaneDriver, second: float, tmp_path: Path) -> None:
    """The server starts once, when the last of the windows ends."""
    faults = (ServerKillFault(10.0, duration=5.0), ServerKillFault(second, duration=6.0))
    experiment = msgspec.structs.replace(every_kind(driver.lane), faults=faults, duration=40.0)
    assert execute(driver, experiment, 1, tmp_path / "run").status is RunStatus.COMPLETED
    history, _, summary = analyse(tmp_path / "run")
    starts = [event.t for event in history.of(LogEventKind.SERVER_STARTED)]
    assert len(starts) == 2
    assert second + 6.0 <= starts[1] < second + 7.0
    assert {window.fault_id: window.reason for window in summary.windows if window.reason} == {}
