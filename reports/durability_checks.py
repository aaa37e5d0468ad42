"""Holds three witnesses against one another: the database, the server's log, what the clients were told and shown.

For runs in which the server was killed: there the log alone proves nothing, since the same death may have cut both.
Each check looks for one counterexample, as those in ``checks``; how the database is read is the laboratories' affair.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.observer import Observation
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.quiz.scoring import points
from resilience.units import Instant, Seconds

from .frames import RunHistory
from .invariants import CheckResult, check_one
from .summary import Invariant

CLOCK_TOLERANCE_S: Seconds = 0.001
"""Wall time as a double, and the run clock from it."""

EARLY_S: Seconds = 0.02
"""By how much two clocks of one machine may disagree."""

_KEPT = ("accepted", "duplicate")


@dataclass(frozen=True)
class StoredRun:
    """One run of an event as the database has it. Instants are seconds on the run's clock.

    ``scores`` is ``total_score`` by participant; there are as many participants as it has entries.
    """

    plan: QuizPlan
    progress: QuizState
    scores: Mapping[str, int]
    answers: Sequence[StoredAnswer]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Position of each question, from 0."""
        return {question.id: i for i, question in enumerate(self.plan.questions)}

    @cached_property
    def times(self) -> dict[str, tuple[Instant, Instant]]:
        """When each question was to open and to close: the pace is fixed, so one opening determines all."""
        pauses = (self.plan.pace.reveal or 0.0) + (self.plan.pace.leaderboard or 0.0)
        offsets, at = [], 0.0
        for question in self.plan.questions:
            offsets.append(at)
            at += question.time_s + pauses
        if self.progress.index < 0:
            return {}
        first = self.progress.opened_at - offsets[self.progress.index]
        return {
            question.id: (first + offset, first + offset + question.time_s)
            for question, offset in zip(self.plan.questions, offsets, strict=True)
        }

    @cached_property
    def of(self) -> dict[str, list[StoredAnswer]]:
        """The answers of each participant."""
        found: dict[str, list[StoredAnswer]] = defaultdict(list)
        for answer in self.answers:
            found[answer.participant].append(answer)
        return found


@dataclass(frozen=True)
class DurabilityEvidence:
    """Everything there is on one run; ``observations`` by client. ``tolerance``: how late a healthy server may be."""

    log: RunHistory
    stored: StoredRun
    observations: Mapping[str, Sequence[Observation]]
    tolerance: Seconds

    @cached_property
    def durable_since(self) -> dict[tuple[str | None, str], Instant]:
        """When the server first knew an answer to be durable, by participant and ref."""
        known: dict[tuple[str | None, str], Instant] = {}
        for kind in (LogEventKind.ANSWER_COMMITTED, LogEventKind.ANSWER_RECOVERED):
            for event in self.log.of(kind, Role.SERVER):
                key = event.session_id, event.ref or ""
                known[key] = min(known.get(key, event.t), event.t)
        return known

    @cached_property
    def restarts(self) -> list[Instant]:
        """When a new server took the run up."""
        return [
            event.t for event in self.log.of(LogEventKind.SERVER_STARTED, Role.SERVER) if event.outcome == "recovered"
        ]

    def is_on_time(self, t: Instant, planned: Instant) -> bool:
        """Whether ``t`` is when it was to be, or right after a server came that had not been there then."""
        slack = self.tolerance
        return abs(t - planned) <= slack or any(planned <= up + slack and 0 <= t - up <= slack for up in self.restarts)


DurabilityCheck = Callable[[DurabilityEvidence], CheckResult]


def judge(evidence: DurabilityEvidence) -> tuple[Invariant, ...]:
    """Every check, in a fixed order; a check that stumbles is inconclusive, as is one with nothing to look at."""
    return tuple(
        check_one(name, rule, lambda _, check=check: check(evidence), evidence.log)  # type: ignore[misc]
        for name, (rule, check) in DURABILITY_CHECKS.items()
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

    acks = [e for e in evidence.log.of(LogEventKind.ANSWER_ACKED, Role.CLIENT) if e.outcome in _KEPT]
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
    logged = [event for kind in kinds for event in evidence.log.of(kind, Role.SERVER)]

    def wrong(who: str | None, ref: str | None, won: float | None) -> str | None:
        stored = rows.get((who or "?", ref or ""))
        return None if stored == won else f"{who}: {ref} was logged with {won} points; the database has {stored}"

    return _found(wrong(event.session_id, event.ref, event.value) for event in logged)


def scores_recompute(evidence: DurabilityEvidence) -> CheckResult:
    """Each score is the sum of its rows' points, and each row's points follow from choice and time (give or take 1)."""
    stored = evidence.stored

    def wrong_sum(who: str, score: int) -> str | None:
        summed = sum(row.points for row in stored.of.get(who, ()))
        return None if summed == score else f"{who}: total_score {score}, its answers add up to {summed}"

    def wrong_points(row: StoredAnswer) -> str | None:
        question, (opened, _) = stored.plan.questions[stored.numbers[row.question]], stored.times[row.question]
        is_right = row.choice == question.correct
        due = points(correct=is_right, taken=row.received_at - opened, allowed=question.time_s)
        if abs(due - row.points) <= is_right:
            return None
        return f"{row.participant}: {row.points} points for {row.question}, {due} are due"

    sums = [wrong_sum(who, score) for who, score in stored.scores.items()]
    return _found(sums + [wrong_points(row) for row in stored.answers])


def shown_scores_true(evidence: DurabilityEvidence) -> CheckResult:
    """Every score that a client was ever shown is the sum of its rows up to the question that it was shown for.

    An answer whose commit outlasted its question may be missing until that commit.
    """
    stored = evidence.stored

    def wrong(client: str, observation: Observation) -> str | None:
        rows, last = stored.of.get(observation.participant, ()), _up_to(observation)
        mine = [row for row in rows if stored.numbers[row.question] <= last]
        full = sum(row.points for row in mine)
        late = sum(row.points for row in mine if is_late(row, observation))
        if observation.score is not None and full - late <= observation.score <= full:
            return None
        moment = f"{observation.t:.3f} s, {observation.phase} {observation.question or ''}"
        where = f"{client} ({observation.participant}) at {moment}"
        return f"{where}: was shown {observation.score}, its answers until then add up to {full}"

    def is_late(row: StoredAnswer, observation: Observation) -> bool:
        since = evidence.durable_since.get((row.participant, f"{row.question}/{row.key}"), float("inf"))
        return since > observation.t - evidence.tolerance

    def _up_to(observation: Observation) -> int:
        if observation.question is None:
            return len(stored.numbers) if observation.phase is Phase.FINISHED else -1
        return stored.numbers[observation.question] - (observation.phase is Phase.QUESTION)

    return _found(
        wrong(client, observation)
        for client, seen in evidence.observations.items()
        for observation in seen
        if observation.score is not None
    )


# --- time -------------------------------------------------------------------------------------------------------------


def answers_in_time(evidence: DurabilityEvidence) -> CheckResult:
    """No stored answer was received before its question opened, or once it was to close."""
    times = evidence.stored.times

    def wrong(row: StoredAnswer) -> str | None:
        opens, closes = times[row.question]
        if opens - CLOCK_TOLERANCE_S <= row.received_at < closes + CLOCK_TOLERANCE_S:
            return None
        rule = f"{row.question} was open from {opens:.3f} to {closes:.3f} s"
        return f"{row.participant}: answered {row.question} at {row.received_at:.3f} s; {rule}"

    return _found(wrong(row) for row in evidence.stored.answers)


def deadlines_hold(evidence: DurabilityEvidence) -> CheckResult:
    """Questions open and close when they were to, or as soon as there is a server; nobody is shown another deadline."""
    times = evidence.stored.times

    def late(kind: LogEventKind, t: Instant, question: str) -> str | None:
        planned = times[question][kind is LogEventKind.QUESTION_CLOSED]
        return None if evidence.is_on_time(t, planned) else f"{question}: {kind} at {t:.3f} s, due at {planned:.3f} s"

    def misled(client: str, observation: Observation) -> str | None:
        closes, told = times[observation.question or "?"][1], observation.t + (observation.remaining or 0.0)
        if abs(told - closes) <= evidence.tolerance or (
            not observation.remaining and evidence.is_on_time(observation.t, closes)
        ):
            return None
        where = f"{client} at {observation.t:.3f} s"
        return f"{where}: was told that {observation.question} closes at {told:.3f} s, due: {closes:.3f} s"

    kinds = (LogEventKind.QUESTION_OPENED, LogEventKind.QUESTION_CLOSED)
    logged = [late(kind, event.t, event.ref or "?") for kind in kinds for event in evidence.log.of(kind, Role.SERVER)]
    told = [
        misled(client, observation)
        for client, seen in evidence.observations.items()
        for observation in seen
        if observation.remaining is not None
    ]
    return _found(logged + told)


def nothing_told_early(evidence: DurabilityEvidence) -> CheckResult:
    """Neither a right answer nor what an answer brought is shown before the question was to close."""
    times = evidence.stored.times

    def early(client: str, observation: Observation) -> str | None:
        tells = observation.correct is not None or (observation.score is not None and observation.phase is Phase.REVEAL)
        if not tells or observation.question is None or observation.t >= times[observation.question][1] - EARLY_S:
            return None
        return f"{client} at {observation.t:.3f} s: was shown what is right in {observation.question}, before it closed"

    return _found(early(client, observation) for client, seen in evidence.observations.items() for observation in seen)


# --- who is who -------------------------------------------------------------------------------------------------------


def one_identity_each(evidence: DurabilityEvidence) -> CheckResult:
    """Every client joined once and was the same participant ever after; the database knows them and nobody else."""
    log = evidence.log
    identities: dict[str, set[str]] = defaultdict(set)
    joins: Counter[str] = Counter()
    for event in log.of(LogEventKind.SESSION_JOINED, Role.CLIENT) + log.of(LogEventKind.SESSION_RESTORED, Role.CLIENT):
        identities[event.actor].add(event.session_id or "?")
        joins[event.actor] += event.kind is LogEventKind.SESSION_JOINED

    def wrong(client: str) -> str | None:
        ids = sorted(identities[client])
        return None if len(ids) == joins[client] == 1 else f"{client}: joined {joins[client]} times, was {ids}"

    refused = [
        f"{event.actor} ({event.session_id}) at {event.t:.3f} s: its token was refused: {event.cause}"
        for event in log.of(LogEventKind.SESSION_REJECTED, Role.CLIENT)
    ]
    strangers = set(evidence.stored.scores) ^ {who for ids in identities.values() for who in ids}
    odd = [f"{who}: known to the database or to a client, but not to both" for who in sorted(strangers)]
    return _found([*map(wrong, identities), *refused, *odd])


DURABILITY_CHECKS: dict[str, tuple[str, DurabilityCheck]] = {
    "acknowledged_are_stored": ("no acknowledged answer is missing in the database", acknowledged_are_stored),
    "stored_once": ("no answer is in the database twice", stored_once),
    "log_agrees": ("what was logged as durable is in the database", log_agrees),
    "scores_recompute": ("the scores equal their recomputation from the answers", scores_recompute),
    "shown_scores_true": ("no client was ever shown another score", shown_scores_true),
    "answers_in_time": ("no answer counts that came outside its question's time", answers_in_time),
    "deadlines_hold": ("questions open and close when they were to", deadlines_hold),
    "nothing_told_early": ("nothing is told of a right answer before the reveal", nothing_told_early),
    "one_identity_each": ("every client stays the one participant it joined as", one_identity_each),
}
"""Name -> the rule in words and the function; the order is that of every output."""
