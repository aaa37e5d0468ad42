"""Text for terminals: foreign text made harmless, a leaderboard as lines. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from resilience.protocol.messages import Standing

SHOWN_LEADERS = 5


def strip_control_characters(text: str) -> str:
    """Text from another person, without control characters that a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def escape_markup(text: str) -> str:
    """:func:`strip_control_characters` for output where ``rich`` reads markup."""
    return escape(strip_control_characters(text))


def standings(leaders: Sequence[Standing], me: str | None = None) -> list[str]:
    """The first lines of a leaderboard, equal scores with equal rank; and the line of ``me`` below them."""
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
