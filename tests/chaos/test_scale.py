"""The large experiments in small, over real processes: a storm of fifty bare clients, then of fifty of our own."""

from __future__ import annotations

from pathlib import Path

from chaos.real_lane import RealLane
from chaos.toxiproxy.provision import Binary
from reports.build import analyse
from reports.invariants import CHECKS
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.loader import load
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus

from ..support.prompt_runs import prompt_run

SHORT = (
    "duration=10.0",
    "ramp=0.5",
    "hypothesis.within=2.5",
    "faults.0.at=3.0",
    "faults.0.times=1",
    "quiz.lobby=2.0",
    "server.join_capacity=3000",
    "expectations.1.threshold=6.0",
    "reference.storms=1",
)


def test_a_venue_in_small_returns_and_says_what_bare_clients_take(binary: Binary, tmp_path: Path) -> None:
    """Every figure of the reference is there, and no certain check of the run is broken."""
    experiment = load("venue-5000", SHORT, scale=0.01)
    assert experiment.clients == 50
    lane = RealLane(toxiproxy=binary.path, workers=2)
    outcome, run_dir = prompt_run(lambda where: execute(lane, experiment, 1, where), tmp_path)
    assert (outcome.status, outcome.cause) == (RunStatus.COMPLETED, None)
    summary = analyse(run_dir)[2]
    assert summary.laboratory.failures == ()
    found = summary.laboratory.reference
    assert found is not None
    assert (found.clients, found.storms, found.returned) == (50, 1, 50)
    assert (found.excess_mean or 0.0) > 0.0
    assert set(found.cpu_s) == {"clients", "proxies", "server"}
    outcomes = summary.success_rate.outcomes
    assert (outcomes.identity_lost, outcomes.corrupt) == (0, 0)
    assert summary.participants == 50
    broken = {item.name for item in summary.invariants if item.verdict is Verdict.FAIL}
    assert broken <= {name for name, rule in CHECKS.items() if rule.timed}
