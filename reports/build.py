"""One run directory in, every report file out. Alone in writing them; both labs call it when a run ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .episode_table import write_csv, write_parquet
from .episodes import episodes_frame
from .frames import RunHistory, load_history
from .junit import to_junit
from .metrics import summarise
from .pages import failing_in_one_line, write_files
from .render import to_html, to_json, to_markdown
from .run_charts import run_charts
from .summary import Summary


def analyse(run_dir: Path, experiment: Path | None = None) -> tuple[RunHistory, pd.DataFrame, Summary]:
    """Read and compute, write nothing: the log, its episode frame, its summary. Errors as of :func:`build_report`."""
    log = load_history(run_dir, experiment)
    episodes = episodes_frame(log)
    return log, episodes, summarise(log, episodes)


def build_report(run_dir: Path, experiment: Path | None = None) -> Summary:
    """Analyse a run of any lane and write its files into the run directory.

    It is judged by its own expectations, or by those of the file ``experiment``. Files:
    ``summary.json``, ``summary.md``, ``junit.xml``, ``report.html``, ``episodes.parquet``, ``episodes.csv``. Raises
    :class:`~resilience.errors.UsageError`, in one line, when the directory is no run,
    :class:`~resilience.errors.EvidenceError` when a file of it cannot be read, and
    :class:`~resilience.errors.HarnessError` when the report cannot be written.
    """
    log, episodes, summary = analyse(run_dir, experiment)
    write_report(run_dir, log, episodes, summary)
    return summary


def write_report(run_dir: Path, log: RunHistory, episodes: pd.DataFrame, summary: Summary) -> None:
    """Write the files of an analysed run; :class:`~resilience.errors.HarnessError` when they cannot be written."""
    files: dict[str, bytes | str] = {
        "summary.json": to_json(summary),
        "summary.md": to_markdown(summary),
        "junit.xml": to_junit(summary),
        "report.html": to_html(summary, run_charts(log, episodes, summary)),
    }
    write_files(run_dir, files, "the report")
    with failing_in_one_line(run_dir, "the report"):
        if log.recorded_episodes is None:  # else the file is evidence
            write_parquet(episodes, run_dir / "episodes.parquet")
        write_csv(episodes, run_dir / "episodes.csv")
