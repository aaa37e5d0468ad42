"""``sim sweep``: a request in, a directory with every result, ``sweep.parquet`` and its reports out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pandas as pd

import resilience
from reports.pages import failing_in_one_line, replacing
from reports.render import table as text_table
from reports.sweep import SCHEMA_VERSION as SWEEP_SCHEMA
from reports.sweep import Decision, Envelope, Sweep, Target
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.spec import METRICS

from .campaign import Campaign, SweepStanding
from .design import Design, Method, plain_value
from .evaluation import Scenario
from .figures import FIGURES, LOAD_FIGURES
from .stopping import StoppingRule
from .sweep_directory import SweepQuestion, open_directory
from .tables import FactorEffect, PointMean, factor_effects, point_means, results_table
from .workers import Workers

FILES = ("sweep.parquet", "sweep.md")


@dataclass(frozen=True)
class SweepRequest:
    """A sweep as it was asked for. ``metric``: what the rule and the tables are about.

    ``decision`` with a ``target`` lets ``report capacity`` answer it; ``command`` repeats it.
    """

    scenario: Scenario
    design: Design
    rule: StoppingRule
    metric: str
    decision: Decision | None = None
    target: Target | None = None
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Try every point before the first is run: raises :class:`~resilience.errors.UsageError` for a bad setting."""
        lane = self.scenario.lane
        known = (*FIGURES, *LOAD_FIGURES) if lane is Lane.POPULATION else FIGURES
        if self.metric in LOAD_FIGURES and self.metric not in known:
            raise UsageError(f"--metric {self.metric}: is not measured in the lane {lane}; choose --lane population")
        if self.metric not in known:
            raise UsageError(f"--metric {self.metric}: unknown; one of: {', '.join(known)}")
        for settings in self.design.points:
            self.scenario.experiment(settings)
        if self.decision is not None:
            self._check_decision(self.decision.name)

    def _check_decision(self, key: str) -> None:
        keys = [factor.key for factor in self.design.factors]
        if key not in keys:
            raise UsageError(f"--decide {key}: is not varied; varied are: {', '.join(keys) or 'none'}")
        if self.target is None:
            known = f"one of {', '.join(metric for metric in METRICS if metric in FIGURES)}"
            raise UsageError(f"--decide: needs an expectation, without cohort and fault, to be the target: {known}")
        if self.design.method is not Method.GRID:
            raise UsageError("--decide: needs a grid; a sample has no two points that differ in one setting only")
        for factor in self.design.factors:
            for text in factor.values:
                if not isinstance(plain_value(text), int | float):
                    raise UsageError(f"--decide: all varied settings must be numbers, not {factor.key} = {text}")


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep found: its table, the means of its metric by point, what each factor does, if it is finished."""

    table: pd.DataFrame
    means: Sequence[PointMean]
    effects: Sequence[FactorEffect]
    complete: bool


def run_sweep(
    request: SweepRequest,
    out: Path,
    workers: Callable[[], AbstractContextManager[Workers]],
    listener: Callable[[Callable[[], SweepStanding]], None],
) -> SweepOutcome:
    """Run what is missing in ``out`` and write its tables.

    Errors as of :func:`~sim.planning.sweep_directory.open_directory` and :meth:`~sim.planning.campaign.Campaign.run`.
    However it ends, what was computed is kept, and what is there is written as an unfinished sweep.
    """
    with open_directory(out, SweepQuestion(scenario=request.scenario, design=request.design)) as directory:
        campaign = Campaign(request.scenario, request.design, request.rule, request.metric, directory)
        try:
            if not campaign.complete:
                with workers() as opened:
                    campaign.run(opened, listener)
        finally:
            outcome = _outcome(request, campaign)
            write_tables(request, outcome, out)
    return outcome


def _outcome(request: SweepRequest, campaign: Campaign) -> SweepOutcome:
    table = results_table(request.design, campaign.results())
    means = point_means(table, request.metric) if request.metric in table else []
    seed = request.scenario.seed
    return SweepOutcome(table, means, factor_effects(request.design, means, seed), campaign.complete)


def write_tables(request: SweepRequest, outcome: SweepOutcome, out: Path) -> None:
    """Write ``sweep.parquet``, ``sweep.md`` and, for a sweep that decides something, ``sweep.json``."""
    names = (*FILES, "sweep.json") if request.decision is not None else FILES
    with failing_in_one_line(out, "the tables of the sweep"), replacing(out, names) as fresh:
        outcome.table.to_parquet(fresh / "sweep.parquet", index=False)
        (fresh / "sweep.md").write_text(to_markdown(request, outcome), encoding="utf-8")
        if request.decision is not None:
            description = msgspec.json.encode(_description(request, outcome))
            (fresh / "sweep.json").write_bytes(msgspec.json.format(description, indent=2) + b"\n")


def to_markdown(request: SweepRequest, outcome: SweepOutcome) -> str:
    """The means by point and the effects of the factors."""
    head = [
        *(f"`{factor.key}`" for factor in request.design.factors),
        f"`{request.metric}`",
        "± (95 %)",
        "replications",
    ]
    rows = [
        [
            *(text for _, text in request.design.points[each.point]),
            f"{each.mean:.6g}",
            "unknown" if each.half == float("inf") else f"{each.half:.3g}",
            str(each.replications),
        ]
        for each in outcome.means
    ]
    state = "" if outcome.complete else "\n\n**Not finished: the same command continues it.**"
    parts = [f"# Sweep of {request.scenario.name}, lane {request.scenario.lane.value}{state}", text_table(head, rows)]
    if any(math.isnan(each.mean) for each in outcome.means):
        parts.append("nan: not known in every replication, because no client was affected or not all returned in time.")
    if outcome.effects:
        parts.append(effects_table(request.metric, outcome.effects))
    parts.append(f"Replications: {request.rule.in_words(request.metric)}. Seed {request.scenario.seed}.")
    return "\n\n".join(parts) + "\n"


def effects_table(metric: str, effects: Sequence[FactorEffect]) -> str:
    """Sobol's or Morris' numbers, the strongest factor first."""
    if effects[0].total is not None:
        ordered = sorted(effects, key=lambda each: -(each.total or 0.0))
        head = ["setting", "first-order share of the variance", "±", "total share", "±"]
        rows = [
            [f"`{e.key}`", *(f"{value:.3f}" for value in (e.first, e.first_half, e.total, e.total_half))]
            for e in ordered
        ]
    else:
        ordered = sorted(effects, key=lambda each: -(each.mu_star or 0.0))
        head = ["setting", f"mean absolute effect on `{metric}`", "±", "standard deviation of the effects"]
        rows = [[f"`{e.key}`", *(f"{value:.4g}" for value in (e.mu_star, e.mu_star_half, e.sigma))] for e in ordered]
    return text_table(head, rows)


def _description(request: SweepRequest, outcome: SweepOutcome) -> Sweep:
    """``sweep.json``: the first value of every other setting is the planned one."""
    decision, target, design = request.decision, request.target, request.design
    assert decision is not None and target is not None  # noqa: S101, PT018 - checked when the request was made
    others = [factor for factor in design.factors if factor.key != decision.name]
    planned = {factor.key: _number(factor.values[0]) for factor in others}
    return Sweep(
        schema_version=SWEEP_SCHEMA,
        question=f"Which {decision.name} holds the target of {request.scenario.name}?",
        participants=request.scenario.experiment(design.points[0]).clients,
        target=target,
        decision=decision,
        settings=planned,
        complete=outcome.complete,
        stopping=request.rule.in_words(request.metric),
        seed=request.scenario.seed,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(request.command),
        versions={"quiz-resilience": resilience.__version__},
        envelope=Envelope(ranges=_ranges(design, outcome.table)),
    )


def _number(text: str) -> float:
    value = plain_value(text)
    assert isinstance(value, int | float)  # noqa: S101 - checked when the request was made
    return float(value)


def _ranges(design: Design, table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    numeric = [f.key for f in design.factors if f.key in table and pd.api.types.is_numeric_dtype(table[f.key])]
    return {key: (float(table[key].min()), float(table[key].max())) for key in numeric if len(table)}
