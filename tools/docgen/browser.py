"""The figures in ``docs/browser.md``: what the tests in the browser measured last, in ``docs/browser/figures.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docgen.sources import table

FILE = Path(__file__).parents[2] / "docs" / "browser" / "figures.json"


def figures() -> str:
    """The machine, the times and the counts of the last run that was written."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    machine = found["machine"]
    words = f"Chromium {machine['chromium']} on {machine['system']}, {machine['processors']} processors"
    load = ", ".join(f"{load:g}" for load in machine["load"])
    times = [
        [each["what"], str(each["n"]), *(f"{each[name]:.2f} s" for name in ("least", "median", "most"))]
        for each in found["times"].values()
    ]
    counts = [[each["what"], str(each["count"])] for each in found["counts"].values()]
    return "\n\n".join(
        [
            f"{words}; the machine's load over the last 1, 5 and 15 minutes was {load}.",
            table(["from, to", "samples", "least", "median", "most"], times),
            table(["over all tests", "number"], counts),
        ]
    )
