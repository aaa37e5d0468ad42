"""Plants every defect in turn and prints which check names it: ``python -m tests.support.planted.table [--lane real]``.

Runs in the virtual lane, as ``tests/conformance/test_client_checks.py`` does, or with the defect in the process of the
server or in those of the clients. Ends with 1 if a defect was not named.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from chaos.toxiproxy.provision import find_toxiproxy

from . import DEFECTS
from .planting import Defect
from .runs import EXPERIMENTS, complaints, real, run_with, virtual

ROW = "{:18} {:61} {:10} {:8} {:28} {:>7}"

Complaints = Callable[[Defect, pytest.MonkeyPatch], dict[str, str]]
"""Plants a defect until the patch ends, and runs the experiment."""


def in_virtual_time(defect: Defect, patched: pytest.MonkeyPatch) -> dict[str, str]:
    """What is found with the defect in this process."""
    defect.plant(patched.setattr)
    return complaints(virtual(1, EXPERIMENTS[defect.experiment]))


def over_processes() -> Complaints:
    """What is found with the defect in its process, or in all processes of clients."""
    binary = find_toxiproxy(None, say=click.echo)

    def found(defect: Defect, patched: pytest.MonkeyPatch) -> dict[str, str]:
        run_with([defect.name], patched)
        with tempfile.TemporaryDirectory() as folder:
            return complaints(real(1, binary, Path(folder) / "run", EXPERIMENTS[defect.experiment]))

    return found


def line(defect: Defect, lane: str, find: Complaints) -> tuple[str, bool]:
    """The row of one defect, and whether its check names it; the classes are sound again afterwards."""
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patched:
        named = defect.check in find(defect, patched)
    checker = defect.check if named else f"not named: {defect.check}"
    seconds = f"{time.monotonic() - began:.1f}"
    return ROW.format(defect.name, defect.what, defect.experiment, lane, checker, seconds), named


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(DEFECTS)))
@click.option("--lane", type=click.Choice(["virtual", "real"]), default="virtual", show_default=True)
def main(names: tuple[str, ...], lane: str) -> None:
    """Print a row for each defect of NAMES, or for all."""
    find = in_virtual_time if lane == "virtual" else over_processes()
    click.echo(ROW.format("name", "defect", "experiment", "lane", "checker", "seconds"))
    all_named = True
    for name in names or DEFECTS:
        text, named = line(DEFECTS[name], lane, find)
        click.echo(text)
        all_named &= named
    sys.exit(0 if all_named else 1)


if __name__ == "__main__":
    main()
