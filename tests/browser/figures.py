"""What the proofs in the browser measure: how long until people see what, and the outcome of their answers.

Every run of these tests prints its figures at the end; with ``FIGURES=1`` it writes them to the file from which
``make docs`` renews the tables in ``docs/browser.md``. Counts add up over all tests, times over all samples.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "docs" / "browser" / "figures.json"

TIMES = {
    "cut_to_amber_s": "a cut link, to the amber banner",
    "silence_to_amber_s": "a silent link, to the amber banner",
    "loss_to_red_s": "a loss, to the red banner (`preset=classic`, in the page's own time)",
    "reachable_to_live_s": "the link is usable again, to the end of the banner",
}
COUNTS = {
    "answers": "answers with the verdict *accepted*",
    "lost": "of these, not in the database",
    "counted_twice": "questions for which the database holds two answers of one participant",
    "said_saved": "kills of the browser while the page called an answer or a place saved",
    "falsely_saved": "of these, not there when the browser was back",
}


class Figures:
    """Samples of times, in seconds, and counts; one for all tests of a process."""

    def __init__(self) -> None:
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._counts: Counter[str] = Counter()
        self.chromium = ""

    def time(self, name: str, seconds: float) -> None:
        """One more sample of one of :data:`TIMES`."""
        assert name in TIMES, name
        self._times[name].append(seconds)

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of :data:`COUNTS`."""
        assert name in COUNTS, name
        self._counts[name] += number

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not (self._times or self._counts)

    def as_dict(self) -> dict[str, Any]:
        """All of it, with the machine's load when it is asked for."""
        times = {
            name: {
                "what": TIMES[name],
                "n": len(samples),
                "least": round(min(samples), 2),
                "median": round(statistics.median(samples), 2),
                "most": round(max(samples), 2),
            }
            for name, samples in sorted(self._times.items())
        }
        machine = {
            "chromium": self.chromium,
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
            "processors": os.cpu_count(),
            "load": [round(load, 1) for load in os.getloadavg()],
        }
        counts = {name: {"what": what, "count": self._counts[name]} for name, what in COUNTS.items()}
        return {"machine": machine, "times": times, "counts": counts}

    def write(self) -> None:
        """Renew the file from which the documentation has its table."""
        FILE.write_text(json.dumps(self.as_dict(), indent=2) + "\n", "utf-8")

    def lines(self) -> list[str]:
        """For people."""
        found = self.as_dict()
        times = [
            f"{each['what']}: median {each['median']} s, {each['least']} to {each['most']} s, {each['n']} samples"
            for each in found["times"].values()
        ]
        counts = [f"{each['what']}: {each['count']}" for each in found["counts"].values()]
        load = found["machine"]["load"]
        return [*times, *counts, f"load {load[0]} on {found['machine']['processors']} processors"]


FIGURES = Figures()
