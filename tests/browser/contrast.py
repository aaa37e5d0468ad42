"""Contrast of colours by the formula of WCAG 2.2, from the values that a page computed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

TEXT, PART = 4.5, 3.0
"""The least ratio of text (WCAG 1.4.3), and of parts that carry meaning (1.4.11)."""

PAIRS: tuple[tuple[str, str, float], ...] = (
    ("--text", "--back", TEXT),
    ("--text", "--card", TEXT),
    ("--soft", "--back", TEXT),
    ("--soft", "--card", TEXT),
    ("--problem", "--back", TEXT),
    ("--problem", "--card", TEXT),
    ("--on-strong", "--strong", TEXT),
    ("--strong", "--back", TEXT),  # links
    ("--strong", "--card", TEXT),
    ("--on-amber", "--amber", TEXT),
    ("--on-red", "--red", TEXT),
    ("--on-green", "--green", TEXT),
    *(("#ffffff", f"--c{n}", TEXT) for n in range(4)),  # choices
    ("--line", "--back", PART),  # fields, bars of the quality, the edge of a choice on a dark page
    ("--line", "--card", PART),
    ("--text", "--back", PART),  # the frame of the own choice
)
"""What stands on what: custom properties of ``style.css``, or a colour."""

GROUNDS: tuple[tuple[str, str, float], ...] = tuple((f"--c{n}", "--back", PART) for n in range(4))
"""The choices on a light page, where they have no edge."""


def luminance(colour: str) -> float:
    """The relative luminance of a colour as ``#rrggbb``."""
    match = re.fullmatch(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", colour)
    assert match, colour
    parts = [int(part, 16) / 255 for part in match.groups()]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def too_low(colours: Mapping[str, str], pairs: Iterable[tuple[str, str, float]] = PAIRS) -> list[str]:
    """The pairs that are below their least ratio, by what each property is."""
    found = [
        (front, back, least, ratio(colours.get(front, front), colours.get(back, back))) for front, back, least in pairs
    ]
    return [
        f"{front} on {back}: {value:.2f}, at least {least:g}" for front, back, least, value in found if value < least
    ]


def unreadable(texts: Iterable[tuple[str, str, str]]) -> list[tuple[str, float]]:
    """Of the elements, each with its own colour and the one behind it as ``rgb(...)``: those below :data:`TEXT`."""
    found = [(html, ratio(hexadecimal(colour), hexadecimal(behind))) for html, colour, behind in texts]
    return [(html, value) for html, value in found if value < TEXT]


def hexadecimal(computed: str) -> str:
    """A colour as ``#rrggbb`` that a browser computed as ``rgb(...)``."""
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", computed)[:3])
