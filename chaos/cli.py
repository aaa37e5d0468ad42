"""``resilience chaos``: options in, a run directory and its report out. The only room of this package that prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import catalogue, load, parse, to_toml
from resilience.experiment.spec import Experiment
from resilience.lab.run_directory import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from resilience.lab.run import RunOutcome

    from .real_lane import RealLane

_ROOT = Path("runs")
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
    was no steady state to begin with, or the run was interrupted (Ctrl-C once; all processes that it started end
    first).
    """
    from rich.console import Console

    from .real_lane import RealLane
    from .toxiproxy.provision import find_toxiproxy

    loaded = load(experiment, overrides, scale)
    console = Console()
    binary = find_toxiproxy(toxiproxy, say=_aside(console))
    chosen = loaded.seed if seed is None else seed
    run_dir = _new_run_dir(loaded, chosen, out)
    console.print(f"{loaded.name}, seed {chosen}, {loaded.clients} clients: {run_dir}", soft_wrap=True, highlight=False)
    lane = RealLane(toxiproxy=binary.path, workers=workers, database=db)
    return _report(_execute(lane, loaded, chosen, run_dir, console), run_dir, console)


@chaos.command(name="list")
def list_() -> None:
    """List the bundled experiments."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "clients", "length", "faults", "about", box=None, pad_edge=False)
    for name, text in catalogue().items():
        found = parse(text, f"{name}.toml")
        about = (str(found.clients), f"{found.duration:g} s", str(len(found.windows())), found.title)
        table.add_row(name, *about)
    Console().print(table)


@chaos.command()
@click.argument("experiment")
@click.option("--seed", type=click.IntRange(0), help="Seed of the schedule; the experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, such as client.preset.")
def show(experiment: str, seed: int | None, scale: float, overrides: tuple[str, ...]) -> None:
    """Show EXPERIMENT as it would run: every value, and when each fault strikes where."""
    from rich.console import Console
    from rich.table import Table

    loaded = load(experiment, overrides, scale)
    console = Console()
    console.print(to_toml(loaded), markup=False, highlight=False, soft_wrap=True)
    table = Table("from", "to", "fault", "place", box=None, pad_edge=False)
    for window in loaded.windows(seed):
        table.add_row(f"{window.starts_at:.2f} s", f"{window.ends_at:.2f} s", window.fault.kind, window.place)
    console.print(table)


@chaos.command()
@click.option("--clients", type=click.IntRange(1), help="Size of the planned fleet.")
@click.option("--toxiproxy", type=_PATH, help="The toxiproxy-server to examine.")
def doctor(clients: int | None, toxiproxy: Path | None) -> int:
    """Check whether this machine can carry a run; ends with 4 when it cannot."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .toxiproxy.doctor import examine, worst
    from .toxiproxy.provision import find_toxiproxy

    console = Console()
    findings = examine(clients, lambda: find_toxiproxy(toxiproxy, say=_aside(console)))
    table = Table("", "what", "found", "advice", box=None, pad_edge=False)
    for finding in findings:
        mark = Text(finding.verdict, style=_STYLES[finding.verdict])
        table.add_row(mark, Text(finding.name), Text(finding.value), Text(finding.advice))
    console.print(table)
    return ExitCode.HARNESS if worst(findings) == "bad" else ExitCode.PASS


def _aside(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _stamp() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def _new_run_dir(experiment: Experiment, seed: int, out: Path | None) -> Path:
    from resilience.lab.run import require_lane
    from resilience.lab.run_directory import create_run_dir

    require_lane(experiment, Lane.REAL)  # before a directory exists
    return create_run_dir(experiment.name, lane=Lane.REAL, seed=seed, stamp=_stamp(), out=out, root=_ROOT)


def _execute(lane: RealLane, experiment: Experiment, seed: int, run_dir: Path, console: Console) -> RunOutcome:
    """One run with progress on the terminal; a signal ends it in order."""
    from resilience.lab.cancellation import Cancellation
    from resilience.lab.run import execute

    from .progress_view import show_progress
    from .signals import cancelled_by_signals

    cancellation = Cancellation()
    with (
        show_progress(console) as listener,
        cancelled_by_signals(cancellation, lambda line: click.echo(line, err=True)),
    ):
        return execute(lane, experiment, seed, run_dir, progress=listener, cancellation=cancellation)


def _report(outcome: RunOutcome, run_dir: Path, console: Console) -> int:
    """Print how the run ended and, unless it was interrupted, what the report says; returns the exit code."""
    if outcome.cause is not None:
        line = f"{outcome.status}: {outcome.cause}"
        console.print(line, style="bold red", soft_wrap=True, highlight=False, markup=False)
    if outcome.status is RunStatus.INTERRUPTED:
        return ExitCode.HARNESS
    from reports.build import build_report
    from reports.cli import exit_code, print_summary

    summary = build_report(run_dir)
    print_summary(summary, console)
    console.print(f"report: {run_dir / 'report.html'}", soft_wrap=True, highlight=False)
    code = exit_code(summary)
    died_under_test = outcome.cause is not None and code is ExitCode.PASS
    return ExitCode.FAIL if died_under_test else code
