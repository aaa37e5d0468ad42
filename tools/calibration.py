"""Makes the runs of the shipped calibration, fits it, and validates it on the others: ``make calibration``.

Runs a set of bundled experiments against real processes, one at a time: with :data:`FIT_SEEDS` those that are fitted,
with :data:`CHECK_SEEDS` those that validate the fit. It takes about twenty minutes on a machine without other work: it
does not begin on a busy one, and sets aside a run during which the machine had other work. Runs that are there already
are kept, so that the same command continues what was interrupted. Ends with the exit code of the validation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from reports.frames import load_history
from resilience.errors import ExitCode, ResilienceError, UsageError
from resilience.lab.run_directory import RunStatus, read_run_info
from sim.calibration.calibration_file import STARVED_S
from sim.calibration.runs import waited

EXPERIMENTS = (
    "smoke",
    "tunnel",
    "server-crash",
    "office-outage",
    "abrupt-disconnects",
    "flapping-link",
    "herd",
)
"""Each kind of fault whose costs the model has, all within what the model lane can repeat."""

FIT_SEEDS = (101, 102)
CHECK_SEEDS = (201,)

MOST_LOAD = 0.25
"""Processes of others that are ready to run, for each processor, up to which a machine counts as quiet."""

CALIBRATION = Path("sim/calibration/shipped.json")


class PlannedRun(NamedTuple):
    """One run: of which experiment, with which seed, where, and whether it is fitted."""

    experiment: str
    seed: int
    directory: Path
    fitted: bool


def plan(root: Path) -> Iterator[PlannedRun]:
    """Every run, experiment by experiment."""
    for experiment in EXPERIMENTS:
        for seed in (*FIT_SEEDS, *CHECK_SEEDS):
            yield PlannedRun(experiment, seed, root / f"{experiment}-{seed}", seed in FIT_SEEDS)


def is_made(run: PlannedRun) -> bool:
    """Whether the run is there and was carried out; UsageError for a directory that holds something else."""
    if not run.directory.exists():
        return False
    try:
        info = read_run_info(run.directory)
    except ResilienceError as error:
        raise UsageError(f"{error}; remove it") from error
    if info.status is not RunStatus.COMPLETED:
        raise UsageError(f"{run.directory}: not carried out: {info.cause}; remove it")
    return True


def resilience(*arguments: str) -> int:
    """Run a command of this project; its output goes where this one's goes."""
    return subprocess.run([sys.executable, "-m", "resilience", *arguments], check=False).returncode


def make(runs: Sequence[PlannedRun], *, busy: bool) -> None:
    """Make the runs that are not there yet. A run that misses a target is one all the same.

    Unless ``busy``, a run during which the machine had other work ends the command, and is made again by the next one.
    """
    for number, run in enumerate(runs, 1):
        if not is_made(run):
            click.echo(f"{number} of {len(runs)}: {run.experiment}, seed {run.seed}")
            code = resilience(
                "chaos", "run", run.experiment, "--seed", str(run.seed), "--out", str(run.directory), "--quiet"
            )
            if code in (ExitCode.USAGE, ExitCode.HARNESS):
                sys.exit(code)
        if not busy:
            set_aside_if_starved(run.directory)


def require_quiet(load: float, processors: int) -> None:
    """UsageError where others keep the machine busy; ``load``: its load average of the last minute."""
    if load > MOST_LOAD * processors:
        most = f"a load of at most {MOST_LOAD * processors:g} on {processors} processors"
        said = f"the machine is busy: its load is {load:.2f}, and costs are measured at {most}"
        raise UsageError(f"{said}. Wait until it has no other work, or use --busy, which marks the calibration")


def set_aside_if_starved(directory: Path) -> None:
    """Rename a run whose server or proxy waited for a processor, and raise UsageError."""
    late = waited(load_history(directory))
    if late <= STARVED_S:
        return
    number = 1
    while (aside := directory.with_name(f"{directory.name}.starved-{number}")).exists():
        number += 1
    directory.rename(aside)
    waits = f"the server or a proxy waited {late * 1000:.0f} ms of a usual second for a processor"
    said = f"{aside}: the machine had other work: {waits}, and {STARVED_S * 1000:.0f} ms are allowed"
    again = "Repeat the command on a quiet machine: it continues with this run"
    raise UsageError(f"{said}. {again}; or use --busy, which marks the calibration")


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/calibration"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=CALIBRATION, show_default=True)
@click.option("--note", default="", help="What is to be known of the circumstances.")
@click.option("--busy", is_flag=True, help="Also on a machine with other work, which the calibration then says.")
def main(runs: Path, out: Path, note: str, *, busy: bool) -> None:
    """Make the runs below RUNS, fit the calibration file OUT, validate it; the page is in RUNS/validation."""
    planned = list(plan(runs))
    try:
        if not busy and not all(map(is_made, planned)):
            require_quiet(os.getloadavg()[0], os.cpu_count() or 1)
        make(planned, busy=busy)
    except ResilienceError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    fitted = [str(run.directory) for run in planned if run.fitted]
    checked = [str(run.directory) for run in planned if not run.fitted]
    code = resilience("sim", "calibrate", *fitted, "--out", str(out), "--note", note)
    if code == ExitCode.PASS:
        code = resilience("sim", "validate", *checked, "--calibration", str(out), "--out", str(runs / "validation"))
    sys.exit(code)


if __name__ == "__main__":
    main()
