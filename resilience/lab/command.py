"""One run from the command line, in any lane: a directory, progress, signals, the run. Judges and reports nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import CommandInterruptedError, HarnessError
from resilience.experiment.spec import Experiment

from .cancellation import Cancellation
from .progress import ProgressListener, ignore_progress
from .run import RunOutcome, execute, require_lane
from .run_directory import RunStatus, create_run_dir, point_latest
from .signals import cancelled_by_signals, interrupted_by_signals
from .system import LaneDriver

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs")
"""Where run directories are made unless the user names one."""


@dataclass
class BegunRun:
    """What a command has begun: ``run_dir`` is None until there is a run directory."""

    run_dir: Path | None = None


@contextmanager
def interruptible() -> Iterator[BegunRun]:
    """Let a signal end the command with one line, wherever :func:`run_experiment` does not take care of it.

    The user of the block notes its run in the value, and the line then says what can be done with the run.
    """
    begun = BegunRun()
    with interrupted_by_signals(
        say, lambda: "nothing was started" if begun.run_dir is None else report_later(begun.run_dir)
    ):
        yield begun


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
        say(f"warning: {problem}")
    return run_dir


def run_experiment(  # noqa: PLR0913, PLR0917 - what to run, where, and who sees it
    driver: LaneDriver,
    experiment: Experiment,
    seed: int,
    run_dir: Path,
    console: Console,
    listener: ProgressListener = ignore_progress,
) -> RunOutcome:
    """Run it; a signal ends it in order. However it ends, the outcome says so, and so does a printed line.

    Raises what is wrong with the request (:class:`~resilience.errors.UsageError`), never what failed in the run. Raises
    :class:`~resilience.errors.CommandInterruptedError` when a second signal ended it at once: nothing is to follow.
    """
    cancellation = Cancellation()
    try:
        with cancelled_by_signals(cancellation, say):
            outcome = execute(driver, experiment, seed, run_dir, progress=listener, cancellation=cancellation)
    except HarnessError as error:
        outcome = RunOutcome(RunStatus.HARNESS_FAILED, str(error))
    if cancellation.aborted is not None:
        raise CommandInterruptedError(f"interrupted by {cancellation.aborted}, at once; {report_later(run_dir)}")
    if outcome.cause is not None:
        line = f"{outcome.status}: {outcome.cause}"
        console.print(line, style="bold red", soft_wrap=True, highlight=False, markup=False)
    return outcome


def report_later(run_dir: Path) -> str:
    """What to do about a run whose report was not built."""
    return f"what it recorded is reported by: resilience report build {run_dir}"


def say(line: str) -> None:
    """Print a line for people."""
    click.echo(line, err=True)
