"""Checks of answers, verdicts and scores as clients were shown them, against the database. Computes no statistic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.drivers import FleetDriver
from resilience.lab.observation import ObservationKind
from resilience.lab.stored_run import StoredRun
from resilience.quiz.phases import Phase
from resilience.quiz.verdicts import AnswerVerdict
from resilience.units import Instant, Seconds

from ..checking import CheckResult, named_rows, records
from .client_evidence import ClientEvidence, of_clients
from .client_stream import found
from .held_back import held_back_s
from .selection import (
    MISSING,
    first_position,
    forgotten_identities,
    joint_codes,
    keys_of,
    pair_keys,
    pairs_of,
    select,
    values_at,
)

VERDICT_S: Seconds = 2.0
"""Within how many seconds a healthy server that is reachable judges an answer."""

EARLY_S: Seconds = 0.25
"""By how much one client may be shown a reveal before another."""

_NO_DATABASE = "the run kept no database"
_NO_ANSWER = "no client sent an answer"
_WELCOMES = (ObservationKind.JOINED, ObservationKind.RESTORED)


# verdicts -------------------------------------------------------------------------------------------------------------


@of_clients
def answers_judged_once(evidence: ClientEvidence) -> CheckResult:
    """No answer gets two verdicts, and no client the verdict on an answer that it did not send."""
    verdicts, sent = evidence.of(ObservationKind.VERDICT), evidence.of(ObservationKind.SENT)
    own = set(zip(sent["actor"], sent["ref"], strict=True))
    twice = verdicts[verdicts.duplicated(["actor", "ref"])]
    problems = [
        f"{row.actor} at {row.t:.3f} s: a second verdict ({row.outcome}) on {row.ref}" for row in records(twice)
    ]
    problems += [
        f"{row.actor} at {row.t:.3f} s: a verdict ({row.outcome}) on {row.ref}, which it did not send"
        for row in records(verdicts)
        if (row.actor, row.ref) not in own
    ]
    return found(len(verdicts), problems, "no client was shown a verdict")


@of_clients
def verdicts_in_time(evidence: ClientEvidence) -> CheckResult:
    """An answer that is sent over a connection without a fault gets its verdict within 2 s."""
    limit = VERDICT_S + evidence.history.lab_lag
    sent, verdicts = evidence.in_calm(evidence.of(ObservationKind.SENT), limit), evidence.of(ObservationKind.VERDICT)
    refs = joint_codes(sent["ref"], verdicts["ref"])
    wanted, known = pair_keys([evidence.connection_keys(rows) for rows in (sent, verdicts)], refs)
    judged_at = values_at(verdicts["t"].to_numpy(), first_position(wanted, known), np.inf)
    late = sent[judged_at > sent["t"].to_numpy() + limit]
    problems = [
        f"{row.actor} ({row.participant}) sent {row.ref} at {row.t:.3f} s: no verdict within {limit:.1f} s"
        for row in records(late)
    ]
    return found(len(sent), problems, _NO_ANSWER)


@of_clients
def verdicts_match_storage(evidence: ClientEvidence) -> CheckResult:
    """An accepted answer is stored under its key, a duplicate under another, a rejected one not at all."""
    if evidence.stored is None:
        return CheckResult(0, inapplicable=_NO_DATABASE)
    keys = {(row.participant, row.question): row.key for row in evidence.stored.answers}
    verdicts = evidence.of(ObservationKind.VERDICT)

    def wrong(participant: str, ref: str, verdict: str) -> str | None:
        question, _, key = ref.partition("/")
        stored = keys.get((participant, question))
        has_own = stored == key
        agrees = {AnswerVerdict.ACCEPTED: has_own, AnswerVerdict.DUPLICATE: stored is not None and not has_own}
        return None if agrees.get(AnswerVerdict(verdict), not has_own) else f"the database has {stored or 'no answer'}"

    judged = ((row, wrong(row.participant, str(row.ref), str(row.outcome))) for row in records(verdicts))
    problems = [
        f"{row.actor} ({row.participant}) at {row.t:.3f} s: {row.ref} was {row.outcome}, {why}"
        for row, why in judged
        if why
    ]
    return found(len(verdicts), problems, "no client was shown a verdict")


@of_clients
def stored_answers_sent(evidence: ClientEvidence) -> CheckResult:
    """Every answer stored before the run's end was sent, with that choice, by the client that is its participant."""
    if evidence.stored is None:
        return CheckResult(0, inapplicable=_NO_DATABASE)
    sent = evidence.of(ObservationKind.SENT)
    own = set(zip(sent["participant"], sent["ref"], sent["answer"].astype(str), strict=True)) | _logged_as_sent(
        evidence
    )
    stored = [row for row in evidence.stored.answers if row.received_at <= evidence.history.end]
    problems = [
        f"{row.participant}: the database has choice {row.choice} for {row.question} under {row.key}, "
        "which its client did not send"
        for row in stored
        if (row.participant, row.ref, str(row.choice)) not in own
    ]
    return found(len(stored), problems, "the database has no answer")


def _logged_as_sent(evidence: ClientEvidence) -> set[tuple[str, str, str]]:
    """The answers that clients of another program logged, of whom no observation is kept."""
    history = evidence.history
    drivers = history.experiment.drivers_by_cohort
    unobserved = [name for name, driver in drivers.items() if not isinstance(driver, FleetDriver)]
    columns = ("actor", "cohort", "session_id", "ref", "detail")
    rows = select(history, LogEventKind.ANSWER_SUBMITTED, role=Role.CLIENT, columns=columns)
    rows = rows[rows["cohort"].isin(unobserved) & ~rows["actor"].isin(evidence.rows["actor"].unique())]
    return {(str(row.session_id), str(row.ref), str(row.detail)) for row in named_rows(rows)}


@of_clients
def late_answers_refused(evidence: ClientEvidence) -> CheckResult:
    """An answer that is sent first after its question was revealed to any client is not accepted."""
    reveals = _first_times(evidence.of(ObservationKind.REVEAL))
    slack = evidence.history.experiment.server.late_window + EARLY_S + evidence.history.lab_lag
    sent, verdicts = evidence.of(ObservationKind.SENT), evidence.of(ObservationKind.VERDICT)
    own, told = keys_of((sent, verdicts), "actor", "ref")
    late = sent["t"].to_numpy() > _moments(sent["question"], reveals) + slack
    late &= ~pd.Series(own).duplicated().to_numpy()
    at = first_position(own[late], told)
    outcomes = values_at(verdicts["outcome"].to_numpy(dtype=object), at, None)
    judged, outcomes = sent[late][at != MISSING], outcomes[at != MISSING]
    problems = [
        f"{row.actor} sent {row.ref} at {row.t:.3f} s, after the reveal: it was accepted"
        for row in records(judged[outcomes == AnswerVerdict.ACCEPTED])
    ]
    return found(len(judged), problems, "no answer was sent first after its question was revealed")


# secrets --------------------------------------------------------------------------------------------------------------


@of_clients
def no_answer_before_reveal(evidence: ClientEvidence) -> CheckResult:
    """No client is shown the right answer of an open question, or before its reveal was sent to any client."""
    reveals = _first_sent(evidence.of(ObservationKind.REVEAL), evidence)
    told = evidence.rows[evidence.rows["correct"].notna()]
    due = _moments(told["question"], reveals) - EARLY_S - evidence.history.lab_lag
    early = told[(told["phase"] == Phase.QUESTION).to_numpy(dtype=bool) | (told["t"].to_numpy() < due)]
    problems = [
        f"{row.actor} at {row.t:.3f} s: was shown what is right in {row.question} before its reveal"
        for row in records(early)
    ]
    return found(len(told), problems, "no client was shown a right answer")


# scores ---------------------------------------------------------------------------------------------------------------


class _Won(NamedTuple):
    """One stored answer: position of its question, points, and when its client knew that it was accepted."""

    position: int
    points: int
    known_at: Instant


@dataclass(frozen=True)
class _Scores:
    """Scores recomputed from the stored answers."""

    evidence: ClientEvidence
    stored: StoredRun

    @cached_property
    def positions(self) -> dict[str, int]:
        return {question.id: i for i, question in enumerate(self.stored.plan.questions)}

    @cached_property
    def won(self) -> dict[str, list[_Won]]:
        verdicts = self.evidence.of(ObservationKind.VERDICT)
        accepted = verdicts[verdicts["outcome"] == AnswerVerdict.ACCEPTED]
        known: dict[tuple[str, str], Instant] = {}
        for row in records(accepted[["participant", "ref", "t"]]):
            known[row.participant, row.ref] = min(row.t, known.get((row.participant, row.ref), np.inf))
        made: dict[str, list[_Won]] = defaultdict(list)
        for answer in self.stored.answers:
            known_at = known.get((answer.participant, answer.ref), np.inf)
            made[answer.participant].append(_Won(self.positions[answer.question], answer.points, known_at))
        return made

    def bounds(self, participant: str, last: int, t: Instant) -> tuple[int, int]:
        """The least and the largest score over questions up to position ``last`` that may be shown at ``t``.

        An answer of which no client knew by then that it was accepted may be missing: its commit may be under way.
        """
        mine = [won for won in self.won.get(participant, ()) if won.position <= last]
        return sum(won.points for won in mine if won.known_at < t), sum(won.points for won in mine)

    def last_counted(self, phase: str | None, question: str | None) -> int:
        """The position of the last question whose points are in a score that is shown in this phase."""
        if question is None:
            return len(self.positions) if phase == Phase.FINISHED else -1
        return self.positions[question] - (phase == Phase.QUESTION)


def _with_scores(check: Callable[[ClientEvidence, _Scores], CheckResult]) -> Callable[[ClientEvidence], CheckResult]:
    def judged(evidence: ClientEvidence) -> CheckResult:
        if evidence.stored is None:
            return CheckResult(0, inapplicable=_NO_DATABASE)
        return check(evidence, _Scores(evidence, evidence.stored))

    judged.__doc__ = check.__doc__
    return judged


@of_clients
@_with_scores
def live_scores_true(evidence: ClientEvidence, scores: _Scores) -> CheckResult:
    """Every score that a client is shown of itself equals the sum of its stored answers, and so do the points."""
    shown = evidence.rows[evidence.rows["score"].notna()]
    points = {(row.participant, row.question): row.points for row in scores.stored.answers}
    problems = []
    for row in records(shown):
        where = f"{row.actor} ({row.participant}) at {row.t:.3f} s, {row.phase} {row.question or ''}".rstrip()
        low, high = scores.bounds(row.participant, scores.last_counted(row.phase, row.question), row.t)
        if not low <= row.score <= high:
            problems.append(f"{where}: was shown {row.score}, its stored answers add up to {high}")
        due = points.get((row.participant, row.question))
        if row.kind == ObservationKind.SCORE and row.points != due:
            problems.append(f"{where}: was shown {row.points} points, the database has {due}")
    return found(len(shown), problems, "no client was shown its score")


@of_clients
def scores_shown_at_reveal(evidence: ClientEvidence) -> CheckResult:
    """A client whose answer was accepted is shown its score when the question is revealed to it."""
    reveals = evidence.in_calm(evidence.of(ObservationKind.REVEAL), evidence.settle)
    verdicts = evidence.of(ObservationKind.VERDICT)
    accepted = verdicts[(verdicts["outcome"] == AnswerVerdict.ACCEPTED).to_numpy(dtype=bool)]
    case, verdict = pairs_of(*keys_of((reveals, accepted), "actor", "question"))
    case = case[accepted["t"].to_numpy()[verdict] < reveals["t"].to_numpy()[case]]
    due = reveals.take(case)
    shown = evidence.of(ObservationKind.SCORE)
    own = set(zip(shown["actor"], shown["connection"], shown["question"], strict=True))
    problems = [
        f"{row.actor} ({row.participant}): {row.question} was revealed at {row.t:.3f} s, its score was not shown"
        for row in records(due)
        if (row.actor, row.connection, row.question) not in own
    ]
    return found(len(due), problems, "no client was connected at the reveal of a question that it had answered")


@of_clients
@_with_scores
def leaderboards_true(evidence: ClientEvidence, scores: _Scores) -> CheckResult:
    """A leaderboard lists the best participants of this event with their scores, best first."""
    boards = evidence.of(ObservationKind.LEADERBOARD, ObservationKind.FINISHED).sort_values("t")
    boards = boards.drop_duplicates(["epoch", "seq", "content"])
    shown = evidence.rows[evidence.rows["question"].notna()]
    is_open = shown["phase"] == Phase.QUESTION
    closed_at = _first_times(shown[~is_open & shown["phase"].notna()])
    opened_at = _first_times(shown[is_open])
    size = evidence.history.experiment.server.leaderboard_size
    problems, known = [], frozenset(scores.stored.scores) | forgotten_identities(evidence.history)
    for row in records(boards):
        # the phases in which no client was connected are not known: the last question that counts lies between
        least = max((scores.positions[name] for name, at in closed_at.items() if at <= row.t), default=-1)
        most = min(
            (scores.positions[name] for name, at in opened_at.items() if at > row.t), default=len(scores.positions)
        )
        board = _Board(scores, row.t, least, max(most - 1, least), known)
        why = board.error_in(str(row.content or ""), size)
        if why:
            problems.append(f"{row.actor} at {row.t:.3f} s, {row.kind}: {why}")
    return found(len(boards), problems, "no client was shown a leaderboard")


def _first_times(rows: pd.DataFrame) -> dict[str, Instant]:
    """When each question was first shown in these rows."""
    found: dict[str, Instant] = {}
    for name, t in zip(rows["question"].tolist(), rows["t"].tolist(), strict=True):
        if name is not None:
            found[name] = min(t, found.get(name, np.inf))
    return found


def _first_sent(messages: pd.DataFrame, evidence: ClientEvidence) -> dict[str, Instant]:
    """When the first of these messages about each question was sent, at the earliest.

    A message was sent before any client was shown it, and not before a fault held it back on its way to one of them.
    """
    held = held_back_s(evidence.history, messages["actor"], messages["t"].to_numpy())
    sent = messages.assign(sent=messages["t"] - held)
    each = sent.groupby(["question", "epoch", "seq"], as_index=False).agg(shown=("t", "min"), sent=("sent", "max"))
    return _first_times(each.assign(t=each[["shown", "sent"]].min(axis=1)))


def _moments(names: pd.Series, times: dict[str, Instant]) -> NDArray[np.float64]:
    """The time of each name; NaN where there is none."""
    return np.array([times.get(name, np.nan) for name in names.tolist()], dtype=np.float64)


class _Board(NamedTuple):
    """A leaderboard at ``t`` that counts the questions up to a position from ``least`` to ``most``.

    ``known`` are the participants that it may list.
    """

    scores: _Scores
    t: Instant
    least: int
    most: int
    known: frozenset[str]

    def error_in(self, content: str, size: int) -> str | None:
        """What is wrong with the lines shown, of which there are at most ``size``."""
        lines = [(who, int(score)) for who, _, score in (line.rpartition(":") for line in content.split())]
        listed = [score for _, score in lines]
        for who, score in lines:
            if who not in self.known:
                return f"it lists {who}, no participant of this event"
            low, high = self._bounds(who)
            if not low <= score <= high:
                return f"it lists {who} with {score}, its stored answers add up to {high}"
        if listed != sorted(listed, reverse=True):
            return "it is not in the order of the scores"
        names, last = {who for who, _ in lines}, listed[-1] if listed and len(listed) >= size else 0
        missing = (who for who in self.scores.won if who not in names and self._bounds(who)[0] > last)
        return next((f"it does not list {who}, which has more than its last" for who in missing), None)

    def _bounds(self, who: str) -> tuple[int, int]:
        return self.scores.bounds(who, self.least, self.t)[0], self.scores.bounds(who, self.most, self.t)[1]


@of_clients
def previous_answers_true(evidence: ClientEvidence) -> CheckResult:
    """The own answer in a snapshot is the one that was accepted, and none where the client sent none."""
    snapshots = evidence.of(*_WELCOMES).dropna(subset="question")
    sent = evidence.of(ObservationKind.SENT)
    choices = {(row.participant, row.ref): row.answer for row in records(sent)}
    first_sent: dict[tuple[str, str], Instant] = {}
    for row in records(sent[["participant", "question", "t"]]):
        first_sent[row.participant, row.question] = min(row.t, first_sent.get((row.participant, row.question), np.inf))
    verdicts = evidence.of(ObservationKind.VERDICT)
    accepted = {
        (row.participant, row.question): (row.t, choices.get((row.participant, row.ref)))
        for row in records(verdicts[verdicts["outcome"] == AnswerVerdict.ACCEPTED])
    }
    problems = []
    for row in records(snapshots):
        key = row.participant, row.question
        known_at, choice = accepted.get(key, (np.inf, None))
        shown = None if pd.isna(row.answer) else row.answer
        where = f"{row.actor} ({row.participant}) at {row.t:.3f} s: its snapshot"
        if known_at < row.t and shown != choice:
            problems.append(f"{where} has answer {shown} to {row.question}, {choice} was accepted")
        elif shown is not None and first_sent.get(key, np.inf) > row.t:
            problems.append(f"{where} has answer {shown} to {row.question}, which it had not answered")
    return found(len(snapshots), problems, "no client was shown a snapshot with a question")
