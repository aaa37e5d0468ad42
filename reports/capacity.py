"""Answers a sweep's question: how much capacity holds the target, with what margin, and how far that can be trusted.

The decision's values are tested from the safest on, and the test ends at the first that does not hold. A fixed sequence
like this keeps the error of the whole answer at that of a single test (Maurer, Hothorn and Lehmacher 1995).
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from resilience.errors import ExitCode, UsageError
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.spec import Op

from . import formatting
from .capacity_charts import capacity_charts
from .pages import render_page, write_formats
from .quantiles import t_quantile
from .rates import clopper_pearson
from .render import table, to_json
from .stats import Floats, verdict
from .summary import finite_or_none
from .sweep import Provenance, Sweep, SweepResult, amount, load_sweep

SCHEMA_VERSION = 1
_FEWEST_REPLICATIONS = 2


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """The target's metric at one value of the decision or of the load; one-sided bounds at the target's confidence.

    ``gain``: the mean difference to the next safer level, replication by replication, with its two bounds.
    """

    at: float
    value: float
    low: float | None
    high: float | None
    replications: int
    verdict: Verdict
    gain: tuple[float, float, float] | None = None


class CapacityReport(msgspec.Struct, frozen=True, kw_only=True):
    """``capacity.json``. ``answer``: the least safe value of the decision that holds; null if there is none.

    ``margin``: between the answer's bound and the threshold, in the metric's unit. ``holds_to`` and ``breaks_at``: the
    largest load that holds at the answer, and the smallest that is shown not to. ``levels``: by decision, at the
    planned load; ``loads``: by load, at the answer. ``cautions``: what limits the answer, a sentence each.
    """

    schema_version: int = SCHEMA_VERSION
    question: str
    verdict: Verdict
    headline: str
    sentence: str
    answer: float | None
    margin: float | None
    holds_to: float | None
    breaks_at: float | None
    levels: tuple[Level, ...]
    loads: tuple[Level, ...]
    cautions: tuple[str, ...]
    sweep: Sweep

    @property
    def exit_code(self) -> ExitCode:
        """0: a capacity holds; 1: none of those swept does; 3: the sweep cannot decide it."""
        codes = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL}
        return codes.get(self.verdict, ExitCode.INCONCLUSIVE)


# --- the answer -------------------------------------------------------------------------------------------------------


def capacity_report(result: SweepResult) -> CapacityReport:
    """The answer of a sweep; :class:`~resilience.errors.UsageError` if it has no row at the planned load."""
    sweep = result.sweep
    levels = _levels_at_plan(result)
    answer = _answer(levels)
    loads = _loads_at(result, answer.at) if answer and sweep.load else ()
    outside = _extrapolated(sweep, answer)
    found = Verdict.PASS if answer else levels[0].verdict
    if not answer and any(level.verdict is Verdict.PASS for level in levels):
        found = Verdict.INCONCLUSIVE
    decided = found if sweep.complete and not outside else Verdict.INCONCLUSIVE
    holds_to, breaks_at = _limits(loads, sweep)
    return CapacityReport(
        question=sweep.question,
        verdict=decided,
        headline=_headline(sweep, answer, decided, levels),
        sentence=_sentence(sweep, answer, levels, (holds_to, breaks_at)),
        answer=answer.at if answer else None,
        margin=_margin(sweep, answer) if answer else None,
        holds_to=holds_to,
        breaks_at=breaks_at,
        levels=levels,
        loads=loads,
        cautions=(*sweep.limiting, *outside, *_cautions(sweep, levels, answer)),
        sweep=sweep,
    )


def _levels_at_plan(result: SweepResult) -> tuple[Level, ...]:
    """The levels of the decision at the planned load, the safest first."""
    sweep, rows = result.sweep, result.planned
    if sweep.load:
        rows = rows[np.isclose(rows[sweep.load.name], sweep.load.planned)]
    if rows.empty:
        planned = ", ".join(f"{name} = {value:g}" for name, value in _planned(sweep).items())
        raise UsageError(f"sweep.parquet: no row at the planned {planned or 'settings'}")
    return _levels(rows, sweep.decision.name, sweep, descending=sweep.decision.higher_is_safer)


def _planned(sweep: Sweep) -> dict[str, float]:
    return {**sweep.settings, **({sweep.load.name: sweep.load.planned} if sweep.load else {})}


def _loads_at(result: SweepResult, answer: float) -> tuple[Level, ...]:
    sweep, rows = result.sweep, result.planned
    name = sweep.load.name if sweep.load else ""
    return _levels(rows[np.isclose(rows[sweep.decision.name], answer)], name, sweep, descending=False)


def _levels(rows: pd.DataFrame, column: str, sweep: Sweep, *, descending: bool) -> tuple[Level, ...]:
    levels: list[Level] = []
    before: pd.Series | None = None
    for at in sorted(rows[column].unique(), reverse=descending):
        here = rows[rows[column] == at].set_index("replication")
        values = here[sweep.target.metric].groupby(level=0).mean()
        gain = _paired_gain(before, values, sweep.target.confidence) if before is not None else None
        levels.append(_level(float(at), values.to_numpy(dtype=np.float64), here, sweep, gain))
        before = values
    return tuple(levels)


def _level(
    at: float, values: Floats, rows: pd.DataFrame, sweep: Sweep, gain: tuple[float, float, float] | None
) -> Level:
    target = sweep.target
    low, high = _bounds(values, target.confidence)
    if target.metric == "success_rate" and {"restored", "affected"} <= set(rows.columns):
        plain = clopper_pearson(float(rows["restored"].sum()), float(rows["affected"].sum()), target.confidence)
        low, high = min(low, plain[0]), max(high, plain[1])
    if target.metric == "success_rate":
        low, high = max(low, 0.0), min(high, 1.0)
    return Level(
        at=at,
        value=float(values.mean()),
        low=finite_or_none(low),
        high=finite_or_none(high),
        replications=len(values),
        verdict=verdict(target.op, target.threshold, low, high),
        gain=gain,
    )


def _bounds(values: Floats, confidence: float) -> tuple[float, float]:
    """One-sided bounds of a mean over replications, by Student's t; unknown for one replication."""
    n = len(values)
    if n < _FEWEST_REPLICATIONS:
        return math.nan, math.nan
    half = t_quantile(confidence, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return float(values.mean()) - half, float(values.mean()) + half


def _paired_gain(before: pd.Series, values: pd.Series, confidence: float) -> tuple[float, float, float] | None:
    """The difference to the level before, over the replications that both have."""
    gaps = (values - before).dropna().to_numpy(dtype=np.float64)
    low, high = _bounds(gaps, confidence)
    return None if math.isnan(low) else (float(gaps.mean()), low, high)


def _answer(levels: tuple[Level, ...]) -> Level | None:
    """The last level that holds before the first that does not."""
    answer = None
    for level in levels:
        if level.verdict is not Verdict.PASS:
            break
        answer = level
    return answer


def _limits(loads: tuple[Level, ...], sweep: Sweep) -> tuple[float | None, float | None]:
    """The largest load from the planned one up that holds, and the smallest shown to break."""
    if not sweep.load:
        return None, None
    above = [level for level in loads if level.at >= sweep.load.planned or math.isclose(level.at, sweep.load.planned)]
    held = _answer(tuple(above))
    broken = [level.at for level in above if level.verdict is Verdict.FAIL]
    return held.at if held else None, min(broken, default=None)


def _margin(sweep: Sweep, answer: Level) -> float:
    """How far the answer's bound is on the good side of the threshold."""
    above = sweep.target.op in (Op.AT_LEAST, Op.ABOVE)
    bound = answer.low if above else answer.high
    distance = (answer.value if bound is None else bound) - sweep.target.threshold
    return distance if above else -distance


# --- words ------------------------------------------------------------------------------------------------------------


def _headline(sweep: Sweep, answer: Level | None, decided: Verdict, levels: tuple[Level, ...]) -> str:
    unit = sweep.decision.unit
    if answer and decided is Verdict.PASS:
        return f"{amount(answer.at)} {unit}"
    if answer:
        return f"Not decided: {amount(answer.at)} {unit} at best"
    if decided is Verdict.FAIL:
        ends = sorted((levels[0].at, levels[-1].at))
        return f"None of {amount(ends[0])} to {amount(ends[1])} {unit} is enough"
    return "Not decided"


def _sentence(
    sweep: Sweep, answer: Level | None, levels: tuple[Level, ...], limits: tuple[float | None, float | None]
) -> str:
    """The answer with its margin."""
    target = sweep.target
    said = f"{target.metric} {_symbol(target.op)} {formatting.metric_value(target.metric, target.threshold)}"
    said += f" within {target.within:g} s of the loss" if target.within is not None else ""
    people = f"{sweep.participants:,} participants"
    load = f" and a load of {amount(sweep.load.planned)} {sweep.load.unit}" if sweep.load else ""
    if answer is None:
        safest = levels[0]
        done = "miss" if safest.verdict is Verdict.FAIL else "are not shown to reach"
        unit = sweep.decision.unit
        return f"For {people}{load} even {amount(safest.at)} {unit} {done} {said}: {_measured(sweep, safest)}."
    margin = formatting.change(target.metric, _margin(sweep, answer)).lstrip("+")
    holds = f"{amount(answer.at)} {sweep.decision.unit} hold {said} for {people}{load}, by a margin of {margin}"
    parts = [f"{holds}: {_measured(sweep, answer)}"]
    below = levels[levels.index(answer) + 1 :][:1]
    for level in below:
        done = "miss it" if level.verdict is Verdict.FAIL else "are not decided"
        parts.append(f"{amount(level.at)} {done} ({_measured(sweep, level)})")
    parts += _load_words(sweep, limits)
    return "; ".join(parts) + "."


def _load_words(sweep: Sweep, limits: tuple[float | None, float | None]) -> list[str]:
    holds_to, breaks_at = limits
    if not sweep.load or holds_to is None:
        return []
    much = f"{amount(holds_to)} {sweep.load.unit}"
    if sweep.load.planned not in (0.0, 1.0) and not math.isclose(holds_to, sweep.load.planned):
        much += f", {holds_to / sweep.load.planned:.3g} times the planned"
    broken = f"they break at {amount(breaks_at)}" if breaks_at is not None else "no larger load was shown to break them"
    return [f"they hold up to {much}", broken]


def _measured(sweep: Sweep, level: Level) -> str:
    """``99.2 %, at least 98.9 % with 95 % confidence``."""
    metric, above = sweep.target.metric, sweep.target.op in (Op.AT_LEAST, Op.ABOVE)
    passed = level.verdict is not Verdict.FAIL
    bound, word = (level.low, "at least") if above is passed else (level.high, "at most")
    value = formatting.metric_value(metric, level.value)
    if bound is None:
        return f"{value} in {formatting.pluralise(level.replications, 'replication')}, without bounds"
    sure = formatting.percent(sweep.target.confidence)
    return f"{value}, {word} {formatting.metric_value(metric, bound)} with {sure} confidence"


def _symbol(op: Op) -> str:
    return {Op.AT_LEAST: "≥", Op.AT_MOST: "≤", Op.ABOVE: ">", Op.BELOW: "<"}[op]


def _extrapolated(sweep: Sweep, answer: Level | None) -> tuple[str, ...]:
    """What of the plan or the answer lies outside the tested ranges."""
    places = _planned(sweep) | ({sweep.decision.name: answer.at} if answer else {}) | sweep.envelope.reached
    found = []
    for name, value in places.items():
        low, high = sweep.envelope.ranges.get(name, (-math.inf, math.inf))
        if not low <= value <= high:
            tested = f"the tested range {amount(low)} to {amount(high)}"
            found.append(f"Extrapolated: {name} = {amount(value)} lies outside {tested}.")
    return tuple(found)


def _cautions(sweep: Sweep, levels: tuple[Level, ...], answer: Level | None) -> list[str]:
    said = [] if sweep.complete else ["The sweep was interrupted: the answer may change."]
    assumed = [item.name for item in sweep.assumptions if item.provenance is Provenance.ASSUMED]
    if assumed:
        said.append(f"Assumed, neither measured nor published: {', '.join(assumed)}.")
    if not sweep.assumptions:
        said.append("The sweep names none of its assumptions.")
    if not sweep.envelope.calibrated_on:
        said.append("The model was not calibrated on any run.")
    rest = levels[levels.index(answer) + 1 :] if answer else levels[1:]
    if any(level.verdict is Verdict.PASS for level in rest):
        said.append("Less capacity seems to hold where more does not: the answer is not monotone in the decision.")
    return said


# --- output -----------------------------------------------------------------------------------------------------------


def write_capacity(sweep_dir: Path, out: Path) -> CapacityReport:
    """Answer a sweep and write ``capacity.json``, ``capacity.md`` and ``capacity.html`` to ``out``.

    Raises :class:`~resilience.errors.HarnessError`, in one line, when ``out`` cannot be written.
    """
    result = load_sweep(sweep_dir)
    report = capacity_report(result)
    page = render_page(
        "capacity.html.j2",
        report=report,
        sweep=report.sweep,
        charts=capacity_charts(report),
        symbol=_symbol,
        amount=amount,
        seconds=seconds,
    )
    json, markdown = to_json(report), to_markdown(report)
    write_formats(out / "capacity", "the capacity report", json=json, markdown=markdown, page=page)
    return report


def to_markdown(report: CapacityReport) -> str:
    """The answer, its cautions and levels, and of times to return, loads and settings what the sweep has."""
    sweep, metric = report.sweep, report.sweep.target.metric
    rows = [
        [
            f"{amount(level.at)}",
            formatting.metric_value(metric, level.value),
            formatting.interval(metric, level.low, level.high),
            str(level.replications),
            f"{formatting.SYMBOLS[level.verdict]} {level.verdict.value}",
        ]
        for level in report.levels
    ]
    head = [sweep.decision.unit, f"`{metric}`", "interval", "replications", "verdict"]
    cautions = "\n".join(f"- {caution}" for caution in report.cautions)
    parts = [f"## {report.headline}", f"**{report.question}** {report.sentence}", cautions, table(head, rows)]
    parts += [_recoveries(sweep), _bands(sweep), _recommendations(sweep)]
    return "\n\n".join(part for part in parts if part) + "\n"


def seconds(value: float | None) -> str:
    """A time of return: ``12.3 s``, or that not all returned."""
    return "not all" if value is None else f"{value:.1f} s"


def _recoveries(sweep: Sweep) -> str:
    if not sweep.recoveries:
        return ""
    head = [sweep.decision.unit, "50 % back", "95 %", "99 %", "100 %"]
    rows = [
        [amount(each.at), *map(seconds, (each.half, each.most, each.nearly_all, each.everyone))]
        for each in sweep.recoveries
    ]
    return f"Seconds from the end of the trigger:\n\n{table(head, rows)}"


def _bands(sweep: Sweep) -> str:
    if not sweep.bands:
        return ""
    head = [
        sweep.load.unit if sweep.load else "load",
        "band",
        "back at all",
        "requests for a return",
        "last back after",
    ]
    rows = [
        [
            amount(each.load),
            each.band.value,
            formatting.percent(each.back),
            formatting.DASH if each.work is None else f"{each.work:.2f}",
            seconds(each.last_back_s),
        ]
        for each in sweep.bands
    ]
    return table(head, rows)


def _recommendations(sweep: Sweep) -> str:
    if not sweep.recommendations:
        return ""
    rows = [
        [
            f"`{each.setting}`",
            formatting.DASH if each.value is None else f"{amount(each.value)} {each.unit}",
            each.reason,
        ]
        for each in sweep.recommendations
    ]
    return table(["setting", "value", "why"], rows)
