"""``resilience sim profiles``, ``outages``, ``schedule``: show profiles, draw outages, make an experiment of them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.extras import needs_extra
from resilience.terminal import make_console

if TYPE_CHECKING:
    from .profile import NetworkProfile
    from .schedule import SilentFault

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("profile", required=False)
@needs_extra("sim")
def profiles(profile: str | None) -> None:
    """List the network profiles, or show PROFILE (a name or a .toml file) with the source of every number."""
    from .files import bundled_profiles, load_profile

    if profile is None:
        _list(list(bundled_profiles().values()))
    else:
        _show(load_profile(profile))


def _list(found: list[NetworkProfile]) -> None:
    from rich.table import Table

    from .describe import arrivals_of

    table = Table("name", "what", "outages", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.name, each.title, "; ".join(arrivals_of(each)))
    make_console().print(table)


def _show(profile: NetworkProfile) -> None:
    from .describe import parameter_rows, process_lines

    console = make_console()
    lines = [f"{profile.name}: {profile.title}", "", *process_lines(profile), ""]
    console.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)
    for key, value, basis in parameter_rows(profile):
        console.print(f"{key} = {value}  {basis}", markup=False, highlight=False, soft_wrap=True)


@click.command()
@click.argument("segments", nargs=-1, required=True, metavar="PROFILE=PARTICIPANTS...")
@click.option("--horizon", type=float, default=3600.0, show_default=True, help="Seconds in which outages begin.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of every draw.")
@click.option("--replication", type=click.IntRange(0), default=0, show_default=True, help="Which replication of it.")
@click.option("--out", type=_PATH, help="Write the outages to this CSV file.")
@needs_extra("sim")
def outages(segments: tuple[str, ...], horizon: float, seed: int, replication: int, out: Path | None) -> None:
    """Draw the outages of participants with these profiles.

    Such as "home-wifi=100 lte-moving+carrier-outage=50": profiles joined by + are laid over one another. Prints a
    summary; with --out every outage is a line of a CSV file that "sim schedule" makes an experiment of.
    """
    from .describe import summary_of
    from .files import parse_mix
    from .sampler import sample
    from .trace import numbered, write_trace

    timelines = sample(parse_mix(segments), horizon, seed=seed, replication=replication)
    if out is not None:
        write_trace(numbered(timelines), out)
    click.echo("\n".join(summary_of(timelines)))


@click.command()
@click.argument("trace", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="The experiment file to write.")
@click.option("--name", default="outages", show_default=True, help="Name of the experiment.")
@click.option(
    "--silent",
    type=click.Choice(["freeze", "blackhole"]),
    default="freeze",
    show_default=True,
    help="The fault for silent outages: connections survive a short freeze, and no blackhole.",
)
@click.option("--success", type=float, help="The success rate that the experiment expects.")
@click.option(
    "--round",
    "step",
    type=float,
    help="Round begins and ends to multiples of so many seconds, 0.1 to 60: similar outages then share a cohort.",
)
@click.option(
    "--max-cohorts", type=click.IntRange(1), default=100, show_default=True, help="Most links that it may need."
)
@needs_extra("sim")
def schedule(
    trace: Path,
    out: Path,
    name: str,
    silent: SilentFault,
    success: float | None,
    step: float | None,
    max_cohorts: int,
) -> None:
    """Make an experiment of TRACE, a CSV file of outages, so that it can be run against the real server.

    TRACE has the columns participant, start, end and, if any, kind (silent, refused, deploy or suspended), in seconds;
    "sim outages --out" writes one. Participants with the same outages share a cohort.
    """
    from reports.pages import failing_in_one_line
    from resilience.experiment.loader import to_toml

    from .describe import schedule_lines
    from .schedule import rounded, schedule_of
    from .trace import read_trace

    timelines = read_trace(trace).timelines
    made = schedule_of(timelines if step is None else rounded(timelines, step), name, silent, success, max_cohorts)
    with failing_in_one_line(out, "the experiment"):
        out.write_text(to_toml(made.experiment), encoding="utf-8")
    click.echo(
        "\n".join([*schedule_lines(made), f"run it with: resilience sim run {shlex.quote(str(out))} --lane virtual"])
    )
