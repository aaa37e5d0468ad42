"""The plan of an event: a title, questions, and its pace. Pure values, validated when made.

A plan may come from a file or over the wire, so a broken rule raises ``ValueError``; the decoder adds the place.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from resilience.quiz.questions import Question
from resilience.units import Seconds
from resilience.validation import PRINTABLE

MAX_QUESTIONS = 500
MAX_PAUSE_S: Seconds = 3600.0

Pause = Annotated[Seconds, msgspec.Meta(ge=0, le=MAX_PAUSE_S)]


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a quiz stays in the phases between questions, seconds; ``None`` waits for the host."""

    lobby: Pause | None = None
    """Time from the first join to the first question; absent: the host starts the quiz."""
    reveal: Pause | None = None
    """Time from a question's close to the leaderboard; absent: the host advances."""
    leaderboard: Pause | None = None
    """Time from the leaderboard to the next phase; absent: the host advances."""


MANUAL_PACE = Pace()
"""No automatic step: the host starts every phase."""


class QuizPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event before it has begun."""

    questions: Annotated[tuple[Question, ...], msgspec.Meta(min_length=1, max_length=MAX_QUESTIONS)]
    """The questions in order; no two have the same id."""
    title: Annotated[str, msgspec.Meta(max_length=200, pattern=PRINTABLE)] = ""
    """The event's title, for people."""
    pace: Pace = MANUAL_PACE
    """When the quiz advances by itself."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` if two questions share an id."""
        ids = [question.id for question in self.questions]
        repeated = next((name for i, name in enumerate(ids) if name in ids[:i]), None)
        if repeated is not None:
            raise ValueError(f"question id {repeated!r} is used twice")
