"""``resilience report compare | baseline | trend | capacity``. The analysis is imported when a command runs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode, UsageError
from resilience.extras import needs_extra
from resilience.terminal import make_console

if TYPE_CHECKING:
    from rich.console import Console

    from .compare import Margins
    from .comparison import Comparison
    from .measured import Measured


_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
_DIRECTORY = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)
_RUNS = click.argument("runs", type=_DIRECTORY, nargs=-1, required=True)
_FAIL_ON_WORSE = click.option(
    "--fail-on-worse", is_flag=True, help="Exit with 1 if any metric is worse, or beyond its margin; 3 if undecided."
)
_MARGIN = click.option(
    "--margin",
    "margins",
    multiple=True,
    metavar="NAME=VALUE",
    help="Within what lanes agree: seconds (0.25), tail_seconds (0.5: p95), share (0.02), count (0.25 dials), or a "
    "metric by its name. Repeatable.",
)


@click.command()
@_RUNS
@click.option("--out", type=_DIRECTORY, default=None, help="Folder for compare.*; default: the last run's directory.")
@click.option("--baseline", "stored", type=_FILE, default=None, help="Compare one run with this stored baseline.")
@_MARGIN
@_FAIL_ON_WORSE
@needs_extra("reports")
def compare(
    runs: tuple[Path, ...], out: Path | None, stored: Path | None, margins: tuple[str, ...], fail_on_worse: bool
) -> None:
    """Compare every run with the first, or one run with a baseline.

    Exit codes: 1 if a run newly breaks an invariant or newly misses a target, 3 if a run has no data to compare, 4 if
    a run was not carried out, 2 for bad input, else 0.
    """
    from .compare_pages import write_comparison

    accepted, where = read_margins(margins), out or runs[-1]
    comparison = write_comparison(_measured(runs, stored), where, accepted)
    console = make_console()
    print_comparison(comparison, console)
    console.print(f"comparison: {where / 'compare.html'}", soft_wrap=True, highlight=False)
    sys.exit(comparison.exit_code(fail_on_worse=fail_on_worse))


def _measured(runs: tuple[Path, ...], stored: Path | None) -> list[Measured]:
    from .baseline import read_baseline
    from .measured import read_runs

    if stored is None:
        if len(runs) < 2:  # noqa: PLR2004 - one run has nothing to be compared with
            raise UsageError("compare needs at least two run directories, or --baseline FILE and one")
        return list(read_runs(runs))
    if len(runs) > 1:
        raise UsageError(f"--baseline compares one run directory, not {len(runs)}")
    return [read_baseline(stored), *read_runs(runs)]


@click.command()
@click.argument("run_dir", type=_DIRECTORY)
@click.option("--out", type=_FILE, required=True, help="The file to write.")
@needs_extra("reports")
def baseline(run_dir: Path, out: Path) -> None:
    """Store what a later comparison with RUN_DIR needs, in one small file.

    A run that was not carried out (4) or has no affected episode (3) is no baseline, and no file is written.
    """
    from .baseline import write_baseline
    from .measured import read_runs

    (run,) = read_runs([run_dir])
    if run.side.broken or not run.side.affected:
        click.echo(f"{run_dir}: no baseline: {run.side.broken or 'it has no affected episode'}", err=True)
        sys.exit(ExitCode.HARNESS if run.side.broken else ExitCode.INCONCLUSIVE)
    write_baseline(run, out)
    click.echo(f"baseline: {out}")


@click.command()
@_RUNS
@click.option("--out", type=_DIRECTORY, default=Path(), help="Folder for trend.*; default: the current one.")
@_MARGIN
@_FAIL_ON_WORSE
@needs_extra("reports")
def trend(runs: tuple[Path, ...], out: Path, margins: tuple[str, ...], fail_on_worse: bool) -> None:
    """Show a few metrics over RUNS in the order of time, and where they changed.

    Exit codes as of compare, for the newest run.
    """
    from .trend import read_in_order, write_trend

    accepted = read_margins(margins)
    found = write_trend(read_in_order(runs), out, accepted)
    console = make_console()
    console.print(f" {found.headline} ", style=f"{_STYLES[found.tone]} reverse", highlight=False)
    for change in found.changes:
        console.print(f"  {change}", highlight=False, markup=False)
    console.print(f"trend: {out / 'trend.html'}", soft_wrap=True, highlight=False)
    sys.exit(found.exit_code(fail_on_worse=fail_on_worse))


@click.command()
@click.argument("sweep_dir", type=_DIRECTORY)
@click.option("--out", type=_DIRECTORY, default=None, help="Folder for capacity.*; default: the sweep's directory.")
@needs_extra("reports")
def capacity(sweep_dir: Path, out: Path | None) -> None:
    """Answer the question of the sweep in SWEEP_DIR.

    Exit codes: 0 if a capacity holds the target, 1 if none of those swept does, 3 if the sweep cannot decide it, 2 for
    a missing or foreign sweep.
    """
    from .capacity import write_capacity

    where = out or sweep_dir
    report = write_capacity(sweep_dir, where)
    console = make_console()
    console.print(f" {report.headline} ", style=f"{_STYLES[report.verdict.value]} reverse", highlight=False)
    console.print(report.sentence, highlight=False, markup=False)
    for caution in report.cautions:
        console.print(f"  {caution}", highlight=False, markup=False)
    console.print(f"capacity: {where / 'capacity.html'}", soft_wrap=True, highlight=False)
    sys.exit(report.exit_code)


def read_margins(settings: tuple[str, ...]) -> Margins:
    """``seconds=0.5`` and the like; :class:`~resilience.errors.UsageError` for a name or value that is none."""
    from .compare import Margins
    from .comparison import JUDGED

    general = [name for name in Margins.__struct_fields__ if name != "metrics"]
    values: dict[str, float] = {}
    metrics: dict[str, float] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"--margin {setting}: must be NAME=VALUE with a positive number")
        if name not in general and name not in JUDGED:
            raise UsageError(f"--margin {setting}: no such name; use one of {', '.join([*general, *JUDGED])}")
        (values if name in general else metrics)[name] = value
    return Margins(**values, metrics=metrics)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the verdict, the checks that changed, and one table for each run after the first, biggest changes first."""
    from rich.table import Table
    from rich.text import Text

    from . import formatting
    from .compare_pages import span, verdict_words

    console.print(Text(f" {comparison.headline} ", style=f"{_STYLES[comparison.tone]} reverse"), soft_wrap=True)
    if comparison.also:
        console.print(Text(comparison.also), soft_wrap=True)
    for check in comparison.checks:
        line = f"{check.change.value}: {check.kind} {check.name} ({check.label}): {check.detail}"
        console.print(Text(line, style=_STYLES["fail"] if check.fails else "dim"), soft_wrap=True)
    for note in (*comparison.notes, *comparison.doubts):
        console.print(Text(note, style="dim"), soft_wrap=True)
    first, *others = comparison.labels
    for number, label in enumerate(others):
        table = Table(box=None, pad_edge=False)
        table.add_column("metric", no_wrap=True)
        for head in (first, label, "change", "interval", "verdict"):
            table.add_column(head)
        for row, gap in comparison.ordered:
            if gap is row.gaps[number]:
                values = (formatting.metric_value(row.metric, row.values[i]) for i in (0, number + 1))
                change, said = formatting.change(row.metric, gap.absolute), verdict_words(row, gap)
                table.add_row(row.metric, *values, change, span(row.metric, gap), said)
        console.print(table)
        console.print()
