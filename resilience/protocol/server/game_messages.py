"""The game as participants see it: questions without their right answers, reveals, standings. Pure."""

from __future__ import annotations

from collections.abc import Callable

from resilience.errors import LocalProtocolError
from resilience.protocol.messages import (
    LeaderboardShown,
    OpenQuestion,
    QuestionOpened,
    QuestionRevealed,
    QuizFinished,
    ScoreChanged,
    SequencedMessage,
    Standing,
)
from resilience.quiz.game import Game
from resilience.quiz.phases import Phase
from resilience.units import Instant


class GameMessages:
    """Messages about one game; the only place that turns a question into what participants may see of it."""

    def __init__(self, game: Game, leaderboard_size: int, name_of: Callable[[str], str]) -> None:
        self._game, self._size, self._name_of = game, leaderboard_size, name_of
        self._leaders: tuple[Standing, ...] | None = None

    def leaders(self) -> tuple[Standing, ...]:
        """The head of the leaderboard, by visible scores; computed once until the standings change."""
        if self._leaders is None:
            best = self._game.leaders(self._size)
            self._leaders = tuple(Standing(who, self._name_of(who), score) for who, score in best)
        return self._leaders

    def standings_changed(self) -> None:
        """Visible scores changed, of any number of participants."""
        self._leaders = None

    def participant_added(self, participant: str) -> None:
        """A participant was added to the game. It joins the leaders only if it is one."""
        if self._leaders is None:
            return
        score = self._game.visible_score(participant)
        is_full = len(self._leaders) >= self._size
        if is_full and (not self._leaders or _rank(self._leaders[-1]) < (-score, participant)):
            return
        added = Standing(participant, self._name_of(participant), score)
        others = (standing for standing in self._leaders if standing.participant != participant)
        self._leaders = tuple(sorted((*others, added), key=_rank)[: self._size])

    def participant_removed(self, participant: str) -> None:
        """A participant was removed from the game."""
        if self._leaders is not None and any(standing.participant == participant for standing in self._leaders):
            self._leaders = None

    def question_at(self, now: Instant) -> OpenQuestion:
        """The current question with its remaining time; with its right answer only after the reveal."""
        question = self._game.question
        if question is None:
            raise LocalProtocolError("there is no current question")
        is_open = self._game.phase is Phase.QUESTION
        left = max(self._game.progress.closes_at - now, 0.0) if is_open else 0.0
        return OpenQuestion(
            question.id,
            question.text,
            question.choices,
            round(question.time_s * 1000),
            round(left * 1000),
            None if is_open else question.correct,
        )

    def phase_message(self, seq: int, now: Instant) -> SequencedMessage:
        """The message that announces the current phase."""
        phase, question = self._game.phase, self._game.question
        if phase is Phase.QUESTION:
            return QuestionOpened(seq, self.question_at(now))
        if phase is Phase.REVEAL and question is not None:
            return QuestionRevealed(seq, question.id, question.correct)
        return QuizFinished(seq, self.leaders()) if phase is Phase.FINISHED else LeaderboardShown(seq, self.leaders())

    def score_of(self, participant: str) -> ScoreChanged | None:
        """The points and score of this participant after a reveal; ``None`` when it did not answer."""
        question = self._game.question
        answer = self._game.answer_of(participant, question.id) if question else None
        if answer is None:
            return None
        return ScoreChanged(answer.question, answer.points, self._game.scores[participant])


def _rank(standing: Standing) -> tuple[int, str]:
    """The order of the leaderboard, as :meth:`~resilience.quiz.game.Game.leaders` has it."""
    return -standing.score, standing.participant
