"""How a scripted participant answers: how often, and how quickly. A pure value; every lane's clients play by it."""

from __future__ import annotations

import msgspec


class AnswerBehaviour(msgspec.Struct, frozen=True):
    """Probability of answering at all; earliest and latest moment as shares of the question's time."""

    answer_share: float
    fastest: float
    slowest: float
