"""The quiz as a schedule: when a server broadcasts, which of its messages open a question, and who answers when. Pure.

An automatic quiz needs no one to advance it, so every broadcast is known beforehand. Its messages matter to this lane
as signs of life only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from resilience.config import QuizConfig
from resilience.quiz.answer_behaviour import AnswerBehaviour
from resilience.random_streams import hash64
from resilience.units import Instant, Seconds

from ..profiles.timelines import on_grid
from ..random_arrays import Keys, keys_under, uniforms
from .standstill import Standstills

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

_SILENT = AnswerBehaviour(0.0, 0.0, 0.0)


class AnswerKeys(NamedTuple):
    """Of each participant, uint64: the key of whether it answers a question, and that of when."""

    answers: Keys
    moment: Keys

    def take(self, rows: Numbers) -> AnswerKeys:
        """Those of these participants."""
        return AnswerKeys(self.answers[rows], self.moment[rows])


@dataclass(frozen=True, eq=False)
class QuizSchedule:
    """A quiz whose lobby begins at instant 0, or none at all.

    ``opens``, ``closes``: float64 of shape (q,), when each question is open, seconds on the grid. ``casts``: float64 of
    shape (b,), when the server broadcasts, in order; ``question``: int64 of shape (b,), which question that opens, else
    -1. ``ids``: of the questions. ``player`` says who answers. ``shown``: float64 of shape (q,), when the server
    broadcasts each question.
    """

    opens: Floats
    closes: Floats
    casts: Floats
    question: Numbers
    ids: tuple[str, ...] = ()
    player: AnswerBehaviour = _SILENT
    time: Seconds = 0.0
    shown: Floats = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, quiz: QuizConfig, duration: Instant) -> QuizSchedule:
        """The questions of this quiz that open within a run of ``duration`` seconds."""
        numbers = np.arange(quiz.questions)
        opens = quiz.lobby + numbers * (quiz.question_time + quiz.reveal_time + quiz.leaderboard_time)
        numbers, opens = numbers[opens < duration], opens[opens < duration]
        phases = [opens, opens + quiz.question_time, opens + quiz.question_time + quiz.reveal_time]
        opened = [numbers, np.full(len(numbers), -1), np.full(len(numbers), -1)]
        ends = phases[-1][-1:] + quiz.leaderboard_time  # the last leaderboard is followed by the end of the quiz
        casts, question = np.concatenate([*phases, ends]), np.concatenate([*opened, np.full(len(ends), -1)])
        order = np.argsort(casts, kind="stable")
        ids = tuple(f"q{number + 1}" for number in numbers.tolist())
        closes = on_grid(phases[1])
        opens, casts = on_grid(opens), on_grid(casts[order])
        return cls(opens, closes, casts, question[order], ids, quiz.player, quiz.question_time, opens)

    def with_standstills(self, standstills: Standstills) -> QuizSchedule:
        """The same of a server that stands still then: it broadcasts late, and no later phase moves with that."""
        casts, shown = standstills.read_instants(self.casts), standstills.read_instants(self.opens)
        return replace(self, casts=casts, shown=shown)

    @property
    def ends_at(self) -> Instant:
        """When the last broadcast leaves; minus infinity without any."""
        return float(self.casts[-1]) if len(self.casts) else -np.inf

    @cached_property
    def _words(self) -> Keys:
        return np.array([hash64(each) for each in self.ids], np.uint64)

    @property
    def least_pause(self) -> Seconds:
        """The least time between a question's close and the next question; infinite for one question or none."""
        return float((self.opens[1:] - self.closes[:-1]).min(initial=np.inf))

    def open_at(self, at: Instant) -> int:
        """The question that a snapshot of this instant shows as open; -1 without one."""
        number = int(np.searchsorted(self.opens, at, side="right")) - 1
        return number if number >= 0 and at < self.closes[number] else -1

    def last_opened(self, at: Floats, *, before: bool = False) -> Numbers:
        """The last question broadcast at these instants or earlier, or ``before`` them; -1 before the first."""
        return np.searchsorted(self.shown, at, side="left" if before else "right") - 1

    def closed(self, number: Numbers) -> Floats:
        """When these questions close; minus infinity for -1."""
        return np.append(self.closes, -np.inf)[number]

    def answers_at(self, seeds: Keys, number: Numbers, latency: Floats) -> Floats:
        """When each participant answers its question if its link delays nothing; infinite if not, and for -1."""
        planned = np.append(self.opens, np.inf)[number] + latency + self.answer_delays(seeds, number)
        return np.maximum(planned, np.append(self.shown, np.inf)[number] + latency)

    def answer_delays(self, seeds: Keys, number: Numbers) -> Floats:
        """How long after a question is shown each participant answers it, seconds; infinite if not, and for -1.

        The numbers of :func:`resilience.lab.scripted_client.plan_answer`.
        """
        return self.delays_of(self.answer_keys(seeds), number)

    def answer_keys(self, seeds: Keys) -> AnswerKeys:
        """The keys of everything that participants with these seeds draw for their answers."""
        return AnswerKeys(keys_under(seeds, "answers"), keys_under(seeds, "moment"))

    def delays_of(self, keys: AnswerKeys, number: Numbers) -> Floats:
        """The same as :meth:`answer_delays`, of one question for each of the ``keys``."""
        if not self.ids:
            return np.full(len(number), np.inf)
        words = self._words[np.maximum(number, 0)]
        answers = uniforms(keys.answers, words, 0) < self.player.answer_share
        fastest, slowest = self.player.fastest, self.player.slowest
        moment = fastest + (slowest - fastest) * uniforms(keys.moment, words, 0)
        return np.where(answers & (number >= 0), on_grid(moment * self.time), np.inf)


NO_QUIZ = QuizSchedule(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
