"""``resilience chaos``: options in, a run directory and its report out. The only room of this package that prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode
from resilience.experiment.loader import catalogue, load, parse, to_toml
from resilience.extras import needs_extra
from resilience.terminal import make_console

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from resilience.experiment.spec import Experiment
    from resilience.lab.command import BegunRun

_PATH = click.Path(path_type=Path)
_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


@click.group()
def chaos() -> None:
    """Inject faults into the network and the server under real clients, and judge how they recover."""


@chaos.command()
@click.argument("experiment")
@click.option("--seed", type=click.IntRange(0), help="Seed of the run; the experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, such as client.preset.")
@click.option("--out", type=_PATH, help="The run directory itself, empty or absent.  [default: a new one below runs/]")
@click.option("--toxiproxy", type=_PATH, help="The toxiproxy-server to use.  [default: found, or built once]")
@click.option("--workers", type=click.IntRange(1), help="Processes of clients.  [default: one per processor]")
@click.option("--db", help="Database URL of the server.  [default: an SQLite file in the run directory]")
@needs_extra("chaos")
def run(
    experiment: str,
    seed: int | None,
    scale: float,
    overrides: tuple[str, ...],
    out: Path | None,
    toxiproxy: Path | None,
    workers: int | None,
    db: str | None,
) -> int:
    """Run EXPERIMENT (a file or a bundled name) against real processes and report on it.

    Exit codes: 0 pass, 1 target missed or invariant broken, 2 bad input, 3 inconclusive, 4 the laboratory failed, there
    was no steady state to begin with, or the run was interrupted. Ctrl-C once ends its processes in order and reports
    on what was recorded, twice kills them.
    """
    from resilience.lab.command import interruptible

    with interruptible() as begun:
        loaded = load(experiment, overrides, scale)
        chosen = loaded.seed if seed is None else seed
        return _run(loaded, chosen, out, begun, toxiproxy=toxiproxy, workers=workers, database=db)


def _run(
    experiment: Experiment,
    seed: int,
    out: Path | None,
    begun: BegunRun,
    *,
    toxiproxy: Path | None,
    workers: int | None,
    database: str | None,
) -> int:
    from reports.cli import report_own_run
    from resilience.lab.command import new_run_dir, run_experiment
    from resilience.lab.progress_view import show_progress

    from .real_lane import RealLane
    from .toxiproxy.provision import find_toxiproxy

    console = make_console()
    binary = find_toxiproxy(toxiproxy, say=_aside(console))
    lane = RealLane(toxiproxy=binary.path, workers=workers, database=database)
    begun.run_dir = run_dir = new_run_dir(lane, experiment, seed, out)
    said = f"{experiment.name}, seed {seed}, {experiment.clients} clients: {run_dir}"
    console.print(said, soft_wrap=True, highlight=False)
    with show_progress(console) as listener:
        run_experiment(lane, experiment, seed, run_dir, console, listener)
    return report_own_run(run_dir, console)


@chaos.command(name="list")
def list_() -> None:
    """List the bundled experiments."""
    from rich.table import Table

    table = Table("name", "clients", "length", "faults", "about", box=None, pad_edge=False)
    for name, text in catalogue().items():
        found = parse(text, f"{name}.toml")
        about = (str(found.clients), f"{found.duration:g} s", str(len(found.windows())), found.title)
        table.add_row(name, *about)
    make_console().print(table)


@chaos.command()
@click.argument("experiment")
@click.option("--seed", type=click.IntRange(0), help="Seed of the schedule; the experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, such as client.preset.")
@needs_extra("reports")
def show(experiment: str, seed: int | None, scale: float, overrides: tuple[str, ...]) -> None:
    """Show EXPERIMENT as it would run: every value, when each fault strikes where, and what that can prove."""
    from rich.table import Table

    from reports.plan import plan_lines, plans
    from resilience.experiment.timeline import draw_timeline

    loaded = load(experiment, overrides, scale)
    console = make_console()
    console.print(to_toml(loaded), markup=False, highlight=False, soft_wrap=True)
    table = Table("from", "to", "fault", "place", box=None, pad_edge=False)
    for window in loaded.windows(seed):
        table.add_row(f"{window.starts_at:.2f} s", f"{window.ends_at:.2f} s", window.fault.kind, window.place)
    console.print(table)
    drawing = draw_timeline(loaded.windows(seed), loaded.duration)
    console.print("", *drawing, sep="\n", markup=False, highlight=False, soft_wrap=True)
    console.print("", *plan_lines(plans(loaded)), sep="\n", markup=False, highlight=False, soft_wrap=True)


@chaos.command()
@click.option("--clients", type=click.IntRange(1), help="Size of the planned fleet.")
@click.option("--toxiproxy", type=_PATH, help="The toxiproxy-server to examine.")
@needs_extra("chaos")
def doctor(clients: int | None, toxiproxy: Path | None) -> int:
    """Check whether this machine can carry a run; ends with 4 when it cannot."""
    from rich.table import Table
    from rich.text import Text

    from resilience.lab.command import interruptible

    from .toxiproxy.doctor import examine, worst
    from .toxiproxy.provision import find_toxiproxy

    console = make_console()
    with interruptible():
        findings = examine(clients, lambda: find_toxiproxy(toxiproxy, say=_aside(console)))
    table = Table("", "what", "found", "advice", box=None, pad_edge=False)
    for finding in findings:
        mark = Text(finding.verdict, style=_STYLES[finding.verdict])
        table.add_row(mark, Text(finding.name), Text(finding.value), Text(finding.advice))
    console.print(table)
    return ExitCode.HARNESS if worst(findings) == "bad" else ExitCode.PASS


def _aside(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
