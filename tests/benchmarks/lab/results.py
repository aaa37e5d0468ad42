"""Where figures go: one row each, kept in a JSON file, shown as a table, written into the documentation on request.

Rows of one file come from one machine and one set of versions; a run elsewhere, or of other versions, begins a new one.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

BEGIN, END = "<!-- figures: written by make bench RECORD=1 -->", "<!-- end of figures -->"
COMMAND = "make bench RECORD=1"


class Row(msgspec.Struct, frozen=True):
    """One figure: ``ours`` and ``reference``, in words with their unit; ``ratio`` of the two; its ``spread``.

    ``target`` says what must hold, ``met`` whether it does.
    """

    name: str
    ours: str
    reference: str
    ratio: float | None
    spread: str
    target: str
    met: bool

    def line(self) -> str:
        """The row for a terminal."""
        ratio = "" if self.ratio is None else f", ratio {self.ratio:.2f}"
        verdict = "met" if self.met else "MISSED"
        return f"{self.name}: {self.ours}, reference {self.reference}{ratio} ({self.spread}); {self.target}: {verdict}"


class Machine(msgspec.Struct, frozen=True):
    """What a figure depends on besides the code."""

    cores: int
    processor: str
    system: str
    python: str
    versions: dict[str, str]


class Figures(msgspec.Struct, frozen=True):
    """Everything measured on one machine."""

    machine: Machine
    measured_at: str
    rows: tuple[Row, ...]


def this_machine() -> Machine:
    """What this process runs on."""
    names = ("websockets", "uvloop", "msgspec", "sqlalchemy")
    return Machine(
        os.cpu_count() or 1,
        _processor(),
        f"{platform.system()} {platform.release().partition('-')[0]}",
        platform.python_version(),
        {name: version(name) for name in names},
    )


def keep(file: Path, fresh: Sequence[Row]) -> Figures:
    """Put these rows into the file, in the place of older ones of the same name; returns what it says now."""
    machine, rows = this_machine(), {}
    if file.exists():
        old = msgspec.json.decode(file.read_bytes(), type=Figures)
        rows = {row.name: row for row in old.rows} if old.machine == machine else {}
    rows |= {row.name: row for row in fresh}
    figures = Figures(machine, datetime.now(UTC).date().isoformat(), tuple(rows.values()))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    return figures


def record(figures: Figures, page: Path) -> None:
    """Write the table between its two marks; ``ValueError`` when the page has not both."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} must have the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{after}", encoding="utf-8")


def table(figures: Figures) -> str:
    """The figures in Markdown, with what they were measured on and how."""
    machine = figures.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    lines = [
        f"Measured {figures.measured_at} with `{COMMAND}` on {machine.cores} cores of {machine.processor},",
        f"{machine.system}, Python {machine.python}, {versions}.",
        "",
        "| figure | ours | reference | ratio | spread over rounds | target | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures.rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        cells = (row.name, row.ours, row.reference, ratio, row.spread, row.target, "yes" if row.met else "**no**")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def rank(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed, by nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(round(share * len(ranked), 6)) - 1)]


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """From the least to the most, and of how many."""
    low, high = form.format(min(values)), form.format(max(values))
    return f"{low} to {high}, {len(values)} rounds" if len(values) > 1 else "1 round"


def _processor() -> str:
    models = [line for line in _cpuinfo() if line.startswith("model name")]
    return models[0].partition(":")[2].strip() if models else platform.machine()


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
