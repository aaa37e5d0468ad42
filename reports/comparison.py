"""The result of a comparison as values: the one object from which console, JSON, Markdown and HTML are made.

``compare.json`` is this object, encoded; a number that does not exist is ``null``. Knows no statistics and no file.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Verdict
from resilience.lab.run_directory import RunStatus

SCHEMA_VERSION = 2

JUDGED = (
    "success_rate",
    "detection_s.mean",
    "detection_s.p95",
    "downtime_s.restricted_mean",
    "downtime_s.p95",
    "downtime_less_outage_s.restricted_mean",
    "excess_s.restricted_mean",
    "excess_s.p50",
    "excess_s.p95",
    "attempts.mean",
)
"""The metrics that decide. All but the success rate are better when lower."""

INFORMATIVE = (
    "reconnection_s.restricted_mean",
    "reconnection_s.p50",
    "reconnection_s.p95",
    "heartbeat_rtt_s.p50",
)
"""Shown, but not judged: reconnection is shorter for a client that notices its loss later, and round trips differ with
the networks of the runs."""

METRICS = (*JUDGED, *INFORMATIVE)

FALSE_ALARMS = 0.05
"""The probability of at least one change, worse or better, in the judged rows of a table of equal systems."""

RESOLUTION_S = 0.001
"""Seconds; differences below the resolution of the log's stamps are no change."""


class Change(StrEnum):
    """What is said of one metric of one run against the first."""

    WORSE = "worse"
    BETTER = "better"
    DIFFERS = "differs"
    AGREE = "agree"
    UNDECIDED = "undecided"
    NO_CHANGE = "no change shown"
    NO_DATA = "no data"


def progress(metric: str, gap: float, low: float, high: float) -> Change:
    """What a difference with these bounds says: a change has its whole interval on one side of zero.

    A bound that is not known, NaN, shows none.
    """
    if metric.partition(".")[0].endswith("_s") and abs(gap) < RESOLUTION_S:
        return Change.NO_CHANGE
    more, less = (Change.BETTER, Change.WORSE) if metric == "success_rate" else (Change.WORSE, Change.BETTER)
    more, less = (Change.DIFFERS, Change.DIFFERS) if metric in INFORMATIVE else (more, less)
    return more if low > 0 else less if high < 0 else Change.NO_CHANGE


class CheckChange(StrEnum):
    """What became different in an invariant or an expectation."""

    NEWLY_BROKEN = "newly broken"
    NEWLY_MISSED = "newly missed"
    NEWLY_NOT_APPLICABLE = "newly not applicable"
    NEWLY_UNDECIDED = "newly undecided"
    NO_LONGER_BROKEN = "no longer broken"
    NO_LONGER_MISSED = "no longer missed"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one run compared with the first. ``relative``: share of the first's value.

    ``low`` and ``high`` are one-sided bounds of ``absolute``, each at ``confidence``. ``margin``: within which two
    lanes agree, in the metric's unit; null where progress is judged. ``method``: in words; ``pairs``: how many episodes
    have a partner, null for an unpaired comparison.
    """

    label: str
    absolute: float | None
    relative: float | None
    low: float | None
    high: float | None
    verdict: Change
    confidence: float
    method: str
    pairs: int | None = None
    margin: float | None = None


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One metric: its value and sample size in each run, and the difference of each later run to the first."""

    metric: str
    judged: bool
    values: tuple[float | None, ...]
    sizes: tuple[int, ...]
    gaps: tuple[Difference, ...]


class ChangedCheck(msgspec.Struct, frozen=True, kw_only=True):
    """An invariant or an expectation with another verdict than in the first run."""

    label: str
    kind: str
    name: str
    before: Verdict | None
    after: Verdict
    change: CheckChange
    detail: str

    @property
    def fails(self) -> bool:
        """Whether this alone makes the comparison fail."""
        return self.change in (CheckChange.NEWLY_BROKEN, CheckChange.NEWLY_MISSED)


class CheckResultLine(msgspec.Struct, frozen=True, kw_only=True):
    """One invariant or expectation of a run, as far as a comparison needs it."""

    kind: str
    name: str
    verdict: Verdict
    detail: str


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs. ``doubts`` and ``failures``: of its laboratory; ``affected``: its affected episodes."""

    label: str
    experiment: str
    experiment_digest: str
    lane: str
    seed: int
    started_at: str
    status: RunStatus
    cause: str | None
    verdict: Verdict
    versions: dict[str, str]
    affected: int
    failures: tuple[str, ...]
    doubts: tuple[str, ...]
    checks: tuple[CheckResultLine, ...]

    @property
    def broken(self) -> str | None:
        """Why the run says nothing about the system; None for a run that was carried out."""
        if self.status != RunStatus.COMPLETED:
            return f"{self.label} is {self.status.value.replace('_', ' ')}: {self.cause or 'no cause given'}"
        return f"{self.label}: {self.failures[0]}" if self.failures else None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """``compare.json``. ``confidence``: of each one-sided bound of a judged change; ``family``: of all together.

    ``subject`` says whether the runs are of different experiments, or of which different settings; empty where they are
    of one. ``notes``: what else is not equal, and how the runs were compared.
    """

    schema_version: int = SCHEMA_VERSION
    sides: tuple[ComparedRun, ...]
    rows: tuple[ComparisonRow, ...]
    checks: tuple[ChangedCheck, ...]
    confidence: float
    family: float
    subject: str
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """A short name per run."""
        return tuple(side.label for side in self.sides)

    @property
    def across_lanes(self) -> bool:
        """Whether the runs are of different lanes, so that agreement is judged and not progress."""
        return len({side.lane for side in self.sides}) > 1

    @property
    def judged(self) -> list[tuple[str, Difference]]:
        """Every difference that decides, with its metric."""
        return [(row.metric, gap) for row in self.rows if row.judged for gap in row.gaps]

    @property
    def worse(self) -> bool:
        """Whether any run is worse than the first in any metric, or lies beyond a margin."""
        return any(gap.verdict in (Change.WORSE, Change.DIFFERS) for _, gap in self.judged)

    @property
    def failed(self) -> bool:
        """Whether any run newly breaks an invariant or newly misses a target."""
        return any(check.fails for check in self.checks)

    @property
    def without_data(self) -> tuple[str, ...]:
        """The labels of runs without an affected episode, or without one comparable metric."""
        compared = {gap.label for _, gap in self.judged if gap.verdict != Change.NO_DATA}
        first, *others = self.sides
        return tuple(
            side.label
            for side in (first, *others)
            if not side.affected or (side is not first and side.label not in compared)
        )

    @property
    def broken(self) -> tuple[str, ...]:
        """Why runs say nothing about the system, a sentence each."""
        return tuple(why for side in self.sides if (why := side.broken))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the laboratory of a run is not to be believed, a sentence each."""
        return tuple(f"{side.label}: {doubt}" for side in self.sides for doubt in side.doubts)

    def exit_code(self, *, fail_on_worse: bool = False) -> ExitCode:
        """The exit code of the command: 4, 1, 3 or 0, the first of them that holds.

        With ``fail_on_worse`` a worse metric, or one beyond its margin, is 1, and an undecided agreement is 3.
        """
        if self.broken:
            return ExitCode.HARNESS
        if self.failed or (fail_on_worse and self.worse):
            return ExitCode.FAIL
        undecided = fail_on_worse and any(gap.verdict == Change.UNDECIDED for _, gap in self.judged)
        unknown = self.without_data or self.doubts or undecided
        return ExitCode.INCONCLUSIVE if unknown else ExitCode.PASS

    @property
    def tone(self) -> str:
        """Fail, inconclusive or pass: the colour of the verdict."""
        if self.broken:
            return "inconclusive"
        if self.failed or self.worse:
            return "fail"
        if self.without_data or self.doubts:
            return "inconclusive"
        undecided = any(gap.verdict == Change.UNDECIDED for _, gap in self.judged)
        return "inconclusive" if undecided else "pass"

    @property
    def headline(self) -> str:
        """The result in one sentence, after what the runs do not have in common."""
        said = self.result
        return f"{self.subject}: {said[0].lower()}{said[1:]}" if self.subject else said

    @property
    def result(self) -> str:
        """The result in one sentence."""
        return self._broken_words() or self._failed_words() or self._lane_words() or self._progress_words()

    @property
    def also(self) -> str:
        """What the result does not name: worse metrics next to failed checks, and better ones; may be empty."""
        worse, better = self._metrics(Change.WORSE), self._metrics(Change.BETTER)
        said = [f"Worse in {', '.join(worse)}."] if worse and not self.result.endswith(", ".join(worse)) else []
        return " ".join([*said, *([f"Better in {', '.join(better)}."] if better else [])])

    def _broken_words(self) -> str:
        return f"No comparison: {self.broken[0]}" if self.broken else ""

    def _failed_words(self) -> str:
        found = [f"{check.change.value}: {check.name} ({check.label})" for check in self.checks if check.fails]
        if found:
            return "Worse than the first run; " + "; ".join(found)
        if self.without_data:
            return f"No comparison: no affected episode or no common metric in {', '.join(self.without_data)}"
        return ""

    def _lane_words(self) -> str:
        if not self.across_lanes:
            return ""
        apart, open_ = (self._metrics(verdict) for verdict in (Change.DIFFERS, Change.UNDECIDED))
        agreed = sum(gap.verdict == Change.AGREE for _, gap in self.judged)
        said = f"The lanes agree within their margins in {agreed} of {len(self.judged)} comparisons"
        said += f", differ in {', '.join(apart)}" if apart else ""
        return said + (f"; undecided: {', '.join(open_)}" if open_ else "")

    def _progress_words(self) -> str:
        worse = self._metrics(Change.WORSE)
        return f"Worse than the first run in {', '.join(worse)}" if worse else "No deterioration shown"

    def _metrics(self, verdict: Change) -> list[str]:
        return list(dict.fromkeys(metric for metric, gap in self.judged if gap.verdict == verdict))

    @property
    def ordered(self) -> list[tuple[ComparisonRow, Difference]]:
        """Every difference, the worst and then the largest first, what is not judged last."""
        lines = [(row, gap) for row in self.rows for gap in row.gaps]
        return sorted(lines, key=_urgency)


_ORDER = (Change.WORSE, Change.DIFFERS, Change.BETTER, Change.UNDECIDED, Change.NO_CHANGE, Change.AGREE, Change.NO_DATA)


def _urgency(line: tuple[ComparisonRow, Difference]) -> tuple[bool, int, float]:
    row, gap = line
    return not row.judged, _ORDER.index(gap.verdict), -abs(gap.relative or 0.0)
