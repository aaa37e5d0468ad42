"""Makes the runs of the shipped calibration, fits it, and validates it on the others: ``make calibration``.

Runs a set of bundled experiments against real processes, one at a time: with :data:`FIT_SEEDS` those that are fitted,
with :data:`CHECK_SEEDS` those that validate the fit. It takes about twenty minutes and wants a machine without other
work; how late its clients ran is in the calibration file. Runs that are there already are kept, so that an interrupted
command continues. Ends with the exit code of the validation.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from resilience.errors import ExitCode, ResilienceError, UsageError
from resilience.lab.run_directory import RunStatus, read_run_info

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


def make(runs: Sequence[PlannedRun]) -> None:
    """Make the runs that are not there yet. A run that misses a target is one all the same."""
    for number, run in enumerate(runs, 1):
        if is_made(run):
            continue
        click.echo(f"{number} of {len(runs)}: {run.experiment}, seed {run.seed}")
        code = resilience(
            "chaos", "run", run.experiment, "--seed", str(run.seed), "--out", str(run.directory), "--quiet"
        )
        if code in (ExitCode.USAGE, ExitCode.HARNESS):
            sys.exit(code)


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/calibration"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=CALIBRATION, show_default=True)
@click.option("--note", default="", help="What is to be known of the circumstances.")
def main(runs: Path, out: Path, note: str) -> None:
    """Make the runs below RUNS, fit the calibration file OUT, validate it; the page is in RUNS/validation."""
    planned = list(plan(runs))
    make(planned)
    fitted = [str(run.directory) for run in planned if run.fitted]
    checked = [str(run.directory) for run in planned if not run.fitted]
    code = resilience("sim", "calibrate", *fitted, "--out", str(out), "--note", note)
    if code == ExitCode.PASS:
        code = resilience("sim", "validate", *checked, "--calibration", str(out), "--out", str(runs / "validation"))
    sys.exit(code)


if __name__ == "__main__":
    main()
