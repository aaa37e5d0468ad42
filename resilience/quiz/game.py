"""One quiz: its phase, the open question's absolute deadline, every answer, every score. Pure; time is an argument.

The first answer of a participant to a question counts, by the server's receive time. A submission with the key of a
stored answer gets that answer's verdict again; another key for an answered question is a duplicate.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

import msgspec

from resilience.errors import LocalProtocolError
from resilience.quiz.phases import NEXT, Phase
from resilience.quiz.plan import Pace
from resilience.quiz.questions import Question
from resilience.quiz.scoring import points
from resilience.quiz.verdicts import AnswerVerdict
from resilience.units import Instant, Seconds


class StoredAnswer(msgspec.Struct, frozen=True):
    """An accepted answer: one row of the answer log per participant and question."""

    participant: str
    question: str
    key: str
    choice: int
    received_at: Instant
    points: int

    @property
    def ref(self) -> str:
        """The answer's name in records: its question and its key."""
        return f"{self.question}/{self.key}"


class QuizState(msgspec.Struct, frozen=True):
    """The position of a quiz: stored at each step.

    ``index`` counts questions from 0, -1 before the first. ``step`` counts steps, so that a host command for an earlier
    step is recognised. ``since`` is when the phase began, ``opened_at`` and ``closes_at`` bound the last question,
    ``ends_at`` is when the phase ends by itself (``None``: when the host ends it).
    """

    phase: Phase = Phase.LOBBY
    index: int = -1
    step: int = 0
    since: Instant = 0.0
    opened_at: Instant = 0.0
    closes_at: Instant = 0.0
    ends_at: Instant | None = None


_FIRST = QuizState()


class Game:
    """Applies the rules: judges and stores answers, advances through the phases, computes scores."""

    def __init__(self, questions: tuple[Question, ...], pace: Pace, late_window: Seconds = 0.0) -> None:
        self.questions = questions
        self.pace = pace
        self.late_window = late_window
        self.progress = _FIRST
        self.scores: dict[str, int] = {}
        self._answers: dict[tuple[str, str], StoredAnswer] = {}
        self._answered: Counter[str] = Counter()
        self._by_id = {question.id: i for i, question in enumerate(questions)}

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self.progress.phase

    @property
    def index(self) -> int:
        """The number of the last question that was opened, from 0; -1 before the first."""
        return self.progress.index

    @property
    def phase_ends_at(self) -> Instant | None:
        """When the phase ends by itself."""
        return self.progress.ends_at

    @property
    def question(self) -> Question | None:
        """The current question: open, revealed or on the leaderboard; ``None`` before the first and after the last."""
        return self.questions[self.index] if self.index >= 0 and self.phase is not Phase.FINISHED else None

    @property
    def answered(self) -> int:
        """How many participants answered the last question."""
        return self._answered[self.questions[self.index].id] if self.index >= 0 else 0

    def restore(self, progress: QuizState, answers: Iterable[StoredAnswer]) -> None:
        """Restore a stored quiz."""
        self.progress = progress
        for answer in answers:
            self.store(answer)

    def timed_lobby(self, at: Instant) -> QuizState | None:
        """The state in which an automatic lobby that starts ``at`` has its end. Changes nothing.

        ``None`` unless the quiz is in a lobby that ends by itself and has no end yet.
        """
        if self.phase is not Phase.LOBBY or self.phase_ends_at is not None or self.pace.lobby is None:
            return None
        return msgspec.structs.replace(self.progress, ends_at=at + self.pace.lobby)

    def start_lobby(self, at: Instant) -> None:
        """Set the end of an automatic lobby, one lobby time after ``at``, unless it is set."""
        self.progress = self.timed_lobby(at) or self.progress

    def add_participant(self, participant: str, score: int = 0) -> None:
        """Add a participant with the score that it already has."""
        self.scores.setdefault(participant, score)

    def advance(self) -> Phase:
        """Advance to the next phase at the planned end of the current one; returns the new phase.

        The new phase is timed from the planned end of the old one, so a late wake-up shifts no deadline.
        """
        if self.phase_ends_at is None:
            raise LocalProtocolError(f"a quiz in phase {self.phase} has no end to advance at")
        self.apply(self.next_state(self.phase_ends_at))
        return self.phase

    def forget_participant(self, participant: str) -> None:
        """Remove a participant without answers."""
        self.scores.pop(participant, None)

    def has_answered(self, participant: str) -> bool:
        """Whether this participant has answered any question."""
        return any((participant, question.id) in self._answers for question in self.questions)

    def next_state(self, at: Instant) -> QuizState:
        """The state after a step at ``at``. Changes nothing."""
        old, phase = self.progress, self._next_phase()
        index = old.index + (phase is Phase.QUESTION)
        opened_at, closes_at = old.opened_at, min(old.closes_at, at)
        if phase is Phase.QUESTION:
            opened_at, closes_at = at, at + self.questions[index].time_s
        return QuizState(phase, index, old.step + 1, at, opened_at, closes_at, self._end_of(phase, at, closes_at))

    def finished(self, at: Instant) -> QuizState:
        """The state after the quiz is ended at ``at``. Changes nothing."""
        old = self.progress
        closes_at = min(old.closes_at, at)
        return QuizState(Phase.FINISHED, old.index, old.step + 1, at, old.opened_at, closes_at)

    def apply(self, progress: QuizState) -> None:
        """Apply a state from :meth:`next_state` or :meth:`finished`."""
        if progress.phase not in NEXT[self.phase]:
            raise LocalProtocolError(f"a quiz cannot go from {self.phase} to {progress.phase}")
        self.progress = progress

    def _next_phase(self) -> Phase:
        if self.phase in (Phase.LOBBY, Phase.LEADERBOARD):
            return Phase.QUESTION if self.index + 1 < len(self.questions) else Phase.FINISHED
        return Phase.REVEAL if self.phase is Phase.QUESTION else Phase.LEADERBOARD

    def _end_of(self, phase: Phase, at: Instant, closes_at: Instant) -> Instant | None:
        if phase is Phase.QUESTION:
            return closes_at
        pauses = {Phase.REVEAL: self.pace.reveal, Phase.LEADERBOARD: self.pace.leaderboard}
        pause = pauses.get(phase)
        return None if pause is None else at + pause

    def judge(  # noqa: PLR0913 - one submission
        self, participant: str, question_id: str, key: str, choice: int, received_at: Instant, *, excused: bool = False
    ) -> tuple[AnswerVerdict, StoredAnswer | None]:
        """The verdict of a submission, and the answer to store if it is accepted. Changes nothing.

        ``excused`` opens the late window, for participants whose outage overlapped the close.
        """
        stored = self._answers.get((participant, question_id))
        if stored is not None:  # the key decides, not the choice
            return (AnswerVerdict.ACCEPTED if stored.key == key else AnswerVerdict.DUPLICATE), None
        index = self._by_id.get(question_id)
        if index is None or not 0 <= choice < len(self.questions[index].choices):
            return AnswerVerdict.REJECTED_INVALID, None
        if index > self.index:
            return AnswerVerdict.REJECTED_PHASE, None
        if not self._in_time(index, received_at, excused=excused):
            return AnswerVerdict.REJECTED_LATE, None
        question = self.questions[index]
        taken = received_at - self.progress.opened_at
        won = points(correct=choice == question.correct, taken=taken, allowed=question.time_s)
        return AnswerVerdict.ACCEPTED, StoredAnswer(participant, question_id, key, choice, received_at, won)

    def _in_time(self, index: int, received_at: Instant, *, excused: bool) -> bool:
        if index != self.index:
            return False
        closes_at = self.progress.closes_at
        if self.phase is Phase.QUESTION and received_at < closes_at:
            return True
        return excused and self.phase is Phase.REVEAL and received_at < closes_at + self.late_window

    def store(self, answer: StoredAnswer) -> None:
        """Add an accepted answer to the log and its points to the score."""
        self._answers[answer.participant, answer.question] = answer
        self._answered[answer.question] += 1
        self.scores[answer.participant] = self.scores.get(answer.participant, 0) + answer.points

    def answer_of(self, participant: str, question_id: str) -> StoredAnswer | None:
        """This participant's answer to this question."""
        return self._answers.get((participant, question_id))

    def recomputed_score(self, participant: str) -> int:
        """The score derived from the answer log alone: the reference for every other score."""
        score = 0
        for question in self.questions:
            answer = self._answers.get((participant, question.id))
            if answer is not None:
                score += answer.points
        return score

    def visible_score(self, participant: str) -> int:
        """The score without the points of a question whose right answer is not revealed yet."""
        return self._without_secret(participant, self.scores.get(participant, 0))

    def recomputed_visible_score(self, participant: str) -> int:
        """The visible score derived from the answer log alone."""
        return self._without_secret(participant, self.recomputed_score(participant))

    def _without_secret(self, participant: str, score: int) -> int:
        if self.phase is not Phase.QUESTION:
            return score
        answer = self._answers.get((participant, self.questions[self.index].id))
        return score - answer.points if answer else score

    def leaders(self, size: int) -> list[tuple[str, int]]:
        """The best ``size`` participants with their visible scores; ties in order of their ids."""
        scores = ((who, self.visible_score(who)) for who in self.scores)
        return heapq.nsmallest(size, scores, key=lambda item: (-item[1], item[0]))
