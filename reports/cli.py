"""``resilience report``: builds a run's report, compares runs. The analysis is imported when a command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode, ResilienceError
from resilience.extras import needs_extra
from resilience.terminal import make_console

from .compare_cli import baseline, capacity, compare, trend

if TYPE_CHECKING:
    from rich.console import Console

    from .summary import ExpectationResult, Summary

STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow", "not_applicable": "dim"}
_DIRECTORY = click.Path(path_type=Path)


@click.group()
def report() -> None:
    """Build the report of a run, compare several runs, follow a trend, or answer from a sweep."""


@report.command()
@click.argument("run_dir", type=_DIRECTORY)
@click.option("--experiment", type=_DIRECTORY, default=None, help="Judge by the expectations of this experiment file.")
@needs_extra("reports")
def build(run_dir: Path, experiment: Path | None) -> None:
    """Analyse RUN_DIR and write its report; ends with the exit code of the run's verdict."""
    sys.exit(report_run(run_dir, make_console(), experiment))


report.add_command(compare)
report.add_command(baseline)
report.add_command(trend)
report.add_command(capacity)


def report_run(run_dir: Path, console: Console, experiment: Path | None = None) -> int:
    """Build the report of a run, whatever its end, and print it; returns the exit code of its verdict.

    It is judged by its own expectations, or by those of the file ``experiment``. A quiet console gets one line.
    """
    from .build import build_report

    summary = build_report(run_dir, experiment)
    if console.quiet:
        print_verdict(summary)
        return int(summary.exit_code)
    print_summary(summary, console)
    console.print(f"report: {run_dir / 'report.html'}", soft_wrap=True, highlight=False, markup=False)
    return int(summary.exit_code)


def report_own_run(run_dir: Path, console: Console) -> int:
    """:func:`report_run` for the command that made the run: what cannot be reported is the laboratory's failure."""
    try:
        return report_run(run_dir, console)
    except ResilienceError as error:
        click.echo(f"error: {error}", err=True)
        return ExitCode.HARNESS


@report.command()
@click.argument("experiment")
@click.option("--target", type=click.FloatRange(0, 1), help="Success rate to prove; default: the experiment's own.")
@click.option("--confidence", type=click.FloatRange(0.5, 1, max_open=True), help="Confidence of the verdict.")
@click.option("--correlation", type=click.FloatRange(0, 1), help="Within-event correlation to assume.")
@needs_extra("reports")
def plan(experiment: str, target: float | None, confidence: float | None, correlation: float | None) -> None:
    """Say whether EXPERIMENT (a file or a bundled name) can ever prove its targets; ends with 3 if it cannot."""
    from resilience.experiment.loader import load

    from .plan import plan_lines, plans

    found = plans(load(experiment), target, confidence, correlation)
    click.echo("\n".join(plan_lines(found)))
    sys.exit(ExitCode.PASS if all(item.can_pass for item in found) else ExitCode.INCONCLUSIVE)


def print_verdict(summary: Summary) -> None:
    """Print the verdict in one line."""
    from . import findings

    banner = findings.banner(summary)
    console = make_console()
    said = f"{banner.word}: {summary.experiment}, seed {summary.seed}: {banner.said}"
    console.print(said, soft_wrap=True, highlight=False, markup=False)


def print_summary(summary: Summary, console: Console) -> None:
    """Print the verdict, how sure it is, the expectations, what the laboratory objects to, and what does not hold."""
    from rich.text import Text

    from . import findings, formatting

    style, banner = STYLES[summary.verdict.value], findings.banner(summary)
    console.print(Text.assemble((f" {banner.word} ", f"{style} reverse"), " ", banner.said))
    for reason in findings.other_reasons(summary):
        console.print(Text(reason))
    if sure := findings.certainty(summary):
        console.print(Text(sure, style="dim"))
    print_expectations(summary.expectations, console)
    reference = findings.reference(summary)
    if reference:
        console.print(Text(reference))
    for objection, text in findings.objections(summary):
        console.print(Text.assemble((f"{objection}: ", STYLES["inconclusive"]), text))
    for check in findings.not_holding(summary.invariants):
        mark = Text(f"{formatting.SYMBOLS[check.verdict]} ", style=STYLES[check.verdict.value])
        console.print(Text.assemble(mark, f"{check.rule} ({check.checked:,}): {check.detail}"))
    console.print(Text(findings.holding(summary.invariants)))


def print_expectations(expectations: Sequence[ExpectationResult], console: Console) -> None:
    """Print a table of what was asked, what was measured, and the verdict on each; nothing without any."""
    from rich.table import Table
    from rich.text import Text

    from . import formatting

    targets = Table("expectation", "value", "target", "interval", "n", "verdict", box=None, pad_edge=False)
    for item in expectations:
        value, bounds = formatting.measured(item), formatting.interval(item.metric, item.low, item.high)
        tag = Text(f"{formatting.SYMBOLS[item.verdict]} {item.verdict.value}", style=STYLES[item.verdict.value])
        targets.add_row(Text(formatting.scope(item)), value, formatting.target(item), bounds, f"{item.n:,}", tag)
    if expectations:
        console.print(targets)
