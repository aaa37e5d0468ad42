"""Compares three sources: the database, the server's log, and what the clients received and were shown.

The log alone proves little: a server that dies, or lies, spoils its own log. The laboratory reads the database
(``resilience.lab.stored_run``). Without a database none of these checks applies.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.participants import person_of
from resilience.quiz.phases import Phase
from resilience.quiz.scoring import points
from resilience.units import Seconds

from ..checking import Check, CheckResult, named_rows, records, result_of, result_of_rows
from ..frames import RunHistory
from ..summary import Counterexample
from .answers import ACCEPTED, KEPT, verdicts
from .durability_evidence import EARLY_S, NO_QUESTION, DurabilityEvidence, evidence_of
from .held_back import held_back_s
from .other_tabs import other_tabs
from .selection import MISSING, first_position, forgotten_identities, is_kind, keys_of, questions, select, values_at
from .sessions import OPENS

CLOCK_TOLERANCE_S: Seconds = 0.001
"""Wall time as a double, and the run clock from it."""

DurabilityCheck = Callable[[DurabilityEvidence], CheckResult]

_DURABLE = (LogEventKind.ANSWER_COMMITTED, LogEventKind.ANSWER_RECOVERED)


def of_database(check: DurabilityCheck) -> Check:
    """A check of a history that applies where the run kept a database."""

    @wraps(check)
    def judged(history: RunHistory) -> CheckResult:
        evidence = evidence_of(history)
        return CheckResult(0, inapplicable="the run kept no database") if evidence is None else check(evidence)

    return judged


def of_timed_quiz(check: DurabilityCheck) -> Check:
    """The same, where more than the server's word says when a question was open."""

    def judged(evidence: DurabilityEvidence) -> CheckResult:
        return check(evidence) if evidence.times else CheckResult(0, inapplicable=evidence.why_no_times)

    return of_database(wraps(check)(judged))


def of_answers(check: DurabilityCheck) -> Check:
    """The same, where a question was opened, or there are cases although none was."""

    def judged(evidence: DurabilityEvidence) -> CheckResult:
        result = check(evidence)
        return result if result.checked or evidence.was_asked else CheckResult(0, inapplicable=NO_QUESTION)

    return of_database(wraps(check)(judged))


def _about(who: object, text: str, t: float | None = None) -> Counterexample:
    return Counterexample(actor=None if who is None else str(who), t=t, text=text)


# --- answers and scores -----------------------------------------------------------------------------------------------


@of_answers
def acknowledged_are_stored(evidence: DurabilityEvidence) -> CheckResult:
    """Every acknowledged answer has its row; an accepted one with the key that was acknowledged."""
    acks, rows = verdicts(evidence.history, *KEPT), evidence.rows
    asked = pd.DataFrame({"participant": acks["session_id"], "question": questions(acks["ref"])})
    wanted, known = keys_of((asked, rows), "participant", "question")
    at = first_position(wanted, known[::-1])
    at = np.where(at == MISSING, MISSING, len(rows) - 1 - at)
    stored = values_at(rows["key"].to_numpy(dtype=object), at, None)
    cases = acks.assign(question=asked["question"], stored=pd.Series(stored, dtype="object"))
    own_keys = [str(ref).split("/", 1)[-1] for ref in cases["ref"]]
    differs = (cases["outcome"] == ACCEPTED).to_numpy(dtype=bool) & (np.array(own_keys, dtype=object) != stored)

    def describe(ack: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        where = f"{ack.session_id}: {ack.ref} was acknowledged as {ack.outcome}"
        if ack.stored is None:
            return f"{where}; the database has no answer of it to {ack.question}"
        return f"{where}; the database has {ack.stored}"

    return result_of_rows(cases, (at == MISSING) | differs, describe)


@of_answers
def stored_once(evidence: DurabilityEvidence) -> CheckResult:
    """At most one row per participant and question, all of known participants."""
    rows = evidence.rows
    (keys,) = keys_of((rows,), "participant", "question")
    first = first_position(keys, keys)
    is_first = first == np.arange(len(rows))
    counted = rows[is_first]
    number = np.bincount(first, minlength=len(rows))[is_first]
    known = np.array([who in evidence.stored.scores for who in counted["participant"]], dtype=bool)
    cases = counted.assign(n=number, known=known, actor=counted["participant"], t=None)

    def describe(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        if not case.known:
            return f"{case.participant}: an answer to {case.question}, but no such participant"
        return f"{case.participant}: {case.n} answers to {case.question}"

    return result_of_rows(cases, ~known | (number > 1), describe)


@of_answers
def log_agrees(evidence: DurabilityEvidence) -> CheckResult:
    """What the server logged as durable is in the database, with the same key and points."""
    logged = select(evidence.history, *_DURABLE, role=Role.SERVER, columns=("kind", "session_id", "ref", "value"))
    rows = evidence.rows
    stored = pd.DataFrame({"session_id": rows["participant"], "ref": rows["question"] + "/" + rows["key"]})
    wanted, known = keys_of((logged, stored), "session_id", "ref")
    at = first_position(wanted, known)
    found = values_at(rows["points"].to_numpy(dtype=float), at, np.nan)
    cases = logged.assign(actor=logged["session_id"], stored=found)

    def describe(event: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        where = f"{event.session_id}: {event.ref} was logged with {event.value} points"
        return f"{where}; the database has {event.stored}"

    return result_of_rows(cases, (at == MISSING) | (found != logged["value"].to_numpy()), describe)


@of_database
def scores_recompute(evidence: DurabilityEvidence) -> CheckResult:
    """Each score is the sum of its rows' points, and known times determine each row's points, give or take 1."""
    plan, scores = evidence.stored.plan.questions, evidence.stored.scores
    summed = evidence.rows.groupby("participant")["points"].sum().to_dict() if len(evidence.rows) else {}
    found = [
        _about(who, f"{who}: total_score {score}, its answers add up to {summed.get(who, 0):g}")
        for who, score in scores.items()
        if summed.get(who, 0) != score
    ]
    timed = evidence.stored.answers if evidence.times else ()
    for row in timed:
        question, (opened, _) = plan[evidence.numbers[row.question]], evidence.times[row.question]
        is_right = row.choice == question.correct
        due = points(correct=is_right, taken=row.received_at - opened, allowed=question.time_s)
        if abs(due - row.points) > is_right:
            text = f"{row.participant}: {row.points} points for {row.question}, {due} are due"
            found.append(_about(row.participant, text, row.received_at))
    return result_of(len(scores) + len(timed), found)


@of_database
def shown_scores_true(evidence: DurabilityEvidence) -> CheckResult:
    """Every score that a client was ever shown is the sum of its rows up to the question that it was shown for.

    An answer whose commit outlasted its question may be missing until that commit.
    """
    shown = evidence.observed.dropna(subset=["score"]).reset_index(drop=True)
    last = _last_question(evidence, shown)
    full = evidence.points_until(shown["participant"], last)
    suspects = shown.assign(last=last, full=full)[shown["score"].to_numpy(dtype=float) != full]
    found = [_wrong_score(evidence, seen) for seen in named_rows(suspects)]
    return result_of(len(shown), [case for case in found if case is not None])


def _last_question(evidence: DurabilityEvidence, shown: pd.DataFrame) -> NDArray[np.int64]:
    """The number of the last question whose points each shown score contains; -1 for none."""
    number = shown["question"].map(evidence.numbers)
    in_question = (shown["phase"] == Phase.QUESTION.value).to_numpy(dtype=np.int64)
    without = np.where(shown["phase"] == Phase.FINISHED.value, len(evidence.numbers), -1)
    return np.where(number.isna(), without, number.fillna(0).to_numpy(dtype=np.int64) - in_question)


def _wrong_score(evidence: DurabilityEvidence, seen: Any) -> Counterexample | None:  # noqa: ANN401 - a named tuple
    rows = evidence.answers_of.get(seen.participant, ())
    mine = [row for row in rows if evidence.numbers[row.question] <= seen.last]
    full = sum(row.points for row in mine)
    late = sum(row.points for row in mine if evidence.known_since(row) > seen.t - evidence.tolerance)
    if full - late <= seen.score <= full:
        return None
    moment = f"{seen.t:.3f} s, {seen.phase} {seen.question or ''}"
    where = f"{seen.actor} ({seen.participant}) at {moment}"
    return _about(seen.actor, f"{where}: was shown {seen.score:g}, its answers until then add up to {full}", seen.t)


# --- time -------------------------------------------------------------------------------------------------------------


@of_timed_quiz
def answers_in_time(evidence: DurabilityEvidence) -> CheckResult:
    """No stored answer was received before its question opened, or once it was to close.

    One that came within the late window counts if its client returned between the close and the answer.
    """
    rows = evidence.rows
    opens, closes = (_times_of(evidence, rows["question"], end) for end in (0, 1))
    t = rows["received_at"].to_numpy()
    is_wrong = (t < opens - CLOCK_TOLERANCE_S) | (t >= closes + CLOCK_TOLERANCE_S)
    is_wrong &= ~_are_excused(evidence, rows["participant"], closes, t)
    cases = rows.assign(opens=opens, closes=closes, actor=rows["participant"], t=t)

    def describe(row: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        rule = f"{row.question} was open from {row.opens:.3f} to {row.closes:.3f} s"
        return f"{row.participant}: answered {row.question} at {row.t:.3f} s; {rule}"

    return result_of_rows(cases, is_wrong, describe)


def _are_excused(
    evidence: DurabilityEvidence, participants: pd.Series, closes: NDArray[np.float64], t: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each answer came in the late window of its question, after its client had returned from an outage."""
    is_late = (t >= closes) & (t < closes + evidence.history.experiment.server.late_window + CLOCK_TOLERANCE_S)
    returns = select(evidence.history, *OPENS, role=Role.CLIENT, columns=("session_id",))
    returned = {str(who): times.to_numpy() for who, times in returns.groupby("session_id", observed=True)["t"]}
    for i in np.flatnonzero(is_late):
        mine = returned.get(str(participants.iloc[i]), np.empty(0))
        is_late[i] = bool(((mine >= closes[i] - EARLY_S) & (mine <= t[i] + EARLY_S)).any())
    return is_late


@of_timed_quiz
def deadlines_hold(evidence: DurabilityEvidence) -> CheckResult:
    """Questions open and close on time, or as soon as there is a server; no client is shown another deadline.

    A message says how many seconds are left, so one that a fault held back shows a later deadline.
    """
    kinds = (LogEventKind.QUESTION_OPENED, LogEventKind.QUESTION_CLOSED)
    logged = select(evidence.history, *kinds, role=Role.SERVER, columns=("kind", "ref", "actor"))
    planned = np.where(
        is_kind(logged, LogEventKind.QUESTION_CLOSED),
        _times_of(evidence, logged["ref"], 1),
        _times_of(evidence, logged["ref"], 0),
    )
    late = result_of_rows(
        logged.assign(planned=planned),
        ~evidence.are_on_time(logged["t"].to_numpy(), planned),
        lambda case: f"{case.ref}: {case.kind} at {case.t:.3f} s, due at {case.planned:.3f} s",
    )
    shown = evidence.observed.dropna(subset=["remaining"])
    t, closes = shown["t"].to_numpy(), _times_of(evidence, shown["question"], 1)
    told = t + shown["remaining"].to_numpy(dtype=float)
    over = (shown["remaining"] == 0).to_numpy(dtype=bool)
    latest = closes + evidence.tolerance + held_back_s(evidence.history, shown["actor"], t)
    in_time = (told >= closes - evidence.tolerance) & (told <= latest)
    right = in_time | (over & evidence.are_on_time(t, closes))
    misled = result_of_rows(shown.assign(told=told, closes=closes), ~right, _describe_deadline)
    return CheckResult(
        late.checked + misled.checked,
        late.broken or misled.broken,
        counterexamples=late.counterexamples + misled.counterexamples,
        broken_cases=late.broken_cases + misled.broken_cases,
    )


def _times_of(evidence: DurabilityEvidence, names: pd.Series, end: int) -> NDArray[np.float64]:
    """When each named question was to open (``end`` 0) or to close (1); NaN for an unknown one."""
    known = {question: times[end] for question, times in evidence.times.items()}
    return np.asarray(names.astype(object).map(known), dtype=np.float64)


def _describe_deadline(seen: Any) -> str:  # noqa: ANN401 - a named tuple of the table
    rule = f"{seen.question} closes at {seen.told:.3f} s, due: {seen.closes:.3f} s"
    return f"{seen.actor} at {seen.t:.3f} s: was shown that {rule}"


@of_timed_quiz
def nothing_told_early(evidence: DurabilityEvidence) -> CheckResult:
    """Neither a right answer nor what an answer brought is shown before the question was to close."""
    shown = evidence.observed
    tells = shown["correct"].notna() | (shown["score"].notna() & (shown["phase"] == Phase.REVEAL.value))
    early = shown["t"].to_numpy() < _times_of(evidence, shown["question"], 1) - EARLY_S
    return result_of_rows(
        shown,
        tells.to_numpy(dtype=bool) & early,
        lambda seen: f"{seen.actor} at {seen.t:.3f} s: was shown what is right in {seen.question}, before it closed",
    )


# --- identities and servers -------------------------------------------------------------------------------------------


@of_database
def one_identity_each(evidence: DurabilityEvidence) -> CheckResult:
    """Every client joined once and stays that participant; the database holds these participants and no others.

    It need not hold those that the server forgot: they had gone without an answer. The tabs of a participant are one
    client here.
    """
    history = evidence.history
    kinds = (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)
    arrivals = select(history, *kinds, role=Role.CLIENT, columns=("kind", "actor", "session_id"))
    joins: Counter[str] = Counter()
    ids: dict[str, set[str]] = defaultdict(set)
    last: dict[str, float] = {}
    for arrival in records(arrivals):
        client = person_of(arrival.actor)
        joins[client] += arrival.kind == LogEventKind.SESSION_JOINED
        ids[client].add(arrival.session_id if isinstance(arrival.session_id, str) else "?")
        last[client] = arrival.t
    found = [
        _about(client, f"{client}: joined {joins[client]} times, was {sorted(mine)}", last[client])
        for client, mine in ids.items()
        if joins[client] != 1 or len(mine) != 1
    ]
    refusals = select(
        history, LogEventKind.SESSION_REJECTED, role=Role.CLIENT, columns=("actor", "session_id", "cause")
    )
    tabs = other_tabs(history)
    for refusal in named_rows(refusals):
        if tabs.explain(str(refusal.actor), refusal.t, refusal.cause):
            continue
        where = f"{refusal.actor} ({refusal.session_id}) at {refusal.t:.3f} s"
        found.append(_about(refusal.actor, f"{where}: its token was refused: {refusal.cause}", refusal.t))
    strangers = (set(evidence.stored.scores) ^ set().union(*ids.values())) - forgotten_identities(history)
    found += [_about(who, f"{who}: known to the database or to a client, but not to both") for who in sorted(strangers)]
    return result_of(len(ids) + len(refusals) + len(strangers), found)


@of_database
def one_run(evidence: DurabilityEvidence) -> CheckResult:
    """The first server begins the run, every later one recovers it, and the database counts no fewer servers."""
    starts = select(evidence.history, LogEventKind.SERVER_STARTED, role=Role.SERVER, columns=("outcome",))
    wrong = [
        _about("server", f"server {number} of the run started as {start.outcome or '?'!r}", start.t)
        for number, start in enumerate(named_rows(starts), 1)
        if (start.outcome == "fresh") is not (number == 1)
    ]
    counted = evidence.stored.incarnation
    if counted < len(starts):
        wrong.append(_about("server", f"{len(starts)} servers started, the database counts {counted}"))
    return result_of(len(starts), wrong)
