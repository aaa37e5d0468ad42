"""``resilience chaos``: options in, a run directory and its report out. The only room of this package that prints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode, UsageError
from resilience.experiment.faults import EVERY_LANE
from resilience.experiment.loader import by_group, catalogue, load, to_toml
from resilience.extras import needs_extra
from resilience.lab.command import RepetitionOptions, repetition_options
from resilience.terminal import make_console, print_aside

from .drivers.cli import driver
from .systems.cli import compare_systems, systems

if TYPE_CHECKING:
    from rich.console import Console

    from .doctor.needs import FleetNeeds

_PATH = click.Path(path_type=Path)
_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


@click.group()
def chaos() -> None:
    """Inject faults into the network and the server under real clients, and judge how they recover."""


chaos.add_command(driver)
chaos.add_command(systems)
chaos.add_command(compare_systems)


@chaos.command()
@click.argument("experiment")
@click.option("--seed", type=click.IntRange(0), help="Seed of the run; the experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, such as client.preset.")
@click.option("--system", metavar="NAME|FILE", help="Run it on this system in place of its own; see `chaos systems`.")
@click.option(
    "--out",
    type=_PATH,
    help="The run directory itself, or that of the repetitions; empty or absent.  [default: a new one below runs/]",
)
@click.option(
    "--toxiproxy",
    metavar="PATH|URL",
    help="The toxiproxy-server to use, or the http://host:port of one that runs.  [default: found, or built once]",
)
@click.option("--workers", type=click.IntRange(1), help="Processes of clients.  [default: one per processor]")
@click.option("--db", help="Database URL of the quiz server.  [default: an SQLite file in the run directory]")
@click.option("--ignore-limits", is_flag=True, help="Start even if the run is not expected to fit this machine.")
@repetition_options
@needs_extra("chaos")
def run(
    experiment: str,
    seed: int | None,
    scale: float,
    overrides: tuple[str, ...],
    system: str | None,
    out: Path | None,
    toxiproxy: str | None,
    workers: int | None,
    db: str | None,
    ignore_limits: bool,
    repetition: RepetitionOptions,
) -> int:
    """Run EXPERIMENT (a file or a bundled name) against real processes and report on it.

    Exit codes: 0 pass, 1 target missed or invariant broken, 2 bad input, 3 inconclusive, 4 the laboratory failed, there
    was no steady state to begin with, or the run was interrupted. With --repeat the verdict is on all runs together.
    Ctrl-C once ends the processes in order and reports on what was recorded, twice kills them.
    """
    from reports.run_cli import RunRequest, run_and_report
    from resilience.lab.command import RUNS, interruptible
    from resilience.lab.progress_view import show_progress

    from .limits import planned_needs, require_room
    from .placeholders import provide_programs
    from .real_lane import RealLane
    from .systems.system import load_system, with_system
    from .targets.choice import require_target
    from .toxiproxy.choice import choose_toxiproxy
    from .toxiproxy.external import ExternalToxiproxy, require_external

    loaded = load(experiment, overrides, scale)
    loaded = loaded if system is None else with_system(loaded, load_system(system))
    plan = repetition.plan(loaded.seed if seed is None else seed)
    needs = planned_needs(loaded, seed, workers)
    if not ignore_limits:
        require_room(loaded.name, needs, out or RUNS)
    console = make_console(quiet=repetition.quiet)
    _print_cost_of_pages(needs, console)
    with interruptible():
        provide_programs(loaded, say=partial(print_aside, console))
    require_target(loaded, database=db)
    with interruptible():
        found = choose_toxiproxy(toxiproxy, say=partial(print_aside, console))
    if isinstance(found, ExternalToxiproxy):
        require_external(loaded, found)
    proxy = found if isinstance(found, ExternalToxiproxy) else found.path
    lanes = partial(RealLane, toxiproxy=proxy, workers=workers, database=db, ignores_limits=ignore_limits)
    return run_and_report(RunRequest(loaded, lanes, plan, out, show_progress), console)


def _print_cost_of_pages(needs: FleetNeeds, console: Console) -> None:
    """Say beforehand what opening a plan's pages costs."""
    from .doctor.needs import cost_of_pages

    cost = cost_of_pages(needs)
    if cost is not None:
        print_aside(console, cost)


@chaos.command(name="list")
def list_() -> None:
    """List the bundled experiments by group, with the question that each answers."""
    from rich.table import Table

    table = Table("name", "clients", "length", "faults", "lanes", "question", box=None, pad_edge=False)
    for group, members in by_group(catalogue()).items():
        table.add_row(group or "others", style="bold")
        for found in members:
            lanes = "all" if len(found.lanes) == len(EVERY_LANE) else ", ".join(found.lanes)
            about = (str(found.clients), f"{found.duration:g} s", str(len(found.windows())), lanes)
            table.add_row(f"  {found.name}", *about, found.question or found.title)
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

    from .doctor.needs import describe_needs
    from .limits import planned_needs

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
    needs = describe_needs(planned_needs(loaded, seed, None))
    console.print("", needs, sep="\n", markup=False, highlight=False, soft_wrap=True)


@chaos.command()
@click.argument("experiment", required=False)
@click.option("--clients", type=click.IntRange(1), help="Size of the planned fleet, where there is no experiment yet.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the run; the experiment's own by default.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Multiply every cohort's size.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, such as client.preset.")
@click.option("--workers", type=click.IntRange(1), help="Processes of clients.  [default: one per processor]")
@click.option("--toxiproxy", metavar="PATH|URL", help="The toxiproxy-server to examine, or the URL of one that runs.")
@click.option("--out", type=_PATH, help="Where runs are to be written.  [default: runs/]")
@needs_extra("chaos")
def doctor(
    experiment: str | None,
    clients: int | None,
    seed: int | None,
    scale: float,
    overrides: tuple[str, ...],
    workers: int | None,
    toxiproxy: str | None,
    out: Path | None,
) -> int:
    """Check whether this machine can carry a run of EXPERIMENT (a file or a bundled name), or of so many clients.

    Without either, says what the machine has. Ends with 4 when a run cannot be carried out.
    """
    from rich.table import Table
    from rich.text import Text

    from resilience.lab.command import RUNS, interruptible

    from .doctor.examination import examine, worst
    from .doctor.needs import needs_of_clients
    from .limits import client_processes, planned_needs
    from .toxiproxy.choice import choose_toxiproxy

    if experiment is not None and clients is not None:
        raise UsageError("--clients: the experiment says how many clients take part; use --scale for more or fewer")
    if experiment is None and (overrides or seed is not None or scale != 1.0):
        raise UsageError("--set, --seed, --scale: change an experiment; name it, as in `chaos doctor smoke --scale 10`")
    needs = None if clients is None else needs_of_clients(clients, client_processes(workers))
    if experiment is not None:
        needs = planned_needs(load(experiment, overrides, scale), seed, workers)
    console = make_console()
    with interruptible():
        findings = examine(
            needs, lambda: choose_toxiproxy(toxiproxy, say=partial(print_aside, console)), runs=out or RUNS
        )
    table = Table("", "what", "found", "advice", box=None, pad_edge=False)
    for finding in findings:
        mark = Text(finding.verdict, style=_STYLES[finding.verdict])
        table.add_row(mark, Text(finding.name), Text(finding.value), Text(finding.advice))
    console.print(table)
    return ExitCode.HARNESS if worst(findings) == "bad" else ExitCode.PASS


@chaos.command()
@click.argument("what", metavar="EXPERIMENT|RUN_DIR")
@click.option("--format", "_format", type=click.Choice(["chaostoolkit"]), default="chaostoolkit", show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Seed of the experiment's run; the experiment's own by default.")
@click.option(
    "--lane", type=click.Choice(["real", "virtual", "model"]), default="real", show_default=True, help="Where it runs."
)
@click.option("--run-dir", help="Where the exported experiment will run.  [default: runs/chaostoolkit/<name>]")
@click.option("--out", type=_PATH, help="The file to write.  [default: standard output]")
@needs_extra("reports")
def export(what: str, _format: str, seed: int | None, lane: str, run_dir: str | None, out: Path | None) -> None:
    """Export an experiment, or the journal of a run with its experiment, as JSON of the Chaos Toolkit.

    --seed, --lane and --run-dir are for an experiment; a run has its own.
    """
    import msgspec

    from resilience.eventlog.vocabulary import Lane

    from .chaostoolkit import export_run, to_experiment

    if Path(what).is_dir():
        if seed is not None or run_dir is not None:
            raise UsageError(f"{what} is a run: --seed and --run-dir are for an experiment")
        exported = export_run(Path(what))
    else:
        loaded = load(what)
        chosen = loaded.seed if seed is None else seed
        where = run_dir or f"runs/chaostoolkit/{loaded.name}"
        exported = to_experiment(loaded, what, lane=Lane(lane), seed=chosen, run_dir=where)
    text = msgspec.json.format(msgspec.json.encode(exported), indent=2).decode()
    if out is None:
        click.echo(text)
        return
    try:
        out.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror}") from error
    click.echo(f"exported: {out}")
