"""Where the benchmarks' rows go: shown as they come, kept in build/, written into the documentation on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.benchmarks.lab.results import Row, keep, record

RecordRows = Callable[[Sequence[Row]], None]


@pytest.fixture
def record_rows(root: Path, capfd: pytest.CaptureFixture[str]) -> RecordRows:
    """Shows and keeps rows, then fails unless every target is met; ``RECORD=1`` rewrites the table in docs/ too."""

    def enter(rows: Sequence[Row]) -> None:
        with capfd.disabled():
            print("", *(row.line() for row in rows), sep="\n")  # noqa: T201 - the figure is for the terminal
        figures = keep(root / "build" / "benchmarks.json", rows)
        if os.environ.get("RECORD"):
            record(figures, root / "docs" / "performance.md")
        missed = [row.line() for row in rows if not row.met]
        assert not missed, "\n".join(missed)

    return enter
