"""``resilience sim``: options in, a run directory and its report out."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from resilience.events import Lane
from resilience.experiment.loader import load
from resilience.experiment.spec import Experiment

from .run import run as run_lane


@click.group()
def sim() -> None:
    """Run an experiment in a simulator: the same code, a clock of its own, the same report."""


@sim.command()
@click.argument("experiment")
@click.option(
    "--lane", type=click.Choice(["model", "virtual"]), default="model", show_default=True, help="Which simulator."
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the run; the experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, such as client.preset.")
@click.option("--out", type=click.Path(path_type=Path), help="The run directory itself; must be empty or absent.")
def run(
    experiment: str, lane: str, seed: int | None, scale: float, overrides: tuple[str, ...], out: Path | None
) -> int:
    """Run EXPERIMENT (a file or a bundled name) and report on it.

    Exit codes: 0 pass, 1 target missed or invariant broken, 2 bad input, 3 inconclusive, 4 the run failed.
    """
    loaded = load(experiment, overrides, scale)
    chosen = loaded.seed if seed is None else seed
    return run_and_report(loaded, Lane(lane), chosen, out)


def run_and_report(experiment: Experiment, lane: Lane, seed: int, out: Path | None) -> int:
    """Run, report, print the verdict; returns the exit code."""
    console = Console()
    run_dir = run_lane(experiment, lane, seed, out=out, root=Path("runs"))
    from reports.build import build_report
    from reports.cli import exit_code, print_summary

    summary = build_report(run_dir)
    print_summary(summary, console)
    console.print(f"report: {run_dir / 'report.html'}", soft_wrap=True)
    return int(exit_code(summary))
