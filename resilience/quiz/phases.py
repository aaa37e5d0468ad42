"""The phases of a quiz and the table of how they follow one another. Pure."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a quiz stands."""

    LOBBY = "lobby"
    """Before the first question."""
    QUESTION = "question"
    """A question is open."""
    REVEAL = "reveal"
    """It is closed and the right answer shown."""
    LEADERBOARD = "leaderboard"
    """The best are shown."""
    FINISHED = "finished"
    """The quiz is over."""


NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.LOBBY: frozenset({Phase.QUESTION, Phase.FINISHED}),
    Phase.QUESTION: frozenset({Phase.REVEAL, Phase.FINISHED}),
    Phase.REVEAL: frozenset({Phase.LEADERBOARD, Phase.FINISHED}),
    Phase.LEADERBOARD: frozenset({Phase.QUESTION, Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}
"""Allowed moves; the diagram in the docs is drawn from this table."""
