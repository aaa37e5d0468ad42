"""The summary in words: headlines, numbers with units and denominators. All outputs use it, so all say the same."""

from __future__ import annotations

from resilience.eventlog.vocabulary import Lane, Verdict

from .summary import ExpectationResult, LatencySummary, QuantileBounds, SuccessRate, Summary

DASH = "–"  # noqa: RUF001 - stands where there is no number
VERDICTS = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.INCONCLUSIVE: "INCONCLUSIVE",
    Verdict.NOT_APPLICABLE: "NOT APPLICABLE",
}
SYMBOLS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.NOT_APPLICABLE: DASH}
MINUS = "−"  # noqa: RUF001 - as wide as a plus

LANES = {
    Lane.REAL: "real server, real clients, real sockets through Toxiproxy",
    Lane.VIRTUAL: "real server and clients under virtual time on an in-memory network",
    Lane.MODEL: "simulated links and clients running the production policy",
    Lane.POPULATION: "a simulated population: episodes without events",
    Lane.PAIR: "the two protocol machines alone",
}
_SMALL = 0.01
"""Seconds below which milliseconds read better."""

OUTCOME_WORDS = {
    "restored": "came back with their session and the right state",
    "gave_up": "stopped trying",
    "identity_lost": "came back as a new participant",
    "corrupt": "came back with a state that is not the server's",
    "censored": "were not back when the run ended",
    "rode_through": "were hit by the fault, but noticed no loss",
    "not_exposed": "had no link or session that the fault could reach, or a connection that bypassed its proxy",
    "left": "left on purpose before they were back",
    "superseded": "were replaced by another connection of the same person",
    "harness": "fell into a fault window that no canary confirmed",
}


def number(value: float | None, digits: int = 2) -> str:
    """``1.23``, or a dash for a missing number; with commas between thousands."""
    return DASH if value is None else f"{value:,.{digits}f}"


def seconds(value: float | None) -> str:
    """A duration with a resolution that fits its size: ``4.3 ms``, ``0.231 s``, ``12.40 s``."""
    if value is None:
        return DASH
    if 0 < abs(value) < _SMALL:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3f} s" if abs(value) < 1 else f"{value:,.2f} s"


def percent(value: float | None) -> str:
    """``99.67 %``; a dash for a missing number. Never rounds a miss up to 100 or a hit down to 0."""
    if value is None:
        return DASH
    shown = f"{value * 100:.2f}".rstrip("0").rstrip(".")
    if (value < 1 and shown == "100") or (value > 0 and shown == "0"):
        shown = "> 99.99" if value > 0.5 else "< 0.01"  # noqa: PLR2004 - which end it is near
    return f"{shown} %"


def metric_value(metric: str, value: float | None) -> str:
    """A value in the unit of its metric."""
    name = metric.partition(".")[0]
    if name == "success_rate":
        return percent(value)
    if name.endswith("_s"):
        return seconds(value)
    return number(value, 0 if name == "grace_expirations" else 2)


def interval(metric: str, low: float | None, high: float | None) -> str:
    """``97.1 % … 99.9 %``; an open end is named."""
    if low is None and high is None:
        return DASH
    upper = "no upper bound" if high is None else metric_value(metric, high)
    return f"{metric_value(metric, low)} … {upper}"


def ratio(rate: SuccessRate) -> str:
    """``897 / 900 (99.67 %)``."""
    return f"{rate.restored} / {rate.affected} ({percent(rate.value)})"


def change(metric: str, gap: float | None) -> str:
    """A difference with its sign, in the unit of its metric; differences of rates are in percentage points."""
    if gap is None:
        return DASH
    if metric == "success_rate":
        return f"{gap * 100:+.2f} points".replace("-", MINUS)
    return ("+" if gap > 0 else MINUS if gap < 0 else "±") + metric_value(metric, abs(gap))


def span(metric: str, low: float | None, high: float | None) -> str:
    """``−0.10 s … +0.40 s``: the bounds of a difference."""
    return DASH if low is None or high is None else f"{change(metric, low)} … {change(metric, high)}"


def relative(gap: float | None) -> str:
    """``+12.3 %``."""
    return DASH if gap is None else f"{gap * 100:+.1f} %".replace("-", MINUS)


def format_quantile(value: float | None, n: int) -> str:
    """A quantile: "not reached" if fewer of the ``n`` episodes returned, a dash without episodes."""
    return "not reached" if value is None and n else seconds(value)


def bounded(value: float | None, bounds: QuantileBounds | None) -> str:
    """The interval of a quantile, seconds; a dash where it has none."""
    return DASH if value is None or bounds is None else interval("quantile_s", bounds.low, bounds.high)


def measured(item: ExpectationResult) -> str:
    """An expectation's value; an infinite one is "not reached"."""
    return "not reached" if item.value is None and item.n else metric_value(item.metric, item.value)


def target(item: ExpectationResult) -> str:
    """``≥ 95 %``."""
    symbol = {">=": "≥", "<=": "≤", ">": ">", "<": "<"}[item.op]
    return f"{symbol} {metric_value(item.metric, item.threshold)}"


def scope(item: ExpectationResult) -> str:
    """The metric with its cohort and fault: ``reconnection_s.mean [cohort alpha]``."""
    parts = [f"cohort {item.cohort}"] if item.cohort else []
    parts += [f"fault {item.fault}"] if item.fault else []
    return f"{item.metric} [{', '.join(parts)}]" if parts else item.metric


def came_back(rate: SuccessRate) -> str:
    """``897 of 900 came back by themselves (99.67 %)``."""
    if not rate.affected:
        return "No participant was affected by any fault"
    return f"{rate.restored:,} of {rate.affected:,} came back by themselves ({percent(rate.value)})"


def certainty(rate: SuccessRate) -> str:
    """What the interval says, in a sentence."""
    if rate.low is None:
        return "No confidence interval can be given."
    sure = percent(rate.confidence)
    effective, events = number(rate.effective_n, 0), pluralise(rate.events, "fault event")
    return (
        f"At least {percent(rate.low)} with {sure} confidence (at most {percent(rate.high)} with the same confidence): "
        f"{pluralise(rate.affected, 'drop')} in {events} {'is' if rate.affected == 1 else 'are'} equivalent to about "
        f"{effective} independent {'one' if effective == '1' else 'ones'} "
        f"({rate.correlation_source} within-event correlation {number(rate.correlation)})."
    )


def headline(summary: Summary) -> str:
    """The verdict in one sentence."""
    if summary.verdict is Verdict.PASS:
        asked = any(item.metric == "success_rate" for item in summary.expectations)
        unasked = "" if asked else " which no target judges;"
        return f"{came_back(summary.success_rate)},{unasked} every target was met and no invariant was broken."
    why = summary.reasons[0] if summary.reasons else "no reason recorded"
    if summary.verdict is Verdict.FAIL:
        misses = sum(item.verdict is Verdict.FAIL for item in summary.expectations)
        broken = sum(item.verdict is Verdict.FAIL for item in summary.invariants)
        said = [pluralise(misses, "target") + " missed"] if misses else []
        said += [pluralise(broken, "invariant") + " broken"] if broken else []
        return f"{came_back(summary.success_rate)}; {' and '.join(said) or why}."
    return f"{came_back(summary.success_rate)}; the run is inconclusive: {why}."


def pluralise(n: int, thing: str) -> str:
    """``1 target``, ``2 targets``."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def tested(summary: Summary) -> str:
    """What was tested, in one sentence."""
    kinds = ", ".join(sorted({window.kind for window in summary.windows})) or "no fault"
    return (
        f"{pluralise(summary.participants, 'participant')}, {pluralise(len(summary.windows), 'fault window')} "
        f"({kinds}), {summary.duration_s:g} s; lane {summary.lane.value}: {LANES[summary.lane]}; seed {summary.seed}."
    )


def format_sample(latency: LatencySummary) -> str:
    """``900 episodes``, or how many of them were not back."""
    return f"{latency.n:,}" if not latency.censored else f"{latency.n:,}, {latency.censored:,} not back"
