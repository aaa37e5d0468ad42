"""Systems side by side: the same experiments, seeds and faults on each, in one table with bounds. Shows nothing.

Every figure is one system's own. A later system is compared with the first as two independent runs are
(:mod:`reports.unpaired`): no participant of one system has a partner in another. The 5 % for any false difference is
divided evenly by the number of differences (Bonferroni). A cell without evidence is *not applicable*, never a pass, and
a difference of runs whose laboratory is in doubt is undecided.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from resilience.errors import GRAVITY, ExitCode, ResilienceError
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.spec import Experiment
from resilience.lab.repetitions import RepetitionPlan
from resilience.lab.run_directory import RunStatus, read_run_info

from .build import analyse
from .comparison import FALSE_ALARMS, Change, Difference, progress
from .expectations import Estimate, Evidence
from .measured import MeasuredEvidence
from .pooling import JudgedRun, pool
from .repetitions import RepeatedRuns, Repetitions
from .summary import finite_or_none
from .unpaired import RunMean, independent_bounds

SCHEMA_VERSION = 1

FIGURES = (
    "success_rate",
    "detection_s.mean",
    "downtime_s.restricted_mean",
    "excess_s.restricted_mean",
    "excess_s.p95",
    "attempts.mean",
)
"""The columns of the table."""

JUDGED = ("success_rate", "detection_s.mean", "downtime_s.restricted_mean", "excess_s.restricted_mean")
"""The figures in which the systems are compared. All but the success rate are better when lower."""

CONFIDENCE = 0.95
"""Of each bound of a figure."""


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One system. ``versions``: of what ran; ``problem``: why it could not be had on this machine, else null."""

    name: str
    title: str
    settings: str
    versions: dict[str, str] = {}
    problem: str | None = None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A metric over all affected episodes, with one-sided bounds; ``n`` values. All null where there is no evidence."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class SystemResult(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment on one system. ``directory``: of its run or of its repetitions, below that of the comparison.

    ``returns``: by how they came back (resumed, fresh, ...) the restored episodes. ``unnoticed``: the episodes of
    clients that were hit and noticed no loss; they count in no figure. ``differences``: from the first system.
    ``not_applicable``: the checks for which this system leaves no evidence. ``doubts``: why the laboratory of a run is
    not to be believed; then no difference of this system is judged.
    """

    experiment: str
    system: str
    directory: str
    runs: RepeatedRuns
    figures: tuple[Figure, ...]
    returns: dict[str, int]
    unnoticed: int
    not_applicable: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """What the runs say: 4 before 1 before 3 before 0."""
        return ExitCode.HARNESS if self.runs.harness_failed else self.runs.exit_code


class SystemsComparison(msgspec.Struct, frozen=True, kw_only=True):
    """``systems.json``. ``confidence``: of each bound of a figure; ``difference_confidence``: of one of a difference.

    ``experiments``: name and title. ``notes``: what a reader should know.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = "systems"
    systems: tuple[SystemInfo, ...]
    experiments: dict[str, str]
    confidence: float
    difference_confidence: float
    results: tuple[SystemResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The gravest: 4 where a system or a run was not to be had, then 1, 3 and 0."""
        missing = [ExitCode.HARNESS] if any(system.problem for system in self.systems) or self.is_incomplete else []
        codes = [*missing, *(result.exit_code for result in self.results)]
        return min(codes, key=GRAVITY.index, default=ExitCode.HARNESS)

    @property
    def is_incomplete(self) -> bool:
        """Whether an experiment was not run on every system that could be had."""
        there = sum(system.problem is None for system in self.systems)
        return len(self.results) < there * len(self.experiments)

    def of(self, experiment: str) -> list[SystemResult]:
        """The results of one experiment, in the order of the systems."""
        return [result for result in self.results if result.experiment == experiment]


@dataclass(frozen=True)
class SystemRuns:
    """What was run of one experiment on one system: the directory of its only run, or of those of several seeds."""

    experiment: Experiment
    system: str
    directory: Path
    seeds: range

    @property
    def run_dirs(self) -> dict[int, Path]:
        """By seed, the directory of each run."""
        alone = len(self.seeds) == 1
        return {seed: self.directory if alone else self.directory / f"seed-{seed}" for seed in self.seeds}


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    """One experiment on one system, read."""

    experiment: str
    system: str
    directory: Path
    repeated: RepeatedRuns
    measured: MeasuredEvidence | None
    runs: tuple[JudgedRun, ...]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why its laboratory is not to be believed, each with the seed."""
        return tuple(
            f"seed {run.summary.seed}: {doubt}" for run in self.runs for doubt in run.summary.laboratory.doubts
        )

    @property
    def deadline(self) -> float:
        """Up to where restricted means count, seconds."""
        return math.inf if self.measured is None else self.measured.evidence.statistics.deadline

    def estimate(self, metric: str, confidence: float) -> Estimate | None:
        """A figure with one-sided bounds; None without any evidence of it."""
        if self.measured is None:
            return None
        found = self.measured.estimate(metric, confidence)
        return found if found.n and not math.isnan(found.value) else None

    def mean(self, metric: str) -> RunMean | None:
        """One of :data:`JUDGED` as a mean with its standard error; None without one."""
        return None if self.measured is None else self.measured.mean(metric)


def compare_systems(
    systems: Sequence[SystemInfo],
    experiments: Mapping[str, str],
    cells: Sequence[SystemRuns],
    root: Path,
    notes: Sequence[str] = (),
) -> SystemsComparison:
    """Read all runs and put them side by side; what cannot be read counts as not carried out.

    ``experiments``: the title of each that was asked for, by name. ``root``: the directory of them all.
    """
    read = [_read(cell) for cell in cells]
    firsts = {cell.experiment: cell for cell in reversed(read) if cell.system == systems[0].name}
    pairs = sum(1 for cell in read if cell.system != systems[0].name and cell.experiment in firsts)
    confidence = 1 - FALSE_ALARMS / (2 * max(pairs, 1) * len(JUDGED))
    versions = {name: _versions([cell for cell in read if cell.system == name]) for name in {c.system for c in read}}
    return SystemsComparison(
        systems=tuple(msgspec.structs.replace(item, versions=versions.get(item.name, {})) for item in systems),
        experiments=dict(experiments),
        confidence=CONFIDENCE,
        difference_confidence=confidence,
        results=tuple(_result(cell, firsts.get(cell.experiment), confidence, root) for cell in read),
        notes=tuple(notes),
    )


def was_interrupted(directory: Path) -> bool:
    """Whether a run in this directory was ended by a signal."""
    found = False
    for run_dir in (directory, *directory.glob("seed-*")):
        with contextlib.suppress(ResilienceError):
            found = found or read_run_info(run_dir).status is RunStatus.INTERRUPTED
    return found


def _read(cell: SystemRuns) -> _Cell:
    together = Repetitions(cell.experiment, Lane.REAL, RepetitionPlan(cell.seeds[0], len(cell.seeds)))
    runs: list[JudgedRun] = []
    for seed, run_dir in cell.run_dirs.items():
        try:
            log, episodes, summary = analyse(run_dir)
        except ResilienceError as error:
            together.add_unreadable(seed, str(error), run_dir.name)
            continue
        run = JudgedRun(summary, Evidence.of(log, episodes))
        together.add(run, run_dir.name)
        if summary.exit_code is not ExitCode.HARNESS:
            runs.append(run)
    return _Cell(
        cell.experiment.name,
        cell.system,
        cell.directory,
        together.result(None),
        MeasuredEvidence(pool(runs)) if runs else None,
        tuple(runs),
    )


def _versions(cells: Sequence[_Cell]) -> dict[str, str]:
    return {name: text for cell in cells for run in cell.runs for name, text in run.summary.versions.items()}


# --- comparing --------------------------------------------------------------------------------------------------------


def _result(cell: _Cell, first: _Cell | None, confidence: float, root: Path) -> SystemResult:
    compared = first is not None and first is not cell
    return SystemResult(
        experiment=cell.experiment,
        system=cell.system,
        directory=str(cell.directory.relative_to(root)),
        runs=cell.repeated,
        figures=tuple(_figure(cell, metric) for metric in FIGURES),
        returns=_returns(cell.measured),
        unnoticed=sum(run.summary.success_rate.outcomes.rode_through for run in cell.runs),
        not_applicable=tuple(item.name for item in cell.repeated.invariants if item.verdict is Verdict.NOT_APPLICABLE),
        differences=tuple(_differences(first, cell, confidence)) if first is not None and compared else (),
        doubts=cell.doubts,
    )


def _figure(cell: _Cell, metric: str) -> Figure:
    found = cell.estimate(metric, CONFIDENCE)
    if found is None:
        return Figure(metric=metric, value=None, low=None, high=None, n=0)
    return Figure(
        metric=metric,
        value=finite_or_none(found.value),
        low=finite_or_none(found.interval.low),
        high=finite_or_none(found.interval.high),
        n=found.n,
    )


def _returns(measured: MeasuredEvidence | None) -> dict[str, int]:
    if measured is None:
        return {}
    rows = measured.affected
    ways = rows.loc[rows["returned"], "came_back_by"].dropna().astype(str)
    return {way: int(count) for way, count in ways.value_counts().items()}


def _differences(first: _Cell, other: _Cell, confidence: float) -> Iterator[Difference]:
    for metric in JUDGED:
        ours, theirs = first.estimate(metric, confidence), other.estimate(metric, confidence)
        low = high = gap = math.nan
        if ours and theirs:
            gap = theirs.value - ours.value
            means = first.mean(metric), other.mean(metric)
            low, high = _possible(metric, independent_bounds(means, (ours, theirs), confidence), first.deadline)
        yield Difference(
            label=metric,
            absolute=finite_or_none(gap),
            relative=finite_or_none(gap / ours.value) if ours and ours.value else None,
            low=finite_or_none(low),
            high=finite_or_none(high),
            verdict=_believed(_change(metric, gap, low, high), first.doubts + other.doubts),
            confidence=confidence,
            method="independent runs",
        )


def _believed(change: Change, doubts: tuple[str, ...]) -> Change:
    """A change that is shown by runs whose laboratory is in doubt is undecided."""
    return Change.UNDECIDED if doubts and change in (Change.BETTER, Change.WORSE) else change


def _possible(metric: str, bounds: tuple[float, float], deadline: float) -> tuple[float, float]:
    """The bounds, no wider than two values of the metric can be apart: a few events may give any width."""
    limits = {"success_rate": 1.0, "downtime_s.restricted_mean": deadline, "excess_s.restricted_mean": deadline}
    limit = limits.get(metric, math.inf)
    return max(bounds[0], -limit), min(bounds[1], limit)


def _change(metric: str, gap: float, low: float, high: float) -> Change:
    return Change.NO_DATA if any(map(math.isnan, (gap, low, high))) else progress(metric, gap, low, high)
