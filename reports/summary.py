"""The result of a run as values: the one object from which console, JSON, Markdown, HTML and JUnit are made.

``summary.json`` is this object, encoded; its schema is versioned, because other tools read it. A number that does not
exist is ``null``, never NaN. ``low`` and ``high`` are one-sided bounds, each at ``confidence``. Durations are in
seconds.
"""

from __future__ import annotations

import math

import msgspec

from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.lab.run_directory import RunStatus

from .page_summary import PageResults

SCHEMA_VERSION = 1

NOT_JUDGED = "not judged: the run did not complete, or its evidence is incomplete"
"""What targets and checks say in a run that decides nothing."""


class Outcomes(msgspec.Struct, frozen=True):
    """Episodes by outcome; the first five are the affected ones, and only they count in the success rate."""

    restored: int = 0
    gave_up: int = 0
    identity_lost: int = 0
    corrupt: int = 0
    censored: int = 0
    rode_through: int = 0
    not_exposed: int = 0
    left: int = 0
    superseded: int = 0
    harness: int = 0


class QuantileBounds(msgspec.Struct, frozen=True):
    """One-sided bounds of a quantile, seconds; null where too few drops, or too few returns, bound it."""

    low: float | None
    high: float | None


class SuccessRate(msgspec.Struct, frozen=True, kw_only=True):
    """Restored / affected. ``low``/``high`` allow for correlated drops, ``plain_*`` (Clopper-Pearson) do not.

    ``low`` counts the censored as lost, ``high`` as restored; ``value`` as lost. ``effective_n``: the number of
    independent drops that the affected are equivalent to.

    ``rejoined``: how many of the restored came back after clean-up, with the same identity. ``correlation_source``:
    estimated, or stated by the experiment. ``events``: physical events (see
    :mod:`reports.windows`) with at least one affected participant.

    ``correlation_limit``: the largest within-event correlation at which ``low`` still reaches the target of the
    experiment's first ``success_rate`` expectation; null where no correlation does. ``events_needed``: with how many
    events like these, all restored as now, the target would be proven at the correlation in use; null where it is
    proven, or where none would do.
    """

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    restored: int
    rejoined: int
    affected: int
    outcomes: Outcomes
    plain_low: float | None
    plain_high: float | None
    method: str
    events: int
    effective_n: float | None
    design_effect: float | None
    correlation: float | None
    correlation_source: str
    correlation_limit: float | None = None
    events_needed: int | None = None


class LatencySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One clock over all affected episodes, seconds. ``clock``: from what to what.

    ``mean`` counts the ``censored`` episodes (not back: gave up, lost identity, corrupt, or run ended) as long as they
    were seen, those that will never come back at least ``deadline``, and then is a lower bound without ``high``.
    ``restricted_mean`` counts every episode up to ``deadline``, or up to the last time under observation. Every ``low``
    takes the episodes that the run's end cut off as back, every ``high`` as lost. Quantiles are of the recovery curve:
    null if that share never came back; ``bounds`` are theirs, by name. ``max`` is of the episodes that came back.
    ``n`` counts the episodes for which the clock is defined.
    """

    clock: str
    mean: float | None
    low: float | None
    high: float | None
    restricted_mean: float | None
    restricted_low: float | None
    restricted_high: float | None
    deadline: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None
    n: int
    censored: int
    bounds: dict[str, QuantileBounds] = {}


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """Dials per affected episode, from the loss to its end."""

    mean: float | None
    low: float | None
    high: float | None
    p95: float | None
    max: float | None
    n: int


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True):
    """Heartbeat round trips as the server measured them, seconds: ping sent to pong received."""

    mean: float | None
    low: float | None
    high: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    n: int


class GroupSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Every number that is computed for a set of episodes."""

    success_rate: SuccessRate
    detection_s: LatencySummary
    reconnection_s: LatencySummary
    downtime_s: LatencySummary
    excess_s: LatencySummary
    attempts: Attempts


class SecondaryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number shown next to an expectation's own; with a ``verdict`` when it is judged against the same threshold."""

    metric: str
    population: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    verdict: Verdict | None = None


class ExpectationResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one expectation. ``population`` says in words over what; ``n`` how many values.

    ``verdict`` is the worst of ``verdict_alone`` (of this metric) and of the verdicts in ``beside``. ``events``: the
    physical events among the values, where there are any; ``events_needed``: with about how many events like these an
    inconclusive result would be decided, if its value stays as it is; null where none would do or it is not known.
    """

    metric: str
    op: str
    threshold: float
    value: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    confidence: float
    cohort: str | None
    fault: str | None
    population: str
    n: int
    method: str
    note: str | None = None
    beside: tuple[SecondaryEstimate, ...] = ()
    verdict_alone: Verdict | None = None
    events: int | None = None
    events_needed: int | None = None


class Counterexample(msgspec.Struct, frozen=True, kw_only=True):
    """One case that breaks a rule: who (a client's name, else a participant's id), when (s of the run), what."""

    actor: str | None
    t: float | None
    text: str


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of the recorded history. ``checked``: the number of cases; ``detail``: the first counterexample, if any.

    ``rule`` is the rule in words. The verdict is *not_applicable* when the run has no evidence that could break it.
    ``broken_cases`` counts the cases that break the rule, of which ``counterexamples`` are the first ones.
    """

    name: str
    rule: str
    verdict: Verdict
    detail: str
    checked: int
    counterexamples: tuple[Counterexample, ...] = ()
    broken_cases: int = 0


class WindowResult(msgspec.Struct, frozen=True, kw_only=True):
    """One fault window: planned, injected, confirmed, and its cohort's outcomes. Times: seconds of the run."""

    fault_id: str
    kind: str
    cohort: str
    planned_start: float | None
    planned_end: float | None
    started_at: float | None
    ended_at: float | None
    confirmed_at: float | None
    cleared_at: float | None
    valid: bool
    reason: str | None
    outcomes: Outcomes


class ProcessHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How well one process of the laboratory kept up. Lateness of its loop in seconds; ``cpu_s``: processor time used.

    ``role``: runner, worker, proxy or server host.
    """

    name: str
    role: str
    lag_p50: float | None = None
    lag_p99: float | None = None
    lag_max: float | None = None
    cpu_s: float | None = None


class ReferenceReturns(msgspec.Struct, frozen=True, kw_only=True):
    """How as many bare clients of ``websockets`` returned through the same proxies, before the run.

    ``returned``: of ``clients`` times ``storms``. ``excess_mean``, ``excess_p95``, ``excess_last``: seconds from the
    cut to the first echo, over all returns. ``cpu_s``: processor seconds of a return, by role. ``share``: the bare mean
    as a share of the mean excess of the run's own clients that returned.
    """

    clients: int
    storms: int
    returned: int
    excess_mean: float | None = None
    excess_p95: float | None = None
    excess_last: float | None = None
    cpu_s: dict[str, float] = {}
    share: float | None = None


class Laboratory(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the laboratory itself can be believed.

    ``failures``: what makes every figure worthless (exit code 4). ``doubts``: what forbids a verdict (inconclusive).
    ``warnings``: what a reader should know. ``throttled_s``: for how long a CPU quota stopped the processes;
    ``load``: the machine's load average per processor at start and end. ``reference``: what bare clients took, where
    the experiment asks for that.
    """

    failures: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    processes: tuple[ProcessHealth, ...] = ()
    throttled_s: float | None = None
    load: tuple[float, float] | None = None
    reference: ReferenceReturns | None = None


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """Episodes that recovered after exactly this many dials; ``share``: with at most as many, of all affected."""

    attempts: int
    restored: int
    share: float


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Affected episodes of one window that ended in the same way for the same cause; see :mod:`reports.failures`.

    ``cause``: the last thing that these clients recorded. ``least_dials``, ``most_dials``: fewest and most dials among
    them. ``participants``: the first ten by name.
    """

    fault_id: str
    kind: str
    cohort: str
    outcome: str
    cause: str
    episodes: int
    least_dials: int
    most_dials: int
    participants: tuple[str, ...]


class EventResult(msgspec.Struct, frozen=True, kw_only=True):
    """One physical event: all windows that overlap in time. ``started_at``: the first of them, seconds of the run.

    Bounds are of this event alone: exact ones for the share restored, Student's t for the restricted mean of the excess
    (seconds, up to the experiment's deadline), drops within it taken as independent.
    """

    event: str
    kinds: tuple[str, ...]
    cohorts: tuple[str, ...]
    started_at: float
    affected: int
    restored: int
    low: float | None
    high: float | None
    excess_mean: float | None
    excess_low: float | None
    excess_high: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run's result; field by field as described in this module's other classes."""

    schema_version: int = SCHEMA_VERSION
    experiment: str
    title: str
    experiment_digest: str
    lane: Lane
    seed: int
    started_at: str
    duration_s: float
    wall_s: float | None
    peak_rss_mb: float | None
    versions: dict[str, str]
    status: str
    cause: str | None
    verdict: Verdict
    reasons: tuple[str, ...]
    participants: int
    confidence: float
    expectations: tuple[ExpectationResult, ...]
    success_rate: SuccessRate
    detection_s: LatencySummary
    reconnection_s: LatencySummary
    downtime_s: LatencySummary
    excess_s: LatencySummary
    attempts: Attempts
    heartbeat_rtt_s: RoundTrip
    grace_expirations: int
    invariants: tuple[Invariant, ...]
    by_cohort: dict[str, GroupSummary]
    by_fault: dict[str, GroupSummary]
    by_attempt: tuple[AttemptRow, ...]
    windows: tuple[WindowResult, ...]
    reproduce: str
    laboratory: Laboratory = Laboratory()
    failures: tuple[FailureGroup, ...] = ()
    by_event: tuple[EventResult, ...] = ()
    pages: PageResults | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command that made this run."""
        if self.laboratory.failures or self.status != RunStatus.COMPLETED:
            return ExitCode.HARNESS
        codes = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL, Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE}
        return codes[self.verdict]


def finite_or_none(number: float) -> float | None:
    """The number, or None if it is NaN or infinite, which JSON cannot hold."""
    return float(number) if math.isfinite(number) else None
