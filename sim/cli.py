"""``resilience sim``: options in, a run directory and its report out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console

from resilience.eventlog.vocabulary import Lane, LogEvent
from resilience.eventlog.writer import EventWriter
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


@sim.command()
@click.option(
    "--seeds", type=click.IntRange(1), default=2000, show_default=True, help="How many worlds to live through."
)
@click.option("--from", "first", type=click.IntRange(0), default=1, show_default=True, help="The first seed.")
@click.option("--clients", type=click.IntRange(1), default=8, show_default=True, help="Clients in each world.")
@click.option("--log", type=click.Path(path_type=Path), help="Write the last world's event log to this file.")
def crash(seeds: int, first: int, clients: int, log: Path | None) -> int:
    """Crash the real server at every boundary under a virtual clock, and look whether anything is lost.

    A seed is a world of its own: where the server dies (before, in and after a commit, in a handshake, a drain, a
    restart), what storage had by then, and for how long there is none. The same seed is the same world.

    Exit codes: 0 nothing was lost, 1 a seed broke an invariant (the command that replays it is printed).
    """
    import time

    from resilience.errors import ExitCode

    from .virtual.crash_tally import Tally, explore, story

    tally, began = Tally(clients), time.perf_counter()
    for outcome in explore(first, seeds, clients):
        tally.take(outcome)
        if tally.seeds % max(seeds // 10, 1) == 0:
            click.echo(tally.line(seeds))
        if seeds == 1:
            click.echo("\n".join(story(outcome)))
        if log is not None and tally.seeds == seeds:
            _write(log, outcome.events)
    click.echo("\n".join(["the server died", *tally.boundaries(), tally.totals(time.perf_counter() - began)]))
    for line in tally.failures():
        click.echo(line)
    return ExitCode.FAIL if tally.broken else ExitCode.PASS


def _write(log: Path, events: Iterable[LogEvent]) -> None:
    writer = EventWriter(log)
    for event in events:
        writer.write(event)
    writer.close()


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
