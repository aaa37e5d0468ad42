"""Draws a schedule in characters: a line for each place that faults strike, a column for each step of time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_lowercase

from resilience.units import Seconds

from .schedule import FaultWindow

WIDTH = 80
"""Columns of the drawing, at most."""

STEPS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0)
"""What a column may stand for, seconds."""

TICK = 10
"""A time is written above every so many columns."""

QUIET, SEVERAL = ".", "#"


def draw_timeline(windows: Sequence[FaultWindow], duration: Seconds) -> list[str]:
    """The lines of the drawing: times, places, and which letter is which kind; none without windows.

    A window of no length takes one column; ``#`` is where several kinds hold.
    """
    if not windows:
        return []
    step = next((step for step in STEPS_S if duration / step <= WIDTH), duration / WIDTH)
    columns = math.ceil(duration / step)
    letters = _letters([window.fault.kind for window in windows])
    places = list(dict.fromkeys(window.place for window in windows))
    margin = max(map(len, places)) + 2
    rows = [f"{place:<{margin}}{_row(place, windows, letters, columns, step)}" for place in sorted(places)]
    legend = ", ".join(f"{letter} {kind}" for kind, letter in letters.items())
    return [f"{'':<{margin}}{_ruler(columns, step)}", *rows, f"one column is {step:g} s; {legend}"]


def _letters(kinds: Sequence[str]) -> dict[str, str]:
    """A letter for each kind: the first of its own that is free, else any."""
    letters: dict[str, str] = {}
    for kind in sorted(set(kinds)):
        wanted = (*(sign for sign in kind if sign.isalpha()), *ascii_lowercase)
        letters[kind] = next((sign for sign in wanted if sign not in letters.values()), "?")
    return letters


def _row(place: str, windows: Sequence[FaultWindow], letters: dict[str, str], columns: int, step: Seconds) -> str:
    signs = [QUIET] * columns
    for window in windows:
        if window.place == place:
            first = min(int(window.starts_at / step), columns - 1)
            last = max(math.ceil(window.ends_at / step), first + 1)
            letter = letters[window.fault.kind]
            for column in range(first, min(last, columns)):
                signs[column] = letter if signs[column] in {QUIET, letter} else SEVERAL
    return "".join(signs)


def _ruler(columns: int, step: Seconds) -> str:
    return "".join(f"{column * step:<{TICK}g}" for column in range(0, columns, TICK))[:columns].rstrip()
