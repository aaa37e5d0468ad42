"""What an event consists of: a title, questions, and how it moves on. Pure values, checked when they are made.

A plan may come from a person's file or over the wire, so a broken rule raises ``ValueError``: the decoder adds where.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from resilience.quiz.questions import PRINTABLE, Question
from resilience.units import Seconds

MAX_QUESTIONS = 500
MAX_PAUSE_S: Seconds = 3600.0

Pause = Annotated[Seconds, msgspec.Meta(ge=0, le=MAX_PAUSE_S)]


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a quiz stays in the phases between questions, seconds; ``None`` waits for the host."""

    lobby: Pause | None = None
    """Time from the first join to the first question; absent: the host starts."""
    reveal: Pause | None = None
    """Time from a question's close to the leaderboard; absent: the host moves on."""
    leaderboard: Pause | None = None
    """Time from the leaderboard to what follows it; absent: the host moves on."""


MANUAL_PACE = Pace()
"""Every step is the host's."""


class QuizPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event before it has begun."""

    questions: Annotated[tuple[Question, ...], msgspec.Meta(min_length=1, max_length=MAX_QUESTIONS)]
    """The questions, in their order; no two with the same id."""
    title: Annotated[str, msgspec.Meta(max_length=200, pattern=PRINTABLE)] = ""
    """The event's title, for people."""
    pace: Pace = MANUAL_PACE
    """When the quiz moves on by itself."""

    def __post_init__(self) -> None:
        """No two questions share an id."""
        ids = [question.id for question in self.questions]
        repeated = next((name for i, name in enumerate(ids) if name in ids[:i]), None)
        if repeated is not None:
            raise ValueError(f"question id {repeated!r} is used twice")
