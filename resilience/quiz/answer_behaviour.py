"""How often and how quickly a scripted participant answers: a pure value that every lane's clients use."""

from __future__ import annotations

import msgspec


class AnswerBehaviour(msgspec.Struct, frozen=True):
    """Probability of answering; earliest and latest moment of an answer as shares of the question's time."""

    answer_share: float
    fastest: float
    slowest: float
