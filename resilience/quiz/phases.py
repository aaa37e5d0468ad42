"""The phases of a quiz and the table of their transitions. Pure."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """The phase of a quiz."""

    LOBBY = "lobby"
    """Before the first question."""
    QUESTION = "question"
    """A question is open."""
    REVEAL = "reveal"
    """The question is closed and the right answer is shown."""
    LEADERBOARD = "leaderboard"
    """The leaderboard is shown."""
    FINISHED = "finished"
    """The quiz is over."""


NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.LOBBY: frozenset({Phase.QUESTION, Phase.FINISHED}),
    Phase.QUESTION: frozenset({Phase.REVEAL, Phase.FINISHED}),
    Phase.REVEAL: frozenset({Phase.LEADERBOARD, Phase.FINISHED}),
    Phase.LEADERBOARD: frozenset({Phase.QUESTION, Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}
"""Allowed transitions; the diagram in the docs is drawn from this table."""
