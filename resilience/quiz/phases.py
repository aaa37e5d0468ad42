"""The phases of a quiz and the table of how they follow one another. Pure."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a quiz stands."""

    LOBBY = "lobby"
    QUESTION = "question"
    REVEAL = "reveal"
    LEADERBOARD = "leaderboard"
    FINISHED = "finished"


NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.LOBBY: frozenset({Phase.QUESTION, Phase.FINISHED}),
    Phase.QUESTION: frozenset({Phase.REVEAL, Phase.FINISHED}),
    Phase.REVEAL: frozenset({Phase.LEADERBOARD, Phase.FINISHED}),
    Phase.LEADERBOARD: frozenset({Phase.QUESTION, Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}
"""Allowed moves; the diagram in the docs is drawn from this table."""
