"""The drops of several runs of one experiment as the evidence of one judgement. Decides no verdict.

Runs of different seeds share no participant and no fault event, so their labels get the run's in front; equal kinds of
fault are replicates of one another in every run. The events of one run count as independent of one another, as they do
within a single run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import pandas as pd

from resilience.experiment.spec import Expectation

from .expectations import Evidence, judge
from .stats import worst_verdict
from .summary import ExpectationResult, Summary

_OF_ONE_RUN = "grace_expirations"
"""The metric that counts over a run: a sum over runs is no figure that its threshold is about."""


@dataclass(frozen=True)
class JudgedRun:
    """A run with its own summary and the data on which expectations are judged."""

    summary: Summary
    evidence: Evidence

    @property
    def label(self) -> str:
        """What tells its participants and events from those of other runs."""
        return f"seed-{self.summary.seed}"


def pool(runs: Sequence[JudgedRun]) -> Evidence:
    """The evidence of at least one run, together."""
    first = runs[0].evidence
    return replace(
        first,
        episodes=_joined([_labelled(run.evidence.episodes, run.label, _NAMES) for run in runs]),
        round_trips=_joined([_labelled(run.evidence.round_trips, run.label, ("session_id",)) for run in runs]),
        grace=_joined([_labelled(run.evidence.grace, run.label, ("session_id",)) for run in runs]),
    )


_NAMES = ("participant", "event", "fault_id", "last_fault_id")


def _labelled(rows: pd.DataFrame, label: str, columns: Sequence[str]) -> pd.DataFrame:
    """The rows with the label in front of these columns; categories are renamed, not their rows."""
    return rows.assign(**{column: _renamed(rows[column].astype("category"), label) for column in columns})


def _renamed(column: pd.Series, label: str) -> pd.Series:
    return column.cat.rename_categories([f"{label}/{name}" for name in column.cat.categories])


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One frame; categories that differ between the frames become plain labels."""
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    plain = [frame.astype(dict.fromkeys(frame.select_dtypes("category").columns, "object")) for frame in filled]
    return pd.concat(plain, ignore_index=True)


def judge_pooled(expectation: Expectation, runs: Sequence[JudgedRun], pooled: Evidence) -> ExpectationResult:
    """The expectation over all these runs; of a metric that counts over one run, the worst of the runs."""
    if expectation.metric != _OF_ONE_RUN:
        return judge(expectation, pooled)
    results = {run.label: judge(expectation, run.evidence) for run in runs}
    verdict = worst_verdict(*(result.verdict for result in results.values()))
    alike = {label: result for label, result in results.items() if result.verdict is verdict}
    label, result = max(alike.items(), key=lambda item: item[1].value or 0.0)
    return msgspec.structs.replace(result, population="each repetition by itself", note=f"of {label}")
