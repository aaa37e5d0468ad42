"""``resilience chaos compare-systems`` and ``systems``: the same experiments on several systems, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.extras import needs_extra
from resilience.terminal import make_console, print_aside

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from reports.systems import SystemsComparison
    from resilience.lab.system import LaneDriver

    from ..cached_builds import Say
    from ..toxiproxy.external import ExternalToxiproxy
    from .comparison import SystemCell, SystemsPlan, SystemsRun

_PATH = click.Path(path_type=Path)


@click.command()
def systems() -> None:
    """List the ready-made systems for --system and compare-systems."""
    from rich.table import Table

    from .system import bundled_systems

    table = Table("name", "what it is", "settings", box=None, pad_edge=False)
    for name, system in bundled_systems().items():
        table.add_row(name, system.title, system.settings)
    make_console().print(table)


@click.command(name="compare-systems")
@click.argument("names", metavar="EXPERIMENT... SYSTEM...", nargs=-1, required=True)
@click.option("--seed", type=click.IntRange(0), help="First seed of every run; each experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Run each with so many seeds in a row."
)
@click.option("--out", type=_PATH, help="The directory of all runs; empty or absent.  [default: a new one below runs/]")
@click.option("--toxiproxy", metavar="PATH|URL", help="As of chaos run.")
@click.option("--workers", type=click.IntRange(1), help="Processes of clients.  [default: one per processor]")
@click.option("--ignore-limits", is_flag=True, help="Start even if a run is not expected to fit this machine.")
@needs_extra("chaos")
def compare_systems(
    names: tuple[str, ...],
    seed: int | None,
    scale: float,
    repeat: int,
    out: Path | None,
    toxiproxy: str | None,
    workers: int | None,
    ignore_limits: bool,
) -> int:
    """Run each EXPERIMENT on each SYSTEM and put them into one table, with intervals.

    EXPERIMENT is a bundled name or a file with faults, SYSTEM a name that `chaos systems` lists, or a TOML file with
    a [target] or a [driver] and no faults. The first system is the one that the others are compared with. Schedule,
    seeds, faults and clients are the same on each; the settings of server and clients are the system's own.

    Exit codes: 4 a system or a run was not to be had (the others are kept), 1 a system missed a target or broke an
    invariant, 3 a verdict is inconclusive, 2 bad input, else 0.
    """
    from reports.systems_pages import write_systems
    from resilience.lab.command import RUNS, interruptible

    from ..limits import planned_needs, require_room
    from ..real_lane import RealLane
    from .choice import tell_apart
    from .comparison import SystemsPlan, SystemsRun, directory_of

    experiments, chosen = tell_apart(names, scale)
    plan = SystemsPlan.of(experiments, chosen, seed, repeat)
    for cell in () if ignore_limits else plan.cells:
        require_room(cell.experiment.name, planned_needs(cell.experiment, seed, workers), out or RUNS)
    console = make_console()
    say = partial(print_aside, console)
    with interruptible() as begun, directory_of(out) as directory:
        proxy = _proxy(toxiproxy, plan, say)
        run = SystemsRun(plan, directory)
        run.provide(say)
        begun.remedy = f"each run so far has its report below {directory}"
        for name, problem in run.problems.items():
            console.print(f"{name} is left out: {problem}", style="bold yellow", markup=False, soft_wrap=True)
        lanes = partial(RealLane, toxiproxy=proxy, workers=workers, ignores_limits=ignore_limits)
        run.run(_runner(run, lanes, console))
        comparison = run.result()
        write_systems(run.directory, comparison)
    print_systems(comparison, console)
    console.print(f"comparison: {run.directory / 'systems.html'}", soft_wrap=True, highlight=False, markup=False)
    return int(comparison.exit_code)


def _proxy(given: str | None, plan: SystemsPlan, say: Say) -> Path | ExternalToxiproxy:
    """The Toxiproxy of all runs; UsageError where it cannot carry out one of them."""
    from ..toxiproxy.choice import choose_toxiproxy
    from ..toxiproxy.external import ExternalToxiproxy, require_external

    found = choose_toxiproxy(given, say=say)
    if not isinstance(found, ExternalToxiproxy):
        return found.path
    for cell in plan.cells:
        require_external(cell.experiment, found)
    return found


def _runner(run: SystemsRun, lanes: Callable[[], LaneDriver], console: Console) -> Callable[[SystemCell, Path], None]:
    """What runs one cell: a line before it, its verdict in one line after it, its own report in its directory."""
    from reports.run_cli import RunRequest, run_and_report

    def run_cell(cell: SystemCell, where: Path) -> None:
        number, all_cells = len(run.done), len(run.plan.cells)
        took = f"{cell.experiment.duration * cell.plan.repetitions:g} s"
        what = f"{cell.experiment.name} on {cell.system}, {cell.plan.seeds_in_words}, {took}"
        print_aside(console, f"{number} of {all_cells}: {what}")
        run_and_report(RunRequest(cell.experiment, lanes, cell.plan, where), make_console(quiet=True))

    return run_cell


def print_systems(comparison: SystemsComparison, console: Console) -> None:
    """Print a table for each experiment, the differences from the first system, and what went wrong."""
    from rich.table import Table
    from rich.text import Text

    from reports.systems_pages import HEAD, certainty, headline, reasons, row, tables_of_differences

    console.print(Text(headline(comparison), style="bold"), soft_wrap=True)
    for name, title in comparison.experiments.items():
        results = comparison.of(name)
        console.print(Text(f"{name}: {title}", style="bold"), soft_wrap=True)
        _print_table(console, Table, HEAD, [row(result) for result in results])
        head, lines = tables_of_differences(comparison, name)
        if lines:
            _print_table(console, Table, head, lines)
        for result in results:
            for reason in reasons(result):
                console.print(Text(f"- {reason}"), soft_wrap=True)
    console.print(Text(certainty(comparison), style="dim"), soft_wrap=True)


def _print_table(console: Console, new: type[Table], head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = new(*head, box=None, pad_edge=False)
    for cells in rows:
        table.add_row(*cells)
    console.print(table)
