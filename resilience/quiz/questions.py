"""Questions, and the generated ones of automatic quizzes. Pure values."""

from __future__ import annotations

from typing import Annotated

import msgspec

from resilience.random_streams import uniform
from resilience.units import Seconds
from resilience.validation import PRINTABLE

CHOICES = 4

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PRINTABLE)]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question with its right answer (counted from 0); never sent in this form before the reveal."""

    id: Name
    """The question's id."""
    text: Line
    """The question's text."""
    choices: Annotated[tuple[Line, ...], msgspec.Meta(min_length=2, max_length=12)]
    """The possible answers; no two are equal."""
    correct: Annotated[int, msgspec.Meta(ge=0)]
    """The right choice, counted from 0."""
    time_s: Annotated[Seconds, msgspec.Meta(gt=0, le=3600)]
    """How long the question is open."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` unless the right answer is one of the choices and all choices differ."""
        if self.correct >= len(self.choices):
            raise ValueError(
                f"correct is {self.correct}, but the choices are counted from 0 to {len(self.choices) - 1}"
            )
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("two choices are equal")


def arithmetic_questions(seed: int, count: int, time_s: Seconds) -> tuple[Question, ...]:
    """``count`` sums with four choices each, the same for the same seed."""
    return tuple(_sum(seed, i, time_s) for i in range(count))


def _sum(seed: int, index: int, time_s: Seconds) -> Question:
    left, right = (10 + int(uniform(seed, "question", index, side) * 90) for side in range(2))
    correct = int(uniform(seed, "correct", index) * CHOICES)
    choices = tuple(str(left + right + (i - correct) * 10) for i in range(CHOICES))
    return Question(f"q{index + 1}", f"{left} + {right} = ?", choices, correct, time_s)
