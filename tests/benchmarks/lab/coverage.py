"""How often the verdicts are wrong, by simulation: success rates and means of drops that come in events.

A *cell* is a number of events of one kind, their size and the true within-event correlation; the experiment states 0.05
whatever the truth is. Rates: the events of a run differ as beta-binomial ones do. Means: durations are lognormal, with
the correlation on the logarithm's scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reports.rates import RateDesign, high_bound, low_bound
from reports.stats import Clusters, mean_interval

BEGIN, END = "<!-- coverage: written by make bench RECORD=1 -->", "<!-- end of coverage -->"
STATED = 0.05
CONFIDENCE = 0.95
TARGET_RATE = 0.95
TARGET_MEAN_S = 5.0
EVENTS = (3, 5, 9, 12, 20, 60)
SIZE = 100
CORRELATIONS = (0.0, 0.05, 0.1, 0.2, 0.5)
RATES = (0.93, 0.95, 0.97, 0.99)
MEANS_S = (4.0, 5.0, 6.0)
SPREAD_OF_LOG = 0.7
"""The standard deviation of a duration's logarithm: the 95th percentile is about 2.5 times the mean."""


class Cell(NamedTuple):
    """A number of events, drops in each, and the true correlation within an event."""

    events: int
    size: int
    correlation: float


class Verdicts(NamedTuple):
    """The shares of runs that pass and fail."""

    passed: float
    failed: float


def rate_verdicts(cell: Cell, truth: float, runs: int, rng: np.random.Generator) -> Verdicts:
    """Verdicts on a success rate of at least 95 % when it truly is ``truth``."""
    design = RateDesign(
        np.full(cell.events, float(cell.size)), np.zeros(cell.events, dtype=np.int64), STATED, CONFIDENCE
    )
    shares = np.full((runs, cell.events), 1 - truth)
    if cell.correlation > 0:
        strength = 1 / cell.correlation - 1
        shares = rng.beta((1 - truth) * strength, truth * strength, shares.shape)
    failed = np.sort(rng.binomial(cell.size, shares), axis=1)
    different, counts = np.unique(failed, axis=0, return_counts=True)
    passes = [low_bound(design, row.astype(np.float64)) >= TARGET_RATE for row in different]
    fails = [high_bound(design, row.astype(np.float64)) < TARGET_RATE for row in different]
    return Verdicts(float(counts[passes].sum()) / runs, float(counts[fails].sum()) / runs)


def mean_verdicts(cell: Cell, truth: float, runs: int, rng: np.random.Generator) -> Verdicts:
    """Verdicts on a mean below 5 s when it truly is ``truth``."""
    clusters = Clusters(np.repeat(np.arange(cell.events), cell.size), np.zeros(cell.events, dtype=np.int64))
    between, within = math.sqrt(cell.correlation), math.sqrt(1 - cell.correlation)
    scale = truth / math.exp(SPREAD_OF_LOG**2 / 2)
    passed = failed = 0
    for _ in range(runs):
        shared = np.repeat(rng.normal(size=cell.events), cell.size)
        noise = between * shared + within * rng.normal(size=len(shared))
        found = mean_interval(scale * np.exp(SPREAD_OF_LOG * noise), clusters, CONFIDENCE, STATED)
        passed, failed = passed + (found.high < TARGET_MEAN_S), failed + (found.low >= TARGET_MEAN_S)
    return Verdicts(passed / runs, failed / runs)


class CoverageRow(NamedTuple):
    """Verdicts of one cell, by truth, in the order of ``RATES`` or ``MEANS_S``; of these, which is at the target."""

    cell: Cell
    verdicts: tuple[Verdicts, ...]
    at_target: int

    @property
    def wrong(self) -> Verdicts:
        """Passes and fails when the truth is at the target: each is meant to be at most 5 %."""
        return self.verdicts[self.at_target]


def coverage(runs: int, seed: int) -> tuple[list[CoverageRow], list[CoverageRow]]:
    """The whole table, of rates and of means."""
    rng = np.random.default_rng(seed)
    cells = [Cell(events, SIZE, correlation) for events in EVENTS for correlation in CORRELATIONS]
    rates = [CoverageRow(cell, tuple(rate_verdicts(cell, truth, runs, rng) for truth in RATES), 1) for cell in cells]
    means = [CoverageRow(cell, tuple(mean_verdicts(cell, truth, runs, rng) for truth in MEANS_S), 1) for cell in cells]
    return rates, means


def table(rows: Sequence[CoverageRow], truths: Sequence[str]) -> Iterator[str]:
    """Markdown lines; wrong verdicts above 5 % are bold."""
    heads = [f"pass at {truth}" for truth in truths] + [f"fail at {truth}" for truth in truths[::-1]]
    yield "| events | correlation | " + " | ".join(heads) + " |"
    yield "|---|---|" + "---|" * len(heads)
    for row in rows:
        passed = [_share(row, i, row.verdicts[i].passed) for i in range(len(truths))]
        failed = [_share(row, i, row.verdicts[i].failed) for i in range(len(truths))]
        cells = (f"{row.cell.events} x {row.cell.size}", f"{row.cell.correlation:g}", *passed, *failed[::-1])
        yield "| " + " | ".join(cells) + " |"


def _share(row: CoverageRow, truth: int, share: float) -> str:
    shown = f"{share * 100:.1f} %"
    return f"**{shown}**" if truth == row.at_target and share > 1 - CONFIDENCE else shown


def record(page: Path, rates: Sequence[CoverageRow], means: Sequence[CoverageRow], runs: int) -> None:
    """Write both tables between the page's marks; ``ValueError`` when it has not both."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} must have the lines {BEGIN!r} and {END!r}")
    lines = [
        f"{runs:,} runs a figure; stated correlation {STATED}, confidence {CONFIDENCE:.0%}. Bold: wrong verdicts",
        "in more than 5 % of the runs with the truth at the target.",
        "",
        "Success rate, target at least 95 %, by the true rate:",
        "",
        *table(rates, [f"{rate:.0%}" for rate in RATES]),
        "",
        f"Mean, target below {TARGET_MEAN_S:g} s, by the true mean:",
        "",
        *table(means, [f"{mean:g} s" for mean in MEANS_S]),
    ]
    page.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}", encoding="utf-8")
