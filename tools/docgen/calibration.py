"""The parameters of the shipped calibration, from its file."""

from __future__ import annotations

from pathlib import Path

from sim.calibration.calibration_file import SHIPPED, FittedParameter, read_calibration

from .sources import table


def shipped() -> str:
    """Where it comes from, and every parameter with its interval, in milliseconds."""
    found = read_calibration(Path(SHIPPED))
    machine, latest = found.machine, max(run.lateness_s for run in found.runs)
    names = sorted({run.experiment for run in found.runs})
    head = (
        f"{machine.processor}, {machine.processors} processors, {machine.system}; {found.made_at[:10]}; "
        f"{len(found.runs)} runs of "
        f"{', '.join(names)}. At worst a client's loop ran {latest:.2f} s late. {found.note}"
    ).strip()
    rows = [[f"`{name}`", *_row(each)] for name, each in found.parameters.items()]
    heads = ["parameter", "ms", "95 % interval", "spread", "samples", "clusters", "runs"]
    return "\n\n".join([head, table(heads, rows)])


def _row(each: FittedParameter) -> list[str]:
    known = each.low is not None and each.high is not None
    interval = f"{1000 * (each.low or 0):.3f} to {1000 * (each.high or 0):.3f}" if known else "not fitted"
    counts = [str(number) for number in (each.samples, each.clusters, each.runs)]
    return [f"{1000 * each.value:.3f}", interval, f"{each.spread:.0%}", *counts]
