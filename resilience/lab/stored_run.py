"""One run of an event as its database holds it, whatever the code that wrote it says. Values only.

A checker believes this and what clients were shown, never the server's word about itself.
"""

from __future__ import annotations

import msgspec

from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.plan import QuizPlan


class StoredRun(msgspec.Struct, frozen=True):
    """The newest run of an event. Instants are seconds on the run's clock.

    ``scores`` is ``total_score`` by participant; there are as many participants as it has entries. ``incarnation``
    counts the servers that the run has had.
    """

    plan: QuizPlan
    state: QuizState
    scores: dict[str, int]
    answers: tuple[StoredAnswer, ...]
    incarnation: int
