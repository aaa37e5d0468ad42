"""What an engineer must know first: what failed, of whom, where, why, and how sure that is. Sentences from the summary.

All outputs that show findings take them from here. Computes no number that the summary does not hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Outcome, Verdict
from resilience.lab.run_directory import RunStatus

from . import formatting
from .formatting import (
    DASH,
    VERDICTS,
    headline,
    number,
    percent,
    pluralise,
    scope,
    seconds,
)
from .page_summary import PageResults, ShownDelay
from .summary import NOT_JUDGED, FailureGroup, Invariant, Summary, WindowResult

FIRST_GROUPS = 5
"""How many groups of failed episodes are listed before the tables."""

ENDINGS: dict[str, str] = {
    Outcome.GAVE_UP.value: "gave up",
    Outcome.IDENTITY_LOST.value: "came back as a new participant",
    Outcome.CORRUPT.value: "came back with a wrong state",
    Outcome.CENSORED.value: "not back when the run ended",
}


@dataclass(frozen=True)
class Banner:
    """The verdict in large letters: ``word``, its ``symbol``, the class of its colour and the sentence below."""

    word: str
    symbol: str
    tone: str
    said: str


def banner(summary: Summary) -> Banner:
    """The verdict, or that the laboratory failed and there is none."""
    failures = summary.laboratory.failures
    if summary.exit_code is ExitCode.HARNESS or failures or summary.status == RunStatus.INTERRUPTED:
        words = {RunStatus.NOT_STARTED: "NOT STARTED", RunStatus.INTERRUPTED: "INTERRUPTED"}
        word = words.get(RunStatus(summary.status), "HARNESS FAILED")
        cause = summary.cause or (failures[0] if failures else "no cause given")
        return Banner(word, "!", "harness", f"This run says nothing about the system: {cause}.")
    symbol = {Verdict.PASS: "✓", Verdict.FAIL: "✗"}.get(summary.verdict, "?")
    return Banner(VERDICTS[summary.verdict], symbol, summary.verdict.value, headline(summary))


def certainty(summary: Summary) -> str:
    """How sure the share of those that came back is, in a sentence; empty where a run decides nothing."""
    rate = summary.success_rate
    return formatting.certainty(rate) if rate.affected and summary.exit_code is not ExitCode.HARNESS else ""


# --- what failed ------------------------------------------------------------------------------------------------------


def why(summary: Summary) -> list[str]:
    """Every reason that the sentence of the verdict does not give: missed targets with their numbers, broken rules."""
    said = banner(summary).said
    if summary.exit_code is ExitCode.HARNESS:
        return [text for text in summary.laboratory.failures if text not in said]
    rules = {item.name: item.rule for item in summary.invariants}
    found = []
    for reason in summary.reasons:
        name, colon, detail = reason.partition(": ")
        if reason not in said:
            found.append(f"{rules[name]}: {detail}" if colon and name in rules else reason)
    return found


def other_reasons(summary: Summary) -> list[str]:
    """Reasons that are no target, no invariant and no objection of the laboratory, as when the system ended."""
    lab = summary.laboratory
    shown = (*(f"{item.rule}: " for item in summary.invariants), *map(scope, summary.expectations))
    return [
        reason for reason in why(summary) if reason not in (*lab.failures, *lab.doubts) and not reason.startswith(shown)
    ]


def losses(summary: Summary) -> str:
    """How many did not come back, in a sentence; empty if all did."""
    rate = summary.success_rate
    lost = rate.affected - rate.restored
    if not lost:
        return ""
    windows = {group.fault_id for group in summary.failures}
    cohorts = sorted({group.cohort for group in summary.failures})
    where = f"in {pluralise(len(windows), 'window')} of {some(cohorts, 4)}" if windows else "in windows not known"
    return f"{lost:,} of {rate.affected:,} affected episodes failed, {where}:"


def loss_line(group: FailureGroup) -> str:
    """``gave up after 8 to 12 dials; the last dial failed: refused``."""
    dials = (
        f"{group.least_dials}"
        if group.least_dials == group.most_dials
        else (f"{group.least_dials} to {group.most_dials}")
    )
    plural = "dial" if dials == "1" else "dials"
    return f"{ENDINGS.get(group.outcome, group.outcome)} after {dials} {plural}; {group.cause}"


def participants(group: FailureGroup) -> str:
    """``alpha-0001, alpha-0002 and 98 more``."""
    rest = group.episodes - len(group.participants)
    return ", ".join(group.participants) + (f" and {rest:,} more" if rest > 0 else "")


def replay_command(groups: Sequence[FailureGroup]) -> str:
    """The command that tells the story of the first participant that is named, from the run's own directory."""
    named = [name for group in groups for name in group.participants]
    return f"resilience sim replay . {named[0]}" if named else ""


def some(names: Sequence[str], most: int) -> str:
    """The first ``most`` names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True)
class CauseRow:
    """Failed episodes of all windows with one outcome and cause."""

    outcome: str
    cause: str
    episodes: int
    windows: tuple[str, ...]
    participants: tuple[str, ...]


def by_cause(groups: Sequence[FailureGroup]) -> list[CauseRow]:
    """The failed episodes by outcome and cause, the most frequent first; the first ten participants of each."""
    keys = list(dict.fromkeys((group.outcome, group.cause) for group in groups))
    rows = []
    for outcome, cause in keys:
        here = [group for group in groups if (group.outcome, group.cause) == (outcome, cause)]
        names = list(dict.fromkeys(name for group in here for name in group.participants))[:10]
        windows = tuple(group.fault_id for group in here)
        rows.append(CauseRow(outcome, cause, sum(group.episodes for group in here), windows, tuple(names)))
    return sorted(rows, key=lambda row: -row.episodes)


# --- how sure, of how many --------------------------------------------------------------------------------------------


def proof(summary: Summary) -> str:
    """Up to which correlation the success rate's target is proven, and how many events would prove it; or nothing."""
    rate = summary.success_rate
    goal = next((item.threshold for item in summary.expectations if item.metric == "success_rate"), None)
    if goal is None or not rate.affected:
        return ""
    have = f"{rate.restored:,} of {rate.affected:,} in {pluralise(rate.events, 'event')}"
    parts = []
    if rate.correlation_limit is not None:
        limit = f"{math.floor(rate.correlation_limit * 1000 + 1e-9) / 1000:g}"  # rounded up it would claim too much
        parts.append(f"{have} prove {percent(goal)} while the within-event correlation is at most {limit}.")
    if rate.events_needed is not None and rate.events_needed > rate.events:
        more = pluralise(rate.events_needed - rate.events, "more event")
        parts.append(
            f"{more} like these, restored as now, would prove it at the correlation in use, {number(rate.correlation)}."
            if rate.correlation_limit is not None
            else f"{have} do not prove {percent(goal)}; {more} like these, restored as now, would."
        )
    return " ".join(parts)


def exposure(summary: Summary) -> str:
    """Of all participants in windows: how many were affected, and what the others did."""
    outcomes = summary.success_rate.outcomes
    words = {
        "rode_through": "rode through",
        "not_exposed": "not exposed",
        "left": "left on purpose",
        "superseded": "superseded by another connection",
        "harness": "in windows without proof",
    }
    counts = {label: int(getattr(outcomes, name)) for name, label in words.items()}
    total = summary.success_rate.affected + sum(counts.values())
    if not total:
        return "No participant was in a fault window."
    shown = [f"{summary.success_rate.affected:,} affected"]
    shown += [f"{count:,} {label}" for label, count in counts.items() if count]
    return f"Exposure: of {pluralise(total, 'pair')} of participant and outage, {', '.join(shown)}."


# --- the laboratory ---------------------------------------------------------------------------------------------------


def laboratory(summary: Summary) -> str:
    """The laboratory's health in a sentence."""
    lab = summary.laboratory
    found = [(len(lab.failures), "failure"), (len(lab.doubts), "doubt"), (len(lab.warnings), "warning")]
    said = [pluralise(count, word) for count, word in found if count]
    if not said and summary.exit_code is ExitCode.HARNESS:
        said = ["it failed"]
    lags = [process.lag_p99 for process in lab.processes if process.lag_p99 is not None]
    lag = f"worst p99 loop lag {seconds(max(lags))}" if lags else "loop lag not measured"
    return f"Laboratory: {', '.join(said) or 'nothing to object'}; {lag}; {injection(summary.windows)}."


def reference(summary: Summary) -> str:
    """What bare clients took to return through the same proxies; empty where that was not measured."""
    found = summary.laboratory.reference
    if found is None:
        return ""
    asked = found.clients * found.storms
    said = f"Reference: before the run, {found.returned:,} of {asked:,} bare clients returned through the same proxies"
    if found.excess_mean is None:
        return f"{said}."
    took = f"on average {seconds(found.excess_mean)} after the cut, 95 % within {seconds(found.excess_p95)}"
    cpu = f"with {seconds(sum(found.cpu_s.values()))} of processor time each"
    said = f"{said}, {took}, the last after {seconds(found.excess_last)}, {cpu}"
    if found.share is None:
        return f"{said}."
    mean = found.excess_mean / found.share
    return f"{said}: {percent(found.share)} of the {seconds(mean)} that the run's own clients took on average."


def injection(windows: Sequence[WindowResult]) -> str:
    """The worst difference between planned and actual injection, in words."""
    begun = [abs(late) for window in windows if (late := lateness(window.planned_start, window.started_at)) is not None]
    ended = [abs(late) for window in windows if (late := lateness(window.planned_end, window.ended_at)) is not None]
    missing = sum(window.started_at is None for window in windows)
    if not windows:
        return "no fault planned"
    said = [f"{missing} of {pluralise(len(windows), 'window')} not injected"] if missing else []
    if begun:
        said.append(f"injections at most {seconds(max(begun))} off plan")
    if ended:
        said.append(f"ends at most {seconds(max(ended))}")
    return ", ".join(said)


def lateness(planned: float | None, actual: float | None) -> float | None:
    """How much later than planned, seconds; None where one is unknown."""
    return None if planned is None or actual is None else actual - planned


def late(planned: float | None, actual: float | None) -> str:
    """``+0.012 s``, or a dash."""
    value = lateness(planned, actual)
    return DASH if value is None else f"{value:+.3f} s"


def windows_first(windows: Sequence[WindowResult], most: int) -> list[WindowResult]:
    """At most ``most`` windows: invalid ones and those with failures before the others; in their own order."""

    def is_fine(window: WindowResult) -> bool:
        o = window.outcomes
        return window.valid and not (o.gave_up or o.identity_lost or o.corrupt or o.censored)

    chosen = sorted(range(len(windows)), key=lambda i: (is_fine(windows[i]), i))[:most]
    return [windows[i] for i in sorted(chosen)]


def run_facts(summary: Summary) -> list[tuple[str, str]]:
    """What was run, when, for how long, and every version and fact of the machine that the run recorded."""
    facts = [
        ("experiment", summary.experiment),
        ("digest", summary.experiment_digest),
        ("lane", summary.lane.value),
        ("seed", str(summary.seed)),
        ("started", summary.started_at),
        ("status", summary.status),
        ("planned length", seconds(summary.duration_s)),
        ("took", seconds(summary.wall_s)),
        ("peak memory", DASH if summary.peak_rss_mb is None else f"{number(summary.peak_rss_mb, 0)} MB"),
    ]
    facts += list(summary.versions.items())
    return facts if "commit" in summary.versions else [*facts, ("commit", "not recorded")]


def objections(summary: Summary) -> list[tuple[str, str]]:
    """What the laboratory says against itself and the sentence of the verdict does not give: what it is, and why."""
    lab, said = summary.laboratory, banner(summary).said
    kinds = (("failure", lab.failures), ("doubt", lab.doubts), ("warning", lab.warnings))
    return [(f"laboratory {kind}", text) for kind, texts in kinds for text in texts if text not in said]


# --- pages ------------------------------------------------------------------------------------------------------------

SHOWN_HEAD = ("fault", "episodes", "with a banner", "fault to amber", "fault to red", "reachable to live")


def shown_rows(pages: PageResults) -> list[tuple[str, ...]]:
    """A row for each kind of fault under :data:`SHOWN_HEAD`: medians, and the largest in brackets."""
    return [
        (
            row.fault,
            f"{row.episodes:,}",
            f"{row.to_amber_s.n:,}",
            *(_delay(each) for each in (row.to_amber_s, row.to_red_s, row.to_live_s)),
        )
        for row in pages.by_fault
    ]


def _delay(found: ShownDelay) -> str:
    return "none" if not found.n else f"{seconds(found.median)} (at most {seconds(found.most)}, n = {found.n:,})"


def kept_promises(pages: PageResults) -> str:
    """The outcome of the answers of the pages, and of what they called saved."""
    lost = "no database was kept" if pages.lost is None else f"{pages.lost:,} of them lost"
    saved = f"of {pages.said_saved:,} answers and places that a page called saved, {pages.falsely_saved:,} were gone"
    return f"{pluralise(pages.answers, 'answer')} accepted, {pages.counted_twice:,} counted twice, {lost}; {saved}"


# --- the invariants ---------------------------------------------------------------------------------------------------


def not_holding(invariants: Sequence[Invariant]) -> list[Invariant]:
    """The broken ones, then the undecided; what was not judged only if it has a counterexample."""
    undecided = (Verdict.FAIL, Verdict.INCONCLUSIVE)
    return [item for item in invariants_first(invariants) if item.verdict in undecided and item.detail != NOT_JUDGED]


def holding(invariants: Sequence[Invariant]) -> str:
    """``52 checks hold, 9 do not apply``, and how many were not judged."""
    counts = Counter(item.verdict for item in invariants)
    hold, idle = counts[Verdict.PASS], counts[Verdict.NOT_APPLICABLE]
    unjudged = sum(item.detail.startswith(NOT_JUDGED) for item in invariants)
    said = f"{pluralise(hold, 'check')} {'holds' if hold == 1 else 'hold'}"
    said = f"{pluralise(unjudged, 'check')} not judged" if unjudged else said
    return f"{said}, {idle:,} {'does' if idle == 1 else 'do'} not apply"


def invariants_first(invariants: Sequence[Invariant]) -> list[Invariant]:
    """The broken ones first, then the undecided, those that hold, and those that do not apply."""
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.NOT_APPLICABLE)
    return sorted(invariants, key=lambda item: order.index(item.verdict))
