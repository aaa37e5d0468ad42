"""Questions and the scripted set that automatic quizzes use. Pure values."""

from __future__ import annotations

import msgspec

from resilience.draws import uniform
from resilience.units import Seconds

CHOICES = 4


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question with its right answer; never sent as it is before the reveal."""

    id: str
    text: str
    choices: tuple[str, ...]
    correct: int
    time_s: Seconds


def arithmetic_questions(seed: int, count: int, time_s: Seconds) -> tuple[Question, ...]:
    """``count`` sums with four choices each, the same for the same seed."""
    return tuple(_sum(seed, i, time_s) for i in range(count))


def _sum(seed: int, index: int, time_s: Seconds) -> Question:
    left, right = (10 + int(uniform(seed, "question", index, side) * 90) for side in range(2))
    correct = int(uniform(seed, "correct", index) * CHOICES)
    choices = tuple(str(left + right + (i - correct) * 10) for i in range(CHOICES))
    return Question(f"q{index + 1}", f"{left} + {right} = ?", choices, correct, time_s)
