"""``resilience sim``: options in, a run directory and its report out."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from resilience.errors import ExitCode, HarnessError, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import load
from resilience.experiment.spec import Experiment
from resilience.extras import needs_extra
from resilience.lab.command import RepetitionOptions, repetition_options
from resilience.lab.recording import LINES, LogFormat
from resilience.lab.repetitions import RepetitionPlan
from resilience.lab.system import LaneDriver
from resilience.terminal import make_console

from .calibration.cli import calibrate, validate
from .exploration.cli import explore
from .planning.cli import capacity, sweep, tune
from .profiles.cli import outages, profiles, schedule
from .replay.cli import replay


@click.group()
def sim() -> None:
    """Run an experiment in a simulator: the same code, a clock of its own, the same report."""


sim.add_command(explore)
sim.add_command(replay)
sim.add_command(profiles)
sim.add_command(outages)
sim.add_command(schedule)
sim.add_command(calibrate)
sim.add_command(validate)
sim.add_command(sweep)
sim.add_command(capacity)
sim.add_command(tune)


@sim.command()
@click.argument("experiment")
@click.option(
    "--lane",
    type=click.Choice(["model", "virtual", "population"]),
    default="model",
    show_default=True,
    help="Which simulator.",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the run; the experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, such as client.preset.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run directory itself, or that of the repetitions; empty or absent.",
)
@click.option(
    "--log-format",
    type=click.Choice(["lines", "columns"]),
    default="lines",
    show_default=True,
    help="Store events as JSON Lines, or as Parquet columns, which are smaller and faster to read.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False),
    help='Costs of the model lane from a file of "sim calibrate", or "shipped"; assumed ones by default.',
)
@repetition_options
@needs_extra("sim")
def run(
    experiment: str,
    lane: str,
    seed: int | None,
    scale: float,
    overrides: tuple[str, ...],
    out: Path | None,
    log_format: str,
    calibration: Path | None,
    repetition: RepetitionOptions,
) -> int:
    """Run EXPERIMENT (a file or a bundled name) and report on it.

    Exit codes: 0 pass, 1 target missed or invariant broken, 2 bad input, 3 inconclusive, 4 the run failed. With
    --repeat the verdict is on all runs together.
    """
    from reports.run_cli import RunRequest, run_and_report

    loaded = with_calibration(load(experiment, overrides, scale), calibration, lane)
    plan = repetition.plan(loaded.seed if seed is None else seed)
    if lane == Lane.POPULATION:
        if log_format != "lines":
            raise UsageError(f"--log-format {log_format}: the lane population has no events to store; leave it out")
        return run_population_and_report(loaded, plan, out, quiet=repetition.quiet)
    say_what_it_takes(loaded, Lane(lane))
    request = RunRequest(loaded, lambda: driver_of(Lane(lane)), plan, out, log_format=format_of(log_format))
    return run_and_report(request, make_console(quiet=repetition.quiet))


def say_what_it_takes(experiment: Experiment, lane: Lane) -> None:
    """Announce a run of minutes, and one that cannot reach its steady state, before it starts."""
    from resilience.lab.command import say

    from .run_costs import announcement, warning

    for line in (announcement(experiment, lane), warning(experiment, lane)):
        if line is not None:
            say(line)


def run_population_and_report(experiment: Experiment, plan: RepetitionPlan, out: Path | None, *, quiet: bool) -> int:
    """Run a population once, report, print the verdict; returns the exit code."""
    from reports.cli import report_own_run
    from resilience.lab.command import interruptible, new_lane_dir, report_later, say

    from .population.run import PopulationRun

    if plan.repetitions != 1:
        raise UsageError("--repeat: the lane population runs one seed at a time; choose another --seed for another run")
    with interruptible() as begun:
        prepared = PopulationRun(experiment, plan.first_seed)
        run_dir = new_lane_dir(Lane.POPULATION, experiment, plan.first_seed, out)
        begun.remedy = f"{run_dir} holds no episodes: run it again"
        try:
            prepared.execute(run_dir)
        except HarnessError as error:
            say(f"error: {error}")
            return ExitCode.HARNESS
        begun.remedy = report_later(run_dir)
        del prepared  # the report reads the directory; a population may take gigabytes
        return report_own_run(run_dir, make_console(quiet=quiet))


def with_calibration(experiment: Experiment, calibration: Path | None, lane: str) -> Experiment:
    """The experiment at the costs of a calibration file, if there is one. UsageError for a lane that has no costs."""
    if calibration is None:
        return experiment
    if lane != Lane.MODEL:
        raise UsageError(f"--calibration: the lane {lane} takes no calibrated costs; choose --lane model")
    from .calibration.calibration_file import read_calibration

    return replace(experiment, costs=read_calibration(calibration).costs(experiment.costs))


def driver_of(lane: Lane) -> LaneDriver:
    """The driver of a simulated lane; each lane loads only what it runs."""
    if lane is Lane.VIRTUAL:
        from .virtual.lane import VirtualLane

        return VirtualLane()
    if lane is Lane.MODEL:
        from .model.lane import ModelLane

        return ModelLane()
    raise UsageError(f"--lane {lane}: sim runs the lanes model and virtual")


def format_of(name: str) -> LogFormat:
    """The format of an event log by its name on the command line."""
    if name == "columns":
        from reports.column_files import COLUMNS

        return COLUMNS
    return LINES


def run_and_report(
    experiment: Experiment, driver: LaneDriver, seed: int, out: Path | None, log_format: LogFormat = LINES
) -> int:
    """Run once, report, print the verdict; returns the exit code. A signal ends the run in order."""
    from reports.run_cli import RunRequest, run_and_report

    request = RunRequest(experiment, lambda: driver, RepetitionPlan(seed), out, log_format=log_format)
    return run_and_report(request, make_console())
