"""What building a report loads: most of its time for a small run would else be spent on imports."""

from __future__ import annotations

import subprocess
import sys


def test_a_report_loads_neither_matplotlib_nor_a_database_library() -> None:
    """Both are for other commands; each costs as much as the analysis of a thousand episodes."""
    code = (
        "import sys, reports.build; print([m for m in ('matplotlib', 'sqlalchemy', 'simpy', 'websockets') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
