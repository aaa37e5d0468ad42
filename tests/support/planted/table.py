"""Plants every defect in turn and prints which check names it: ``python -m tests.support.planted.table``.

Runs in the virtual lane, as ``tests/conformance/test_client_checks.py`` does; ends with 1 if a defect was not named.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import pytest

from . import DEFECTS
from .planting import Defect
from .runs import EXPERIMENTS, complaints, virtual

ROW = "{:18} {:54} {:10} {:8} {:28} {:>7}"


def line(defect: Defect) -> tuple[str, bool]:
    """The row of one defect, and whether its check names it; the classes are sound again afterwards."""
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patched:
        defect.plant(patched.setattr)
        named = defect.check in complaints(virtual(1, EXPERIMENTS[defect.experiment]))
    checker = defect.check if named else f"not named: {defect.check}"
    seconds = f"{time.monotonic() - began:.1f}"
    return ROW.format(defect.name, defect.what, defect.experiment, "virtual", checker, seconds), named


def print_table(defects: Iterable[Defect]) -> bool:
    """Print a row for each defect; returns whether every one was named."""
    print(ROW.format("name", "defect", "experiment", "lane", "checker", "seconds"))  # noqa: T201 - a command
    all_named = True
    for defect in defects:
        text, named = line(defect)
        print(text, flush=True)  # noqa: T201
        all_named &= named
    return all_named


if __name__ == "__main__":
    sys.exit(0 if print_table(DEFECTS.values()) else 1)
