"""One run directory in, every report file out. Alone in writing them; both labs call it when a run ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from resilience.errors import EvidenceError

from .episode_table import write_csv, write_parquet
from .episodes import episodes_frame
from .frames import RunHistory, load_history
from .junit import to_junit
from .metrics import summarise
from .pages import failing_in_one_line, replacing, withdraw, write_contents
from .render import to_html, to_json, to_markdown
from .run_charts import run_charts
from .summary import Summary

FILES = ("summary.json", "summary.md", "junit.xml", "report.html", "episodes.csv")
"""What a report consists of, with ``episodes.parquet`` where that is not the evidence itself.

Of more than :data:`MOST_LINES` episodes there is no ``episodes.csv``.
"""

MOST_LINES = (1 << 20) - 1
"""The most lines below a header that a spreadsheet opens: 1,048,576 rows are the limit of Microsoft Excel ("Excel
specifications and limits") and of LibreOffice Calc. What reads more of them reads Parquet."""


def analyse(run_dir: Path, experiment: Path | None = None) -> tuple[RunHistory, pd.DataFrame, Summary]:
    """Read and compute, write nothing: the log, its episode frame, its summary. Errors as of :func:`build_report`."""
    log = load_history(run_dir, experiment)
    episodes = episodes_frame(log)
    return log, episodes, summarise(log, episodes)


def build_report(run_dir: Path, experiment: Path | None = None) -> Summary:
    """Analyse a run of any lane and write its files into the run directory.

    It is judged by its own expectations, or by those of the file ``experiment``. Files:
    ``summary.json``, ``summary.md``, ``junit.xml``, ``report.html``, ``episodes.parquet``, and ``episodes.csv`` of at
    most :data:`MOST_LINES` episodes. Raises
    :class:`~resilience.errors.UsageError`, in one line, when the directory is no run,
    :class:`~resilience.errors.EvidenceError` when a file of it cannot be read, and
    :class:`~resilience.errors.HarnessError` when the report cannot be written. After both of these there is no report,
    nor one of an earlier build.
    """
    try:
        log, episodes, summary = analyse(run_dir, experiment)
    except EvidenceError:
        withdraw(run_dir, FILES)
        raise
    write_report(run_dir, log, episodes, summary)
    return summary


def write_report(run_dir: Path, log: RunHistory, episodes: pd.DataFrame, summary: Summary) -> None:
    """Write the files of an analysed run; :class:`~resilience.errors.HarnessError` when they cannot be written."""
    contents: dict[str, bytes | str] = {
        "summary.json": to_json(summary),
        "summary.md": to_markdown(summary),
        "junit.xml": to_junit(summary),
        "report.html": to_html(summary, run_charts(log, episodes, summary)),
    }
    tables: dict[str, Callable[[pd.DataFrame, Path], None]] = {}
    if len(episodes) <= MOST_LINES:
        tables["episodes.csv"] = write_csv
    if log.recorded_episodes is None:  # else the file is evidence
        tables["episodes.parquet"] = write_parquet
    withdraw(run_dir, set(FILES) - {*contents, *tables})
    with failing_in_one_line(run_dir, "the report"), replacing(run_dir, (*contents, *tables)) as fresh:
        write_contents(fresh, contents)
        for name, write in tables.items():
            write(episodes, fresh / name)
