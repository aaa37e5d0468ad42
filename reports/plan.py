"""Says before a run whether its design can decide its targets. Knows plans and bounds; has seen no outcome.

A plan counts every client that a fault strikes as one drop, once per physical event (see :mod:`reports.windows`):
clients that ride a fault through, or have no session when it comes, make the evidence smaller than planned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from resilience.experiment.schedule import SERVER
from resilience.experiment.spec import Expectation, Experiment, Op

from . import formatting
from .rates import RateDesign, events_needed, least_number, low_bound
from .stats import Floats
from .windows import planned_windows

CONFIDENCE = 0.95
TRUE_RATES = (0.99, 0.995, 0.999)
"""Rates of the system for which the chance to pass is computed, in addition to a perfect one."""

_RUNS = 400
_MAX_CLIENTS = 1_000_000


@dataclass(frozen=True)
class RatePlan:
    """What a design can say about one target of the success rate; ``about`` names its part of the run in words.

    ``best``: the lower bound when all are restored. ``failures_spread``, ``failures_in_one``: with how many failures,
    alike in all events or all in the largest, it still passes; None when it never does. ``chances``: of a pass, by true
    rate, at the stated correlation. ``events_needed``, ``clients_needed``: of events like these, or of clients in each
    of these events, so that it can pass; None where no number would do, and where it can.
    """

    about: str
    target: float
    design: RateDesign
    best: float
    failures_spread: int | None
    failures_in_one: int | None
    chances: dict[float, float]
    events_needed: int | None
    clients_needed: int | None

    @property
    def can_pass(self) -> bool:
        """Whether the target is met when every client is restored."""
        return self.best >= self.target


def plans(
    experiment: Experiment,
    target: float | None = None,
    confidence: float | None = None,
    correlation: float | None = None,
) -> list[RatePlan]:
    """A plan for each expectation that asks for a success rate, or one for ``target``.

    ``confidence`` and ``correlation`` replace those of the experiment.
    """
    asked = [
        item for item in experiment.expectations if item.metric == "success_rate" and item.op in (Op.AT_LEAST, Op.ABOVE)
    ]
    if target is not None:
        asked = [Expectation("success_rate", Op.AT_LEAST, target, confidence or CONFIDENCE)]
    stated = experiment.statistics.correlation if correlation is None else correlation
    return [_plan(item, planned_design(experiment, item, confidence or item.confidence, stated)) for item in asked]


def planned_design(experiment: Experiment, expectation: Expectation, confidence: float, stated: float) -> RateDesign:
    """The drops per physical event that the expectation is about; without events if no fault strikes any client."""
    timeout = experiment.client.probe_after + experiment.client.probe_deadline
    ending = {window.fault_id for window in experiment.windows() if window.fault.may_end_connections(timeout)}
    windows = planned_windows(experiment)
    windows = windows[windows["fault_id"].isin(list(ending))]
    if expectation.fault is not None:
        windows = windows[windows["kind"] == expectation.fault]
    clients = {link.name: len(link.indices) for link in experiment.links() if expectation.cohort in (None, link.cohort)}
    by_event = {str(name): _struck(rows, clients) for name, rows in windows.groupby("event", sort=False)}
    sizes = pd.Series({name: size for name, size in by_event.items() if size}, dtype="float64")
    strata = windows.drop_duplicates("event").set_index("event")["stratum"].reindex(sizes.index)
    codes, _ = pd.factorize(strata)
    return RateDesign(np.asarray(sizes, dtype=np.float64), codes.astype(np.int64), stated, confidence)


def _struck(windows: pd.DataFrame, clients: dict[str, int]) -> int:
    """The clients that one event strikes."""
    if (windows["place"] == SERVER).any():
        return sum(clients.values())
    return sum(clients.get(link, 0) for link in {link for links in windows["links"] for link in links})


def _plan(expectation: Expectation, design: RateDesign) -> RatePlan:
    target, none = expectation.threshold, np.zeros_like(design.sizes)
    parts = [f"cohort {expectation.cohort}"] if expectation.cohort else []
    parts += [f"fault {expectation.fault}"] if expectation.fault else []
    about = f"success_rate [{', '.join(parts)}]" if parts else "success_rate"
    if not len(none):
        return RatePlan(about, target, design, 0.0, None, None, {}, None, None)
    best = low_bound(design, none)
    passes = best >= target
    largest = (np.arange(len(none)) == int(design.sizes.argmax())).astype(np.float64)
    return RatePlan(
        about=about,
        target=target,
        design=design,
        best=best,
        failures_spread=_most_failures(design, target, design.sizes / design.n, int(design.n)) if passes else None,
        failures_in_one=_most_failures(design, target, largest, int(design.sizes.max())) if passes else None,
        chances={rate: chance_to_pass(design, target, rate) for rate in TRUE_RATES if rate > target} if passes else {},
        events_needed=None if passes else events_needed(design, 1.0, target),
        clients_needed=None if passes else _clients_needed(design, target),
    )


def _most_failures(design: RateDesign, target: float, share: Floats, limit: int) -> int:
    """The largest number of failures, divided among the events by ``share``, with which the target is still proven."""
    return bisect_left(range(1, limit + 1), x=True, key=lambda count: low_bound(design, count * share) < target)


def _clients_needed(design: RateDesign, target: float) -> int | None:
    """The clients per event with which as many events could pass."""

    def passes(size: int) -> bool:
        alike = replace(design, sizes=np.full(len(design.sizes), float(size)))
        return low_bound(alike, np.zeros(len(design.sizes))) >= target

    return least_number(passes, _MAX_CLIENTS)


def chance_to_pass(design: RateDesign, target: float, rate: float, seed: int = 0) -> float:
    """How often the target is proven when the true success rate is ``rate``, by simulation (to about 0.02).

    Events differ as beta-binomial ones do, at the design's stated correlation.
    """
    rng = np.random.default_rng([seed, len(design.sizes)])
    shares = np.full((_RUNS, len(design.sizes)), 1 - rate)
    if 0 < design.stated < 1:
        strength = 1 / design.stated - 1
        shares = rng.beta((1 - rate) * strength, rate * strength, shares.shape)
    failed = rng.binomial(np.round(design.sizes).astype(np.int64), shares).astype(np.float64)
    proven: dict[tuple[float, ...], bool] = {}
    for run in failed:
        key = tuple(run)
        if key not in proven:
            proven[key] = low_bound(design, run) >= target
    return sum(proven[tuple(run)] for run in failed) / _RUNS


def plan_lines(found: Sequence[RatePlan]) -> list[str]:
    """What the design of each target can prove, in sentences, one a line."""
    if not found:
        return ["No expectation asks for a success rate: there is nothing to plan."]
    return [line for plan in found for line in _lines(plan)]


def _lines(plan: RatePlan) -> list[str]:
    if not len(plan.design.sizes):
        return [
            f"{plan.about} ≥ {formatting.percent(plan.target)} can never pass: no fault strikes any of its clients."
        ]
    design, sure, wanted = plan.design, formatting.percent(plan.design.confidence), formatting.percent(plan.target)
    events = formatting.pluralise(len(design.sizes), "fault event")
    strata = formatting.pluralise(len(design.stratum_sizes), "kind")
    drops = f"at most {design.n:,.0f} drops in {events} of {strata}, within-event correlation {design.stated:g}"
    if not plan.can_pass:
        return [
            f"{plan.about} ≥ {wanted} can never pass: {drops}.",
            f"  All restored would prove at least {formatting.percent(plan.best)} with {sure} confidence.",
            f"  {_remedy(plan)}",
        ]
    spread = formatting.pluralise(plan.failures_spread or 0, "failure")
    chances = ", ".join(f"{formatting.percent(rate)}: {chance:.0%}" for rate, chance in plan.chances.items())
    return [
        f"{plan.about} ≥ {wanted} can pass: {drops}.",
        f"  All restored would prove at least {formatting.percent(plan.best)} with {sure} confidence.",
        f"  It passes with up to {spread} alike in all events, or {plan.failures_in_one or 0:,} in one event.",
        *([f"  Chance of a pass by the true rate: {chances}."] if chances else []),
    ]


def _remedy(plan: RatePlan) -> str:
    """What would let it pass."""
    more = "No number of such events would do"
    if plan.events_needed is not None:
        size = plan.design.n / len(plan.design.sizes)
        more = f"About {plan.events_needed:,} events of {size:,.0f} clients would do"
    if plan.clients_needed is None:
        return f"{more}; with as few events as now no number of clients would."
    return f"{more}, or {plan.clients_needed:,} clients in each of as many events as now."
