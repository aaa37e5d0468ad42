"""The result of several runs of one experiment, judged together: values, and how the verdict is reached.

The verdict asks in this order. A run that the laboratory did not carry out proves nothing, and without it nothing
passes. A server that ended, or an invariant that is broken, in any run fails, whatever the figures. Targets are judged
on the drops of all runs together; what the laboratory of a run objects to forbids a verdict that the others do not
reach without it. ``repetitions.json`` is :class:`RepeatedRuns`, encoded; numbers are as in :mod:`reports.summary`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.spec import Expectation, Experiment
from resilience.lab.repetitions import EarlyStop, RepetitionPlan

from .expectations import missed, unanswered
from .metrics import group_summary
from .pooling import JudgedRun, judge_pooled, pool
from .stats import worst_verdict
from .stopping import closing_confidence, look_confidence
from .summary import ExpectationResult, GroupSummary, Invariant, Summary

SCHEMA_VERSION = 1


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """One run: its seed, its directory below that of the repetitions, its own verdict, exit code and figures.

    ``reason``: the first reason of its verdict, or why it was not carried out; null for a run that passed.
    """

    seed: int
    directory: str
    verdict: Verdict
    exit_code: int
    reason: str | None
    restored: int
    affected: int
    excess_restricted_mean: float | None
    wall_s: float | None


class PooledInvariant(msgspec.Struct, frozen=True, kw_only=True):
    """One rule over all runs: its worst verdict; ``seeds`` of the runs with that verdict, ``detail`` of the first."""

    name: str
    rule: str
    verdict: Verdict
    detail: str
    checked: int
    seeds: tuple[int, ...]


class RepeatedRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The result. ``planned``: how many runs were asked for; ``stopped``: why there are fewer, in words.

    ``spending``: whether the bounds allow for the looks of ``--until-decided``. ``pooled``: every figure over the drops
    of all runs that were carried out; null where none was.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = "repetitions"
    experiment: str
    title: str
    experiment_digest: str
    lane: Lane
    planned: int
    stopped: str | None
    spending: bool
    verdict: Verdict
    reasons: tuple[str, ...]
    harness_failed: bool
    repetitions: tuple[Repetition, ...]
    expectations: tuple[ExpectationResult, ...]
    invariants: tuple[PooledInvariant, ...]
    pooled: GroupSummary | None

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command that made these runs."""
        if self.verdict is Verdict.FAIL:
            return ExitCode.FAIL
        if self.harness_failed:
            return ExitCode.HARNESS
        return ExitCode.PASS if self.verdict is Verdict.PASS else ExitCode.INCONCLUSIVE


class Repetitions:
    """The runs of a plan as they end, and what they say together. ``experiment``: the one that is repeated."""

    def __init__(self, experiment: Experiment, lane: Lane, plan: RepetitionPlan) -> None:
        self._experiment, self._lane, self._plan = experiment, lane, plan
        self._runs: list[JudgedRun] = []
        self._lost: list[str] = []
        self._rows: list[Repetition] = []

    @property
    def done(self) -> int:
        """How many runs have ended."""
        return len(self._rows)

    def add(self, run: JudgedRun, directory: str) -> Repetition:
        """One more run has ended, in this directory below that of the repetitions."""
        summary = run.summary
        row = repetition_of(summary, directory)
        if summary.exit_code is ExitCode.HARNESS:
            self._lost.append(f"seed {summary.seed}: {row.reason}")
        else:
            self._runs.append(run)
        self._rows.append(row)
        return row

    def add_unreadable(self, seed: int, reason: str, directory: str) -> Repetition:
        """One more run has ended, and no evidence of it can be read."""
        self._lost.append(f"seed {seed}: {reason}")
        row = Repetition(
            seed=seed,
            directory=directory,
            verdict=Verdict.INCONCLUSIVE,
            exit_code=ExitCode.HARNESS,
            reason=reason,
            restored=0,
            affected=0,
            excess_restricted_mean=None,
            wall_s=None,
        )
        self._rows.append(row)
        return row

    def is_decided(self) -> bool:
        """Whether the verdict is decided now, at no more wrong verdicts than stated; see :mod:`reports.stopping`."""
        if self._certain_failures():
            return True
        asked = self._asked(closing=False)
        return asked is not None and self._verdict(asked)[0] is not Verdict.INCONCLUSIVE

    def result(self, stop: EarlyStop | None) -> RepeatedRuns:
        """The result of all runs so far; no more will follow."""
        asked = self._asked(closing=True) or ()
        verdict, reasons = self._verdict(asked)
        if (
            stop is not None
            and stop.failed
            and self._rows[-1].exit_code == ExitCode.FAIL
            and verdict is not Verdict.FAIL
        ):
            verdict, reasons = Verdict.FAIL, [f"{stop.why}: {self._rows[-1].reason}", *reasons]
        pooled = pool(self._runs) if self._runs else None
        return RepeatedRuns(
            experiment=self._experiment.name,
            title=self._experiment.title or self._experiment.name,
            experiment_digest=self._experiment.digest,
            lane=self._lane,
            planned=self._plan.repetitions,
            stopped=stop.why if stop else None,
            spending=self._plan.until_decided,
            verdict=verdict,
            reasons=tuple(dict.fromkeys(reasons)),
            harness_failed=bool(self._lost),
            repetitions=tuple(self._rows),
            expectations=_judged(asked, self._runs),
            invariants=_pooled_invariants([run.summary for run in self._runs]),
            pooled=group_summary(pooled.episodes, pooled) if pooled else None,
        )

    def _asked(self, *, closing: bool) -> tuple[Expectation, ...] | None:
        """The expectations with the confidence that holds now; None where the figures may not decide now."""
        if not self._plan.until_decided:
            return self._experiment.expectations if closing else None
        confidence_now = closing_confidence if closing else look_confidence
        done, planned = self.done, self._plan.repetitions
        found = [(item, confidence_now(item.confidence, done, planned)) for item in self._experiment.expectations]
        if any(confidence is None for _, confidence in found):
            return None
        return tuple(msgspec.structs.replace(item, confidence=confidence) for item, confidence in found)

    def _certain_failures(self) -> list[str]:
        """What no figure can outweigh: servers that ended, broken invariants, each with its seed."""
        return [f"seed {run.summary.seed}: {reason}" for run in self._runs for reason in _certain_failures(run.summary)]

    def _verdict(self, asked: tuple[Expectation, ...]) -> tuple[Verdict, list[str]]:
        """The verdict on all runs so far, and its reasons."""
        doubts = [f"seed {run.summary.seed}: {doubt}" for run in self._runs for doubt in run.summary.laboratory.doubts]
        certain, results = self._certain_failures(), _judged(asked, self._runs)
        misses = [missed(item) for item in results if item.verdict is Verdict.FAIL]
        if doubts and not certain:
            sound = _judged(asked, [run for run in self._runs if not run.summary.laboratory.doubts])
            if _verdict_on(sound) is not _verdict_on(results):
                return Verdict.INCONCLUSIVE, [*self._lost, *doubts]
        if certain or misses:
            return Verdict.FAIL, [*certain, *misses]
        unknown = [*self._lost, *([] if self._runs else ["no run was carried out"])]
        unknown += [] if asked else ["the experiment has no expectation: nothing was asked of the runs"]
        unknown += [unanswered(item) for item in results if item.verdict is Verdict.INCONCLUSIVE]
        unknown += [
            f"seed {run.summary.seed}: {item.name}: {item.detail}"
            for run in self._runs
            for item in run.summary.invariants
            if item.verdict is Verdict.INCONCLUSIVE
        ]
        return (Verdict.INCONCLUSIVE if unknown else Verdict.PASS), unknown


def repetition_of(summary: Summary, directory: str) -> Repetition:
    """The row of a run that has a summary."""
    failed = summary.exit_code is ExitCode.HARNESS
    reasons = (summary.cause, *summary.laboratory.failures) if failed else summary.reasons
    return Repetition(
        seed=summary.seed,
        directory=directory,
        verdict=summary.verdict,
        exit_code=int(summary.exit_code),
        reason=next((reason for reason in reasons if reason), None),
        restored=summary.success_rate.restored,
        affected=summary.success_rate.affected,
        excess_restricted_mean=summary.excess_s.restricted_mean,
        wall_s=summary.wall_s,
    )


def _judged(asked: Sequence[Expectation], runs: Sequence[JudgedRun]) -> tuple[ExpectationResult, ...]:
    """Each expectation over these runs; nothing where there is none."""
    if not runs:
        return ()
    pooled = pool(runs)
    return tuple(judge_pooled(item, runs, pooled) for item in asked)


def _verdict_on(results: Sequence[ExpectationResult]) -> Verdict:
    """The verdict on all targets: without a result it is inconclusive."""
    return worst_verdict(*(item.verdict for item in results)) if results else Verdict.INCONCLUSIVE


def _certain_failures(summary: Summary) -> list[str]:
    """Of one run, the reasons to fail that are no targets."""
    doubts = summary.laboratory.doubts
    if doubts:
        return [reason for reason in summary.reasons if reason not in doubts] if summary.verdict is Verdict.FAIL else []
    broken = [f"{item.name}: {item.detail}" for item in summary.invariants if item.verdict is Verdict.FAIL]
    return [*([summary.cause] if summary.cause else []), *broken]


def _pooled_invariants(summaries: Sequence[Summary]) -> tuple[PooledInvariant, ...]:
    """Each rule over all runs that have evidence for it."""
    by_name: dict[str, list[tuple[int, Invariant]]] = {}
    for summary in summaries:
        for item in summary.invariants:
            by_name.setdefault(item.name, []).append((summary.seed, item))
    return tuple(_pooled_invariant(found) for found in by_name.values())


def _pooled_invariant(found: Sequence[tuple[int, Invariant]]) -> PooledInvariant:
    applicable = [item.verdict for _, item in found if item.verdict is not Verdict.NOT_APPLICABLE]
    verdict = worst_verdict(*applicable) if applicable else Verdict.NOT_APPLICABLE
    alike = [(seed, item) for seed, item in found if item.verdict is verdict]
    first = alike[0][1]
    return PooledInvariant(
        name=first.name,
        rule=first.rule,
        verdict=verdict,
        detail=first.detail,
        checked=sum(item.checked for _, item in found),
        seeds=tuple(seed for seed, _ in alike),
    )
