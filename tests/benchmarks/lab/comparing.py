"""How often comparisons of two runs are wrong and how often they find a change, by simulation of a known truth.

The runs are those of :mod:`tests.support.made_runs`: nine events of three kinds that strike 100 participants each; the
experiment states a correlation of 0.05 whatever the truth is. A figure is counted over whole tables, as a user gets
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reports.compare import compare_measured
from reports.comparison import Change
from tests.support.made_runs import made_run

BEGIN, END = "<!-- comparisons: written by make bench RECORD=1 -->", "<!-- end of comparisons -->"
SEEDS = {"paired": (1, 1), "independent": (1, 2)}
CORRELATIONS = (0.0, 0.05, 0.1, 0.2)
CHANGED = (Change.WORSE, Change.BETTER)
FAMILY = 0.05


class Truth(NamedTuple):
    """What is true of the two runs: their success rates, and how many times slower the second detects and returns."""

    success: float
    changed: float
    slower: float = 1.0

    @property
    def words(self) -> str:
        """The head of its column."""
        if self.slower != 1:
            return f"detection {self.slower:g} times"
        return f"success {self.success:g} → {self.changed:g}"

    @property
    def metric(self) -> str:
        """The row of the table that ought to show it."""
        return "success_rate" if self.slower == 1 else "detection_s.mean"


CHANGES = (Truth(0.99, 0.93), Truth(0.99, 0.9), Truth(0.95, 0.85), Truth(0.97, 0.97, 1.2), Truth(0.97, 0.97, 1.5))
NOTHING = Truth(0.97, 0.97)


class ComparedRow(NamedTuple):
    """``alarms`` in so many ``tables`` without a change, and in which share each of the ``CHANGES`` is found."""

    pairing: str
    correlation: float
    alarms: int
    tables: int
    found: tuple[float, ...]


def changes(pairing: str, correlation: float, truth: Truth, rng: np.random.Generator) -> dict[str, Change]:
    """The judged rows of one table that say worse or better."""
    first, other = SEEDS[pairing]
    runs = [
        made_run(rng, success=truth.success, correlation=correlation, seed=first),
        made_run(rng, success=truth.changed, slower=truth.slower, correlation=correlation, seed=other),
    ]
    return {metric: gap.verdict for metric, gap in compare_measured(runs).judged if gap.verdict in CHANGED}


def comparisons(tables: int, seed: int) -> Iterator[ComparedRow]:
    """Every row; a change is looked for in a quarter as many tables as false alarms are."""
    rng = np.random.default_rng(seed)
    for pairing in SEEDS:
        for correlation in CORRELATIONS:
            alarms = sum(bool(changes(pairing, correlation, NOTHING, rng)) for _ in range(tables))
            found = tuple(_share_found(pairing, correlation, truth, tables // 4, rng) for truth in CHANGES)
            yield ComparedRow(pairing, correlation, alarms, tables, found)


def _share_found(pairing: str, correlation: float, truth: Truth, tables: int, rng: np.random.Generator) -> float:
    seen = (changes(pairing, correlation, truth, rng).get(truth.metric) for _ in range(tables))
    return sum(change is Change.WORSE for change in seen) / tables


def table(rows: Sequence[ComparedRow]) -> Iterator[str]:
    """Markdown lines; more false alarms than promised are bold."""
    yield "| compared | correlation | any change where none is | " + " | ".join(item.words for item in CHANGES) + " |"
    yield "|---|---|---|" + "---|" * len(CHANGES)
    for row in rows:
        alarms = f"{row.alarms} of {row.tables} tables"
        shown = f"**{alarms}**" if row.alarms > FAMILY * row.tables else alarms
        found = " | ".join(f"{share:.0%}".replace("%", " %") for share in row.found)
        yield f"| {row.pairing} | {row.correlation:g} | {shown} | {found} |"


def record(page: Path, rows: Sequence[ComparedRow]) -> None:
    """Write the table between the page's marks; ``ValueError`` when it has not both."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} must have the lines {BEGIN!r} and {END!r}")
    lines = "\n".join(table(rows))
    page.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", encoding="utf-8")
