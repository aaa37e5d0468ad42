"""Draws a run under way: bars on a terminal, one plain line every few seconds anywhere else. Starts nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from resilience.units import Seconds

from .progress import Progress, ProgressListener

LINE_INTERVAL_S: Seconds = 5.0
BAR_WIDTH = 30


@contextmanager
def show_progress(console: Console) -> Iterator[ProgressListener]:
    """A watcher that draws on ``console`` for as long as the block lasts."""
    if not console.is_terminal:
        yield ProgressLines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda progress: _redraw(live, progress)


def _redraw(live: Live, progress: Progress) -> None:
    """Print the news above the display, then renew the display."""
    for news in progress.news:
        live.console.print(news_line(progress, news), soft_wrap=True, highlight=False, markup=False)
    live.update(table_of(progress))


def news_line(progress: Progress, news: str) -> str:
    """One piece of news with the run's time."""
    return f"{progress.t:5.1f}/{progress.duration:.0f} s  {news}"


def table_of(progress: Progress) -> Table:
    """The moment as a table: the run's own bar, one per cohort, and the faults in force."""
    table = Table.grid(padding=(0, 2))
    t, duration = max(progress.t, 0.0), progress.duration
    table.add_row(Text(progress.phase, style="bold"), _bar(t, duration), f"{t:.0f} / {duration:.0f} s")
    for cohort, clients in progress.clients.items():
        connected = progress.open.get(cohort, 0)
        table.add_row(cohort, _bar(connected, clients), f"{connected} / {clients} connected")
    table.add_row("faults", Text(", ".join(_names(progress)) or "none", style="red" if progress.faults else "dim"))
    return table


def line_of(progress: Progress) -> str:
    """The moment as one line."""
    cohorts = "  ".join(f"{name} {progress.open.get(name, 0)}/{n}" for name, n in progress.clients.items())
    faults = ", ".join(_names(progress)) or "none"
    return f"{progress.t:5.1f}/{progress.duration:.0f} s  {progress.phase:8}  connected: {cohorts}  faults: {faults}"


class ProgressLines:
    """A watcher that prints at most one line in five seconds of the run: the moment, and all news since the last one.

    A change of the phase brings the next line no earlier. News later than the last line is in the report.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._news: list[str] = []
        self._next: float = -math.inf

    def __call__(self, progress: Progress) -> None:
        """Keep the news; print them with the moment if it is time to."""
        self._news += [f"{progress.t:.1f} s {news}" for news in progress.news]
        if progress.t < self._next:
            return
        self._next = progress.t + LINE_INTERVAL_S
        news, self._news = self._news, []
        line = "; ".join((line_of(progress), *news))
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=total, completed=done, width=BAR_WIDTH)


def _names(progress: Progress) -> list[str]:
    return [fault.partition(":")[2] for fault in progress.faults]
