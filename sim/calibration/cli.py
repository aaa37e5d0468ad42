"""``resilience sim calibrate`` and ``validate``. The analysis is imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode
from resilience.extras import needs_extra
from resilience.terminal import make_console

if TYPE_CHECKING:
    from .calibration_file import Calibration
    from .validation import Validation

_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
_RUNS = click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True)


@click.command()
@_RUNS
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--note", default="", help="What is to be known of the circumstances, such as other work of the machine.")
@needs_extra("sim")
def calibrate(runs: tuple[Path, ...], out: Path, note: str) -> int:
    """Fit the costs of the model lane to RUNS, run directories of chaos run, on the machine that made them.

    "sim run --calibration FILE" uses the file that it writes.

    Exit codes: 0 a file was written, 2 a directory that is no usable run, 3 nothing could be fitted, 4 a run whose
    files are missing or contradict one another, or a file that cannot be written.
    """
    from .calibrate import calibrate as fit_to_runs
    from .calibrate import doubts_about
    from .calibration_file import write_calibration

    found = fit_to_runs(runs, note)
    console = make_console()
    if not any(each.fitted for each in found.parameters.values()):
        console.print("nothing could be fitted: these runs have too few events", markup=False, highlight=False)
        return ExitCode.INCONCLUSIVE
    write_calibration(found, out)
    _print_parameters(found)
    for doubt in doubts_about(found):
        console.print(doubt, markup=False, highlight=False, soft_wrap=True)
    console.print(f"calibration: {out}", markup=False, highlight=False, soft_wrap=True)
    return ExitCode.PASS


def _print_parameters(calibration: Calibration) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in ("parameter", "milliseconds", "95 % interval", "spread", "samples", "clusters", "runs"):
        table.add_column(head, no_wrap=True)
    for name, each in calibration.parameters.items():
        is_known = each.low is not None and each.high is not None
        interval = f"{(each.low or 0) * 1000:.3f} … {(each.high or 0) * 1000:.3f}" if is_known else "not fitted"
        spread = f"{each.spread * 100:.0f} %"
        counts = (str(number) for number in (each.samples, each.clusters, each.runs))
        table.add_row(name, f"{each.value * 1000:.3f}", interval, spread, *counts)
    make_console().print(table)


@click.command()
@_RUNS
@click.option(
    "--calibration",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("shipped"),
    show_default=True,
    help='The file of "sim calibrate", or "shipped": the one that comes with this program.',
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("validation"),
    show_default=True,
    help="Folder for validation.json and validation.html.",
)
@click.option(
    "--replications",
    type=click.IntRange(2, 1000),
    default=39,
    show_default=True,
    help="How often the model predicts each run; the interval of 39 holds 95 %.",
)
@click.option(
    "--accepted-gaps",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A list of accepted gaps instead of the shipped one.",
)
@needs_extra("sim")
def validate(runs: tuple[Path, ...], file: Path, out: Path, replications: int, accepted_gaps: Path | None) -> int:
    """Compare RUNS, run directories of chaos run, with what the calibrated model lane predicts of them.

    The calibration must not have been fitted to any of them.

    Exit codes: 0 every goal is met, 1 a goal is missed, 2 a directory or file that cannot be used, 3 too little data,
    4 a run whose files are missing or contradict one another, or a report that cannot be written.
    """
    from reports.pages import failing_in_one_line
    from resilience.lab.command import interruptible

    from .accepted_gaps import read_accepted_gaps
    from .calibration_file import read_calibration
    from .validate import validate as compare
    from .validate import write_validation

    calibration, gaps = read_calibration(file), read_accepted_gaps(accepted_gaps)
    with interruptible() as begun:
        begun.remedy = "nothing was written: run it again"
        with failing_in_one_line(out, "the validation"):
            out.mkdir(parents=True, exist_ok=True)
        found = compare(runs, calibration, str(file), replications=replications, gaps=gaps, progress=_say)
        write_validation(found, out)
    _print_validation(found)
    make_console().print(f"validation: {out / 'validation.html'}", soft_wrap=True, highlight=False, markup=False)
    return found.exit_code


def _say(line: str) -> None:
    make_console().print(line, soft_wrap=True, highlight=False, markup=False)


def _print_validation(validation: Validation) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    console.print(
        Text(f" {validation.headline} ", style=f"{_STYLES[validation.verdict.value]} reverse"), soft_wrap=True
    )
    table = Table(box=None, pad_edge=False)
    for head in ("runs of", "goal", "figure", "limit", "n", "verdict"):
        table.add_column(head)
    for each in validation.results:
        value = "" if each.value is None else f"{each.value:.4g}"
        bounds = "" if each.low is None else f" ({each.low:.4g} … {each.high:.4g})"
        verdict = f"{each.verdict.value}, accepted gap" if each.accepted else each.verdict.value
        table.add_row(each.scope, each.goal.value, value + bounds, each.limit, str(each.n), verdict)
    console.print(table)
