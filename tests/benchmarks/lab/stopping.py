"""How often repetitions that stop early end with a wrong verdict, by simulation of success rates.

Each repetition has some events of one kind; events differ as beta-binomial ones do. The verdict on at least 95 % is
asked at each look, with the bounds and the confidence that ``--until-decided`` uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reports.rates import RateDesign, high_bound, low_bound
from reports.stopping import look_confidence, looks

BEGIN, END = "<!-- stopping: written by make bench RECORD=1 -->", "<!-- end of stopping -->"
STATED = 0.05
CONFIDENCE = 0.95
TARGET = 0.95
RATES = (0.9, 0.95, 0.97, 0.99)


class StoppingCell(NamedTuple):
    """At most so many repetitions, the events of each and the drops of an event, and the true correlation in one."""

    repetitions: int
    events: int
    size: int
    correlation: float


CELLS = tuple(
    StoppingCell(repetitions, 3, 100, correlation) for repetitions in (5, 10, 20) for correlation in (0.0, 0.05, 0.1)
)


class StoppingVerdicts(NamedTuple):
    """The shares that pass and fail, and after how many repetitions they end on average."""

    passed: float
    failed: float
    mean_repetitions: float


def stopping_verdicts(
    cell: StoppingCell, truth: float, *, runs: int, seed: int, spending: bool = True
) -> StoppingVerdicts:
    """Verdicts when the rate truly is ``truth``; without ``spending`` each look has the whole error."""
    rng = np.random.default_rng([seed, cell.repetitions, cell.events])
    shares = np.full((runs, cell.repetitions * cell.events), 1 - truth)
    if cell.correlation > 0:
        strength = 1 / cell.correlation - 1
        shares = rng.beta((1 - truth) * strength, truth * strength, shares.shape)
    failed = rng.binomial(cell.size, shares)
    ends = [_end(cell, tuple(row), spending=spending) for row in failed.tolist()]
    passed, lost, done = (np.array([end[i] for end in ends], dtype=np.float64) for i in range(3))
    return StoppingVerdicts(float(passed.mean()), float(lost.mean()), float(done.mean()))


def _end(cell: StoppingCell, failed: tuple[int, ...], *, spending: bool) -> tuple[bool, bool, int]:
    """Whether it passes or fails, and after how many repetitions."""
    for done in looks(cell.repetitions):
        confidence = look_confidence(CONFIDENCE, done, cell.repetitions) if spending else CONFIDENCE
        if confidence is None:
            continue
        passed, lost = _decide(cell.size, tuple(sorted(failed[: done * cell.events])), confidence)
        if passed or lost:
            return passed, lost, done
    return False, False, cell.repetitions


@cache
def _decide(size: int, failed: tuple[int, ...], confidence: float) -> tuple[bool, bool]:
    events = np.asarray(failed, dtype=np.float64)
    design = RateDesign(np.full(len(events), float(size)), np.zeros(len(events), dtype=np.int64), STATED, confidence)
    return low_bound(design, events) >= TARGET, high_bound(design, events) < TARGET


def stopping_table(runs: int, seed: int) -> list[tuple[StoppingCell, list[StoppingVerdicts]]]:
    """The verdicts of each cell, by the true rate."""
    return [(cell, [stopping_verdicts(cell, rate, runs=runs, seed=seed) for rate in RATES]) for cell in CELLS]


def lines(rows: Sequence[tuple[StoppingCell, list[StoppingVerdicts]]], runs: int) -> Iterator[str]:
    """Markdown."""
    yield f"{runs:,} times a figure; at most so many repetitions of 3 events of 100 drops, stated correlation {STATED},"
    yield f"target at least {TARGET:.0%}: share that passes / fails, and after how many repetitions on average."
    yield ""
    yield "| repetitions | correlation | " + " | ".join(f"true rate {rate:.0%}" for rate in RATES) + " |"
    yield "|---|---|" + "---|" * len(RATES)
    for cell, found in rows:
        cells = [f"{one.passed:.1%} / {one.failed:.1%}, {one.mean_repetitions:.1f}" for one in found]
        yield f"| {cell.repetitions} | {cell.correlation:g} | " + " | ".join(cells) + " |"


def record(page: Path, rows: Sequence[tuple[StoppingCell, list[StoppingVerdicts]]], runs: int) -> None:
    """Write the table between the page's marks; ``ValueError`` when it has not both."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} must have the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines(rows, runs)) + f"\n\n{END}{after}", encoding="utf-8")
