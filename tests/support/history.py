"""The invariants of ``reports`` on a history that a test has recorded, without a run directory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reports.frames import RunHistory
from reports.invariants import CHECKS
from resilience.eventlog.vocabulary import Lane, LogEvent
from resilience.experiment.spec import Cohort, Experiment
from resilience.lab.run_directory import RunInfo, RunStatus

EXPERIMENT = Experiment("test", duration=60.0, cohorts=(Cohort("all", 1),))
INFO = RunInfo(
    experiment=EXPERIMENT.name,
    experiment_digest="",
    lane=Lane.VIRTUAL,
    seed=1,
    started_at="2026-01-01T00:00:00+00:00",
    duration_s=EXPERIMENT.duration,
    status=RunStatus.COMPLETED,
)
NAMES = (
    "acknowledged_answers_kept",
    "acknowledged_after_commit",
    "rejected_answers_not_scored",
    "one_verdict_each",
    "answers_scored_once",
    "one_live_connection",
    "identities_kept",
    "announced_once",
    "stream_without_gap",
    "restored_state_true",
)
"""The invariants of safety: they need no canary, no end of a run, and no closing records of a server."""


def history(log: Sequence[LogEvent]) -> RunHistory:
    """The log as the checks of ``reports`` read it."""
    return RunHistory(INFO, EXPERIMENT, log)


def violations(log: Sequence[LogEvent], *, without: Collection[str] = ()) -> list[str]:
    """The first counterexample to each invariant but those called ``without``: "name: what is wrong"."""
    read = history(log)
    found = ((name, CHECKS[name].check(read).broken) for name in NAMES if name not in without)
    return [f"{name}: {broken}" for name, broken in found if broken]
