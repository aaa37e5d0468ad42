"""Compares three sources: the database, the server's log, and what the clients received and were shown.

The log alone proves little: a server that dies, or lies, spoils its own log. Each check looks for one counterexample,
as those in ``invariants``; the laboratory reads the database (``resilience.lab.stored_run``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.observer import Observation
from resilience.lab.stored_run import StoredRun
from resilience.quiz.game import StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.scoring import points
from resilience.units import Instant, Seconds

from .checking import CheckResult, check_one
from .frames import RunHistory
from .summary import Invariant

LATE_S: Seconds = 0.75
"""A server that has just started under a crowd may be so late."""

CLOCK_TOLERANCE_S: Seconds = 0.001
"""Wall time as a double, and the run clock from it."""

EARLY_S: Seconds = 0.02
"""By how much two clocks of one machine may disagree."""

_KEPT = ("accepted", "duplicate")


@dataclass(frozen=True)
class DurabilityEvidence:
    """What a run left behind: its history (log and observations) and the run as its database held it at the end."""

    history: RunHistory
    stored: StoredRun

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Position of each question, from 0."""
        return {question.id: i for i, question in enumerate(self.stored.plan.questions)}

    @cached_property
    def times(self) -> dict[str, tuple[Instant, Instant]]:
        """When each question was to open and to close: with a fixed pace one opening determines all.

        Empty where a host moved the quiz: then nothing determines the times but the server's own word.
        """
        plan, state = self.stored.plan, self.stored.state
        pauses = (plan.pace.lobby, plan.pace.reveal, plan.pace.leaderboard)
        if None in pauses or self._host_moved or state.index < 0:
            return {}
        offsets, at = [], 0.0
        for question in plan.questions:
            offsets.append(at)
            at += question.time_s + (plan.pace.reveal or 0.0) + (plan.pace.leaderboard or 0.0)
        first = state.opened_at - offsets[state.index]
        return {
            question.id: (first + offset, first + offset + question.time_s)
            for question, offset in zip(plan.questions, offsets, strict=True)
        }

    @cached_property
    def _host_moved(self) -> bool:
        commands = self.history.of(LogEventKind.HOST_ORDERED, Role.SERVER)
        return any(event.outcome == "done" and event.ref != "create" for event in commands)

    @cached_property
    def answers_of(self) -> dict[str, list[StoredAnswer]]:
        """The stored answers of each participant."""
        found: dict[str, list[StoredAnswer]] = defaultdict(list)
        for answer in self.stored.answers:
            found[answer.participant].append(answer)
        return found

    @cached_property
    def tolerance(self) -> Seconds:
        """How late a healthy server may be, plus how late the clients' own loops ran."""
        return LATE_S + self.history.lab_lag

    @cached_property
    def durable_since(self) -> dict[tuple[str | None, str], Instant]:
        """When the server first knew an answer to be durable, by participant and ref."""
        known: dict[tuple[str | None, str], Instant] = {}
        for kind in (LogEventKind.ANSWER_COMMITTED, LogEventKind.ANSWER_RECOVERED):
            for event in self.history.of(kind, Role.SERVER):
                key = event.session_id, event.ref or ""
                known[key] = min(known.get(key, event.t), event.t)
        return known

    @cached_property
    def restarts(self) -> list[Instant]:
        """When a new server took the run up."""
        return [
            event.t
            for event in self.history.of(LogEventKind.SERVER_STARTED, Role.SERVER)
            if event.outcome == "recovered"
        ]

    def is_on_time(self, t: Instant, planned: Instant) -> bool:
        """Whether ``t`` is when it was to be, or right after a server came that had not been there then."""
        slack = self.tolerance
        return abs(t - planned) <= slack or any(planned <= up + slack and 0 <= t - up <= slack for up in self.restarts)


DurabilityCheck = Callable[[DurabilityEvidence], CheckResult]

_NEEDS_TIMES = frozenset({"answers_in_time", "deadlines_hold", "nothing_told_early"})
"""Checks that do not apply to a quiz that a host moves: nothing but the server's word says when a question was open."""


def judge_durability(history: RunHistory) -> tuple[Invariant, ...]:
    """Every check that applies, in a fixed order; none when the run kept no database.

    A check that stumbles is inconclusive, as is one with nothing to check.
    """
    if history.stored is None:
        return ()
    evidence = DurabilityEvidence(history, history.stored)
    return tuple(
        check_one(name, rule, lambda _, check=check: check(evidence), history)  # type: ignore[misc]
        for name, (rule, check) in DURABILITY_CHECKS.items()
        if evidence.times or name not in _NEEDS_TIMES
    )


def _found(findings: Iterable[str | None]) -> CheckResult:
    seen = list(findings)
    return CheckResult(len(seen), next((finding for finding in seen if finding), None))


# --- answers and scores -----------------------------------------------------------------------------------------------


def acknowledged_are_stored(evidence: DurabilityEvidence) -> CheckResult:
    """Every acknowledged answer has its row; an accepted one with the key that was acknowledged."""
    rows = {(row.participant, row.question): row.key for row in evidence.stored.answers}

    def lost(who: str | None, ref: str, verdict: str | None) -> str | None:
        question, _, key = ref.partition("/")
        stored = rows.get((who or "?", question))
        if stored is None:
            return f"{who}: {ref} was acknowledged as {verdict}; the database has no answer of it to {question}"
        if verdict == "accepted" and stored != key:
            return f"{who}: {ref} was acknowledged as accepted; the database has {stored}"
        return None

    acks = [e for e in evidence.history.of(LogEventKind.ANSWER_ACKED, Role.CLIENT) if e.outcome in _KEPT]
    return _found(lost(ack.session_id, ack.ref or "", ack.outcome) for ack in acks)


def stored_once(evidence: DurabilityEvidence) -> CheckResult:
    """At most one row per participant and question, all of known participants."""
    counted = Counter((row.participant, row.question) for row in evidence.stored.answers)

    def wrong(who: str, question: str, count: int) -> str | None:
        if who not in evidence.stored.scores:
            return f"{who}: an answer to {question}, but no such participant"
        return f"{who}: {count} answers to {question}" if count > 1 else None

    return _found(wrong(who, question, count) for (who, question), count in counted.items())


def log_agrees(evidence: DurabilityEvidence) -> CheckResult:
    """What the server logged as durable is in the database, with the same key and points."""
    rows = {(row.participant, f"{row.question}/{row.key}"): float(row.points) for row in evidence.stored.answers}
    kinds = (LogEventKind.ANSWER_COMMITTED, LogEventKind.ANSWER_RECOVERED)
    logged = [event for kind in kinds for event in evidence.history.of(kind, Role.SERVER)]

    def wrong(who: str | None, ref: str | None, won: float | None) -> str | None:
        stored = rows.get((who or "?", ref or ""))
        return None if stored == won else f"{who}: {ref} was logged with {won} points; the database has {stored}"

    return _found(wrong(event.session_id, event.ref, event.value) for event in logged)


def scores_recompute(evidence: DurabilityEvidence) -> CheckResult:
    """Each score is the sum of its rows' points, and known times determine each row's points, give or take 1."""
    questions = evidence.stored.plan.questions

    def wrong_sum(who: str, score: int) -> str | None:
        summed = sum(row.points for row in evidence.answers_of.get(who, ()))
        return None if summed == score else f"{who}: total_score {score}, its answers add up to {summed}"

    def wrong_points(row: StoredAnswer) -> str | None:
        question, (opened, _) = questions[evidence.numbers[row.question]], evidence.times[row.question]
        is_right = row.choice == question.correct
        due = points(correct=is_right, taken=row.received_at - opened, allowed=question.time_s)
        if abs(due - row.points) <= is_right:
            return None
        return f"{row.participant}: {row.points} points for {row.question}, {due} are due"

    sums = [wrong_sum(who, score) for who, score in evidence.stored.scores.items()]
    timed = evidence.stored.answers if evidence.times else ()
    return _found(sums + [wrong_points(row) for row in timed])


def shown_scores_true(evidence: DurabilityEvidence) -> CheckResult:
    """Every score that a client was ever shown is the sum of its rows up to the question that it was shown for.

    An answer whose commit outlasted its question may be missing until that commit.
    """

    def wrong(observation: Observation) -> str | None:
        rows, last = evidence.answers_of.get(observation.participant, ()), up_to(observation)
        mine = [row for row in rows if evidence.numbers[row.question] <= last]
        full = sum(row.points for row in mine)
        late = sum(row.points for row in mine if is_late(row, observation))
        if observation.score is not None and full - late <= observation.score <= full:
            return None
        moment = f"{observation.t:.3f} s, {observation.phase} {observation.question or ''}"
        where = f"{observation.actor} ({observation.participant}) at {moment}"
        return f"{where}: was shown {observation.score}, its answers until then add up to {full}"

    def is_late(row: StoredAnswer, observation: Observation) -> bool:
        since = evidence.durable_since.get((row.participant, f"{row.question}/{row.key}"), float("inf"))
        return since > observation.t - evidence.tolerance

    def up_to(observation: Observation) -> int:
        if observation.question is None:
            return len(evidence.numbers) if observation.phase is Phase.FINISHED else -1
        return evidence.numbers[observation.question] - (observation.phase is Phase.QUESTION)

    return _found(wrong(shown) for shown in evidence.history.observations if shown.score is not None)


# --- time -------------------------------------------------------------------------------------------------------------


def answers_in_time(evidence: DurabilityEvidence) -> CheckResult:
    """No stored answer was received before its question opened, or once it was to close."""

    def wrong(row: StoredAnswer) -> str | None:
        opens, closes = evidence.times[row.question]
        if opens - CLOCK_TOLERANCE_S <= row.received_at < closes + CLOCK_TOLERANCE_S:
            return None
        rule = f"{row.question} was open from {opens:.3f} to {closes:.3f} s"
        return f"{row.participant}: answered {row.question} at {row.received_at:.3f} s; {rule}"

    return _found(wrong(row) for row in evidence.stored.answers)


def deadlines_hold(evidence: DurabilityEvidence) -> CheckResult:
    """Questions open and close on time, or as soon as there is a server; no client is shown another deadline."""
    times = evidence.times

    def late(kind: LogEventKind, t: Instant, question: str) -> str | None:
        planned = times[question][kind is LogEventKind.QUESTION_CLOSED]
        return None if evidence.is_on_time(t, planned) else f"{question}: {kind} at {t:.3f} s, due at {planned:.3f} s"

    def misled(shown: Observation) -> str | None:
        closes, told = times[shown.question or "?"][1], shown.t + (shown.remaining or 0.0)
        if abs(told - closes) <= evidence.tolerance or (not shown.remaining and evidence.is_on_time(shown.t, closes)):
            return None
        rule = f"{shown.question} closes at {told:.3f} s, due: {closes:.3f} s"
        return f"{shown.actor} at {shown.t:.3f} s: was shown that {rule}"

    kinds = (LogEventKind.QUESTION_OPENED, LogEventKind.QUESTION_CLOSED)
    logged = [
        late(kind, event.t, event.ref or "?") for kind in kinds for event in evidence.history.of(kind, Role.SERVER)
    ]
    told = [misled(shown) for shown in evidence.history.observations if shown.remaining is not None]
    return _found(logged + told)


def nothing_told_early(evidence: DurabilityEvidence) -> CheckResult:
    """Neither a right answer nor what an answer brought is shown before the question was to close."""

    def early(shown: Observation) -> str | None:
        tells = shown.correct is not None or (shown.score is not None and shown.phase is Phase.REVEAL)
        if not tells or shown.question is None or shown.t >= evidence.times[shown.question][1] - EARLY_S:
            return None
        return f"{shown.actor} at {shown.t:.3f} s: was shown what is right in {shown.question}, before it closed"

    return _found(early(shown) for shown in evidence.history.observations)


# --- identities and servers -------------------------------------------------------------------------------------------


def one_identity_each(evidence: DurabilityEvidence) -> CheckResult:
    """Every client joined once and stays that participant; the database holds these participants and no others."""
    history = evidence.history
    identities: dict[str, set[str]] = defaultdict(set)
    joins: Counter[str] = Counter()
    arrivals = history.of(LogEventKind.SESSION_JOINED, Role.CLIENT)
    for event in arrivals + history.of(LogEventKind.SESSION_RESTORED, Role.CLIENT):
        identities[event.actor].add(event.session_id or "?")
        joins[event.actor] += event.kind is LogEventKind.SESSION_JOINED

    def wrong(client: str) -> str | None:
        ids = sorted(identities[client])
        return None if len(ids) == joins[client] == 1 else f"{client}: joined {joins[client]} times, was {ids}"

    refused = [
        f"{event.actor} ({event.session_id}) at {event.t:.3f} s: its token was refused: {event.cause}"
        for event in history.of(LogEventKind.SESSION_REJECTED, Role.CLIENT)
    ]
    strangers = set(evidence.stored.scores) ^ {who for ids in identities.values() for who in ids}
    odd = [f"{who}: known to the database or to a client, but not to both" for who in sorted(strangers)]
    return _found([*map(wrong, identities), *refused, *odd])


def one_run(evidence: DurabilityEvidence) -> CheckResult:
    """The first server begins the run, every later one recovers it, and the database counts no fewer servers."""
    starts = [e.outcome or "?" for e in evidence.history.of(LogEventKind.SERVER_STARTED, Role.SERVER)]
    wrong = [
        f"server {number} of the run started as {outcome!r}"
        for number, outcome in enumerate(starts, 1)
        if (outcome == "fresh") is not (number == 1)
    ]
    counted = evidence.stored.incarnation
    if counted < len(starts):
        wrong.append(f"{len(starts)} servers started, the database counts {counted}")
    return CheckResult(len(starts), wrong[0] if wrong else None)


DURABILITY_CHECKS: dict[str, tuple[str, DurabilityCheck]] = {
    "acknowledged_are_stored": ("no acknowledged answer is missing in the database", acknowledged_are_stored),
    "stored_once": ("no answer is in the database twice", stored_once),
    "log_agrees": ("what was logged as durable is in the database", log_agrees),
    "scores_recompute": ("the scores equal their recomputation from the answers", scores_recompute),
    "shown_scores_true": ("no client was ever shown another score", shown_scores_true),
    "answers_in_time": ("no answer counts that came outside its question's time", answers_in_time),
    "deadlines_hold": ("questions open and close when they were to", deadlines_hold),
    "nothing_told_early": ("no right answer is shown before the reveal", nothing_told_early),
    "one_identity_each": ("every client stays the one participant it joined as", one_identity_each),
    "one_run": ("every restarted server recovers the same run", one_run),
}
"""Name -> the rule in words and the function; the order is that of every output."""
