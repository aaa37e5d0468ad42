"""The quiz as a schedule: the instants of the production game, and the answers of its scripted players."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from resilience.config import QuizConfig
from resilience.errors import ConfigError
from resilience.lab.scripted_client import plan_answer
from resilience.quiz.phases import Phase
from resilience.quiz.questions import CHOICES
from resilience.random_streams import uniform
from sim.population.batch import run_in_batches
from sim.population.population import EpisodeOutcome
from sim.population.quiz import NO_QUIZ, QuizSchedule
from sim.random_arrays import keys_of
from tests.sim.population.worlds import SILENT, Shared, Trouble

QUIZ = QuizConfig(questions=4, lobby=3.5, question_time=5.0, reveal_time=1.5, leaderboard_time=2.5)


def test_broadcasts_come_at_the_phases_of_the_production_game() -> None:
    game = QUIZ.game(seed=1)
    game.start_lobby(0.0)
    schedule, casts, opens = QuizSchedule.of(QUIZ, 900.0), list[float](), list[float]()
    while game.phase_ends_at is not None:
        casts.append(game.phase_ends_at)
        if game.advance() is Phase.QUESTION:
            opens.append(game.progress.opened_at)
            assert schedule.closes[len(opens) - 1] == game.progress.closes_at
    assert schedule.casts.tolist() == casts
    assert schedule.casts[schedule.question >= 0].tolist() == schedule.opens.tolist() == opens
    assert schedule.ids == tuple(question.id for question in game.questions)


def test_no_question_opens_after_the_run() -> None:
    assert QuizSchedule.of(QUIZ, 10.0).opens.tolist() == [3.5]
    assert QuizSchedule.of(QUIZ, 3.0).ends_at == NO_QUIZ.ends_at == -np.inf


def test_answers_are_those_of_the_scripted_player() -> None:
    schedule = QuizSchedule.of(msgspec.structs.replace(QUIZ, answer_share=0.5), 900.0)
    seeds = keys_of(3, 0, last=np.arange(40))
    delays = schedule.answer_delays(seeds, np.arange(40) % 5 - 1)
    for who, seed in enumerate(seeds.tolist()):
        number = who % 5 - 1

        def draw(purpose: str, one: int, other: int, seed: int = seed) -> float:
            return uniform(seed, purpose, one, other)

        plan = plan_answer(schedule.player, f"q{number + 1}", CHOICES, 5.0, draw) if number >= 0 else None
        assert np.isinf(delays[who]) if plan is None else abs(delays[who] - plan.after) <= 2**-20


def test_a_broadcast_before_an_outage_is_the_last_sign_of_life() -> None:
    """A question half a second before it: no client probes earlier than its silence after that, none notices before."""
    shared, detected = (Shared(96.5, 140.0, SILENT),), []
    for quiz in (None, QuizConfig(questions=100)):
        trouble = Trouble(size=200, duration=200.0, rate=0.0, shared=shared, quiz=quiz)
        episodes = run_in_batches(trouble.population, trouble.rules).episodes
        assert (episodes.outcome == EpisodeOutcome.RESTORED).all()
        detected.append(episodes.detected)
    assert detected[0].min() < 100.0
    assert detected[1].min() >= 96.0 + 0.006 + 4.0 + 2.0 - 2**-18


def test_a_quiz_without_a_pause_between_questions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"quiz\.reveal_time"):
        _ = Trouble(quiz=QuizConfig(reveal_time=0.25, leaderboard_time=0.25)).rules
