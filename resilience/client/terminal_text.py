"""How the terminals put things: text of strangers made harmless, standings as lines. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from resilience.protocol.messages import Standing

SHOWN_LEADERS = 5


def strip_control_characters(text: str) -> str:
    """Text that somebody else wrote, without anything that a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def escape_markup(text: str) -> str:
    """The same, for where ``rich`` reads markup."""
    return escape(strip_control_characters(text))


def standings(leaders: Sequence[Standing], me: str | None = None) -> list[str]:
    """The first few lines of a leaderboard, equal scores on the same rank; and ``me`` below them if on it."""
    scores = [standing.score for standing in leaders]
    lines = []
    for i, standing in enumerate(leaders):
        mine = standing.participant == me
        if i < SHOWN_LEADERS or mine:
            mark = "  (you)" if mine else ""
            lines.append(
                f"{scores.index(standing.score) + 1}. {strip_control_characters(standing.name)}  {standing.score}{mark}"
            )
    return lines
