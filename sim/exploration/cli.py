"""``resilience sim explore``: options in, a directory of findings out, and a command that replays each."""

from __future__ import annotations

from pathlib import Path

import click

from resilience.errors import ExitCode, HarnessError, UsageError
from resilience.extras import needs_extra
from resilience.terminal import make_console


@click.command()
@click.argument("what", type=click.Choice(["schedule", "crash"]), default="schedule")
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="Number of seeds to run.")
@click.option("--from", "first", type=click.IntRange(0), default=1, show_default=True, help="The first seed.")
@click.option("--clients", type=click.IntRange(1), default=8, show_default=True, help="Number of clients in each run.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Number of worker processes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The directory of the exploration; one that was begun there continues.  [default: a new one below runs/]",
)
@click.option(
    "--shrink",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Most runs for making a finding's experiment smaller; 0 keeps it as it was found.",
)
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Store the run of the single seed in this directory, with a report."
)
@needs_extra("sim")
def explore(
    what: str, seeds: int, first: int, clients: int, workers: int, out: Path | None, shrink: int, keep: Path | None
) -> int:
    """Run generated experiments over the real code in virtual time, one for each seed, and check every invariant.

    "schedule" draws faults of every kind at any time, over packets and storage calls of uneven length. "crash" kills
    the server at every boundary of its work: before, in and after a commit, in a handshake, in a drain, in a restart.

    A finding is made smaller and stored as an experiment; the command that replays it is printed. An interrupted
    exploration continues with the same --out.

    Exit codes: 0 nothing was broken, 1 a seed broke an invariant, 2 bad input, 4 a worker ended or the directory cannot
    be written; with --keep those of "report build" on the directory.
    """
    if keep is not None:
        return _keep(what, seeds, first, clients, keep)
    return _explore(what, range(first, first + seeds), clients, workers, out, shrink)


def _explore(what: str, seeds: range, clients: int, workers: int, out: Path | None, shrink: int) -> int:
    from resilience.lab.command import interruptible, say

    from .exploring import Exploration
    from .records import ExplorationDirectory, ExplorationPlan
    from .seeds import Generator

    with interruptible() as begun:
        directory = ExplorationDirectory.open(out, ExplorationPlan(Generator(what), clients))
        exploration = Exploration(directory, seeds.start, len(seeds), click.echo)
        begun.remedy = exploration.remedy
        try:
            exploration.run(workers, shrink)
        except HarnessError as error:
            say(f"error: {error}")
            return ExitCode.HARNESS
        if what == Generator.CRASH:
            click.echo("\n".join(["the server died", *exploration.statistics.boundaries()]))
        for line in exploration.findings():
            click.echo(line)
        click.echo(f"kept in {directory.path}")
        return ExitCode.FAIL if exploration.statistics.broken else ExitCode.PASS


def _keep(what: str, seeds: int, first: int, clients: int, keep: Path) -> int:
    from reports.cli import report_own_run

    from .exploring import describe_crashes
    from .seeds import GENERATORS, Generator, keep_seed

    if seeds != 1:
        raise UsageError("--keep stores the run of one seed: use it with --seeds 1")
    result = keep_seed(GENERATORS[Generator(what)](first, clients), keep)
    for line in describe_crashes(result):
        click.echo(line)
    for rule, detail in result.broken.items():
        click.echo(f"  {rule}: {detail}")
    return report_own_run(keep, make_console())
