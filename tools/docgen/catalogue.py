"""The tables of ``docs/experiments.md``: every bundled experiment, and which of them show each failure mode."""

from __future__ import annotations

import re
from pathlib import Path

from docgen.sources import markdown, table
from resilience.experiment.faults import EVERY_LANE
from resilience.experiment.loader import by_group, catalogue

MODES = Path(__file__).resolve().parents[2] / "docs" / "failure-modes.md"

UNSHOWN = {
    "F5": "needs throttled timers, which no fault makes",
    "F7": "needs a wall clock that is set",
    "F9": "needs one lost message on a healthy link",
    "F19": "needs a limit of the system",
    "F34": "needs several servers",
    "F35": "needs several servers",
    "F36": "needs a server that rejects every resume",
}
"""Failure modes that no kind of fault shows, with the reason."""

_ROW = re.compile(r"^\| (F\d+) \| ([^|]+) \|", re.MULTILINE)


def failure_modes() -> dict[str, str]:
    """The name of each failure mode of the page, by its id."""
    return dict(_ROW.findall(MODES.read_text(encoding="utf-8")))


def experiments() -> str:
    """One row for each bundled experiment, group by group."""
    rows = [
        [
            group,
            f"`{each.name}`",
            markdown(each.question, {}),
            str(each.clients),
            f"{each.duration:g} s",
            "all" if len(each.lanes) == len(EVERY_LANE) else " and ".join(each.lanes),
            " ".join(each.shows),
        ]
        for group, members in by_group(catalogue()).items()
        for each in members
    ]
    return table(["group", "experiment", "question", "clients", "length", "lanes", "shows"], rows)


def modes() -> str:
    """One row for each failure mode: the experiments that show it, or why none does."""
    every = [each for members in by_group(catalogue()).values() for each in members]
    rows = []
    for mode, name in failure_modes().items():
        shown = ", ".join(f"`{each.name}`" for each in every if mode in each.shows)
        rows.append([mode, name.strip(), shown or f"by its tests only: {UNSHOWN.get(mode, 'no fault makes it')}"])
    return table(["id", "failure mode", "shown by"], rows)
