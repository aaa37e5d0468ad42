"""Runs from the command line, in any lane: options, directories, progress, signals. Judges and reports nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resilience.errors import CommandInterruptedError, HarnessError, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.spec import Experiment
from resilience.units import Seconds

from .cancellation import Cancellation
from .progress import ProgressListener, ignore_progress
from .recording import LINES, LogFormat
from .repetitions import RepetitionPlan, parse_duration
from .run import RunOutcome, execute, require_lane
from .run_directory import RunStatus, create_repetitions_dir, create_run_dir, point_latest
from .signals import cancelled_by_signals, interrupted_by_signals
from .system import LaneDriver

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs")
"""Where run directories are made unless the user names one."""


# Before click 8.2 the class takes no argument in brackets.
class _Duration(click.ParamType):  # type: ignore[type-arg]
    """A length of time on the command line, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Seconds:  # noqa: ANN401
        """Seconds; a number is already that."""
        try:
            return parse_duration(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True)
class RepetitionOptions:
    """What the options of :func:`repetition_options` say, before the first seed is known."""

    repetitions: int
    fail_fast: bool
    budget: Seconds | None
    until_decided: bool
    quiet: bool

    def plan(self, first_seed: int) -> RepetitionPlan:
        """The plan; :class:`~resilience.errors.UsageError` for options that need ``--repeat``."""
        return RepetitionPlan(first_seed, self.repetitions, self.fail_fast, self.budget, self.until_decided)


def repetition_options(command: Callable[..., int]) -> Callable[..., int]:
    """Decorate a command that runs an experiment: its argument ``repetition`` is a :class:`RepetitionOptions`."""

    @functools.wraps(command)
    def gathered(
        *, repeat: int, fail_fast: bool, budget: Seconds | None, until_decided: bool, quiet: bool, **options: object
    ) -> int:
        return command(repetition=RepetitionOptions(repeat, fail_fast, budget, until_decided, quiet), **options)

    options = (
        click.option(
            "--repeat",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Run it with so many seeds in a row, and judge all of them together.",
        ),
        click.option("--fail-fast", is_flag=True, help="Stop after the first repetition that fails."),
        click.option(
            "--budget",
            type=_Duration(),
            metavar="TIME",
            help="Start no repetition that would not end within this time, such as 90s or 5m; none is cut short.",
        ),
        click.option(
            "--until-decided",
            is_flag=True,
            help="Stop when the verdict on all repetitions is decided, at no more wrong verdicts than without it.",
        ),
        click.option("--quiet", is_flag=True, help="Print the verdict only, in one line."),
    )
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), gathered)


@dataclass
class BegunWork:
    """What a command has begun; ``remedy`` says what a user has of it, or may do, when a signal ends the command.

    A function is asked when the signal has come, for what has changed since the beginning.
    """

    remedy: str | Callable[[], str] = "nothing was started"

    def in_words(self) -> str:
        """The remedy as it is now."""
        return self.remedy if isinstance(self.remedy, str) else self.remedy()


@contextmanager
def interruptible() -> Iterator[BegunWork]:
    """Let a signal end the command with one line, wherever :func:`run_experiment` does not take care of it.

    Blocks may be nested; the innermost one says the remedy.
    """
    begun = BegunWork()
    with interrupted_by_signals(say, begun.in_words):
        yield begun


def new_run_dir(driver: LaneDriver, experiment: Experiment, seed: int, out: Path | None) -> Path:
    """The directory of the next run, made; ``out``, if given, is the directory itself.

    Raises :class:`~resilience.errors.UsageError` when the lane cannot carry out the experiment, before a directory
    exists, or when the directory is in use.
    """
    return new_lane_dir(driver.lane, experiment, seed, out)


def new_lane_dir(lane: Lane, experiment: Experiment, seed: int, out: Path | None) -> Path:
    """:func:`new_run_dir` of a lane by its name."""
    require_lane(experiment, lane)
    run_dir = create_run_dir(experiment.name, lane=lane, seed=seed, stamp=_stamp(), out=out, root=RUNS)
    if out is None:
        _point_latest(run_dir)
    return run_dir


def new_repetitions_dir(driver: LaneDriver, experiment: Experiment, seeds: range, out: Path | None) -> Path:
    """Like :func:`new_run_dir`, for the directory that holds the run directories of several seeds."""
    require_lane(experiment, driver.lane)
    directory = create_repetitions_dir(
        experiment.name, lane=driver.lane, seeds=seeds, stamp=_stamp(), out=out, root=RUNS
    )
    if out is None:
        _point_latest(directory)
    return directory


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def _point_latest(directory: Path) -> None:
    problem = point_latest(directory)
    if problem is not None:
        say(f"warning: {problem}")


def run_experiment(  # noqa: PLR0913, PLR0917 - what to run, where, and who sees it
    driver: LaneDriver,
    experiment: Experiment,
    seed: int,
    run_dir: Path,
    console: Console,
    listener: ProgressListener = ignore_progress,
    log_format: LogFormat = LINES,
) -> RunOutcome:
    """Run it; a signal ends it in order. However it ends, the outcome says so, and so does a printed line.

    Raises what is wrong with the request (:class:`~resilience.errors.UsageError`), never what failed in the run. Raises
    :class:`~resilience.errors.CommandInterruptedError` when a second signal ended it at once: nothing is to follow.
    """
    cancellation = Cancellation()
    try:
        with cancelled_by_signals(cancellation, say):
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
