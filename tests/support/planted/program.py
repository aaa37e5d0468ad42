"""A program with planted defects: ``python -m tests.support.planted.program DEFECT[,DEFECT] MODULE [ARGUMENT]...``."""

from __future__ import annotations

import runpy
import sys

from tests.support.planted import DEFECTS


def run() -> None:
    """Plant the defects that the first argument names, then be the module that the second one names."""
    names, module = sys.argv.pop(1), sys.argv.pop(1)
    for name in names.split(","):
        DEFECTS[name].plant(setattr)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run()
