"""The scripted questions and the scripted player."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.lab.scripted_client import PlannedAnswer, plan_answer
from resilience.quiz.answer_behaviour import AnswerBehaviour
from resilience.quiz.questions import arithmetic_questions
from resilience.random_streams import random_for
from tests.support.strategies import UNIT


@given(st.integers(0, 1000))
def test_the_correct_choice_is_the_sum(seed: int) -> None:
    """And it stands among four different choices once."""
    for question in arithmetic_questions(seed, 5, 6.0):
        left, right = (int(part) for part in question.text.removesuffix(" = ?").split(" + "))
        assert question.choices[question.correct] == str(left + right)
        assert len(set(question.choices)) == 4


def test_the_same_seed_asks_the_same() -> None:
    """Another seed asks something else; more questions move none."""
    assert arithmetic_questions(1, 3, 6.0) == arithmetic_questions(1, 9, 6.0)[:3]
    assert arithmetic_questions(1, 3, 6.0) != arithmetic_questions(2, 3, 6.0)


def test_the_correct_choice_is_not_always_the_same_one() -> None:
    """Guessing one letter must not win."""
    assert {question.correct for question in arithmetic_questions(1, 40, 6.0)} == {0, 1, 2, 3}


@given(UNIT, UNIT, st.integers(0, 10_000))
def test_planned_answers_keep_to_their_rules(one: float, other: float, seed: int) -> None:
    """The moment lies between the shares, the choice among those offered."""
    rules = AnswerBehaviour(1.0, min(one, other), max(one, other))
    planned = plan_answer(rules, "q1", 4, 8.0, random_for(seed, "ann"))
    assert planned is not None
    assert 0 <= planned.choice < 4
    assert 8 * rules.fastest - 1e-9 <= planned.after <= 8 * rules.slowest + 1e-9


@pytest.mark.parametrize("share, low, high", [(0.0, 0, 0), (0.5, 160, 240), (1.0, 400, 400)])
def test_the_answer_share_holds(share: float, low: int, high: int) -> None:
    """Of 400 players about that share answers."""
    rules = AnswerBehaviour(share, 0.1, 0.9)
    answers = [plan_answer(rules, "q1", 4, 6.0, random_for(1, f"c{i}")) for i in range(400)]
    assert low <= sum(answer is not None for answer in answers) <= high


def test_a_plan_can_be_made_twice() -> None:
    """The same participant, question and seed give the same answer."""
    rules, plans = AnswerBehaviour(1.0, 0.1, 0.9), set[PlannedAnswer | None]()
    for _ in range(3):
        plans.add(plan_answer(rules, "q1", 4, 6.0, random_for(1, "ann")))
    assert len(plans) == 1
