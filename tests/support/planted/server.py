"""``resilience`` with planted defects: ``python -m tests.support.planted.server DEFECT[,DEFECT] serve ...``."""

from __future__ import annotations

import sys

from resilience.cli import main
from tests.support.planted import DEFECTS


def run() -> None:
    """Plant the defects that the first argument names, then be the command."""
    for name in sys.argv.pop(1).split(","):
        DEFECTS[name].plant(setattr)
    main()


if __name__ == "__main__":
    run()
