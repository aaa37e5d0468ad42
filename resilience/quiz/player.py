"""How a scripted participant plays: which choice, and after how long. Pure; every lane's clients play by it."""

from __future__ import annotations

import msgspec

from resilience.draws import UniformSource, hash64
from resilience.units import Seconds


class AnswerBehaviour(msgspec.Struct, frozen=True):
    """Probability of answering at all; earliest and latest moment as shares of the question's time."""

    answer_share: float
    fastest: float
    slowest: float


class PlannedAnswer(msgspec.Struct, frozen=True):
    """What to answer, and how many seconds after the question was opened."""

    choice: int
    after: Seconds


def plan_answer(
    rules: AnswerBehaviour, question_id: str, choices: int, time_s: Seconds, draw: UniformSource
) -> PlannedAnswer | None:
    """This participant's answer to this question; ``None`` when it lets it pass."""
    address = hash64(question_id)
    if draw("answers", address, 0) >= rules.answer_share:
        return None
    moment = rules.fastest + (rules.slowest - rules.fastest) * draw("moment", address, 0)
    return PlannedAnswer(int(draw("choice", address, 0) * choices), moment * time_s)
