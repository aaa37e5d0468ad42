"""What building a report loads: most of its time for a small run would else be spent on imports."""

from __future__ import annotations

import subprocess
import sys


def test_a_report_loads_neither_matplotlib_nor_statistics_nor_a_database_library() -> None:
    """They are for other commands and for rare runs; each costs as much as the analysis of a thousand episodes."""
    code = (
        "import sys, reports.build; unwanted = 'matplotlib', 'scipy.stats', 'sqlalchemy', 'simpy', 'websockets'; "
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
