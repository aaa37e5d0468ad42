"""One run from the command line, in any lane: a directory, progress, signals, the run. Judges and reports nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import HarnessError
from resilience.experiment.spec import Experiment

from .cancellation import Cancellation
from .progress import ProgressListener, ignore_progress
from .recording import LINES, LogFormat
from .run import RunOutcome, execute, require_lane
from .run_directory import RunStatus, create_run_dir, point_latest
from .signals import cancelled_by_signals
from .system import LaneDriver

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs")
"""Where run directories are made unless the user names one."""


def new_run_dir(driver: LaneDriver, experiment: Experiment, seed: int, out: Path | None) -> Path:
    """The directory of the next run, made; ``out``, if given, is the directory itself.

    Raises :class:`~resilience.errors.UsageError` when the lane cannot carry out the experiment, before a directory
    exists, or when the directory is in use.
    """
    require_lane(experiment, driver.lane)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    run_dir = create_run_dir(experiment.name, lane=driver.lane, seed=seed, stamp=stamp, out=out, root=RUNS)
    problem = None if out is not None else point_latest(run_dir)
    if problem is not None:
        _say(f"warning: {problem}")
    return run_dir


def run_experiment(  # noqa: PLR0913, PLR0917 - what to run, where, and who sees it
    driver: LaneDriver,
    experiment: Experiment,
    seed: int,
    run_dir: Path,
    console: Console,
    listener: ProgressListener = ignore_progress,
    log_format: LogFormat = LINES,
) -> RunOutcome:
    """Run it; SIGINT and SIGTERM end it in order. However it ends, the outcome says so, and so does a printed line.

    Raises what is wrong with the request (:class:`~resilience.errors.UsageError`), never what failed in the run.
    """
    cancellation = Cancellation()
    try:
        with cancelled_by_signals(cancellation, _say):
            outcome = execute(
                driver,
                experiment,
                seed,
                run_dir,
                progress=listener,
                cancellation=cancellation,
                log_format=log_format,
            )
    except HarnessError as error:
        outcome = RunOutcome(RunStatus.HARNESS_FAILED, str(error))
    if outcome.cause is not None:
        line = f"{outcome.status}: {outcome.cause}"
        console.print(line, style="bold red", soft_wrap=True, highlight=False, markup=False)
    return outcome


def _say(line: str) -> None:
    click.echo(line, err=True)
