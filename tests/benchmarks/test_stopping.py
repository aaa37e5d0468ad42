"""How often repetitions that stop early end with a wrong verdict; ``RECORD=1`` writes the table into the page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.lab.stopping import (
    BEGIN,
    END,
    RATES,
    TARGET,
    StoppingCell,
    StoppingVerdicts,
    record,
    stopping_table,
)

RUNS = 1000
NOISE = 0.018
"""Two and a half standard errors of a share of 5 % in so many."""


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_stopping_early_is_wrong_no_more_often_than_stated(root: Path) -> None:
    rows = stopping_table(RUNS, seed=1)
    if os.environ.get("RECORD"):
        record(root / "docs" / "statistics.md", rows, RUNS)
    at_target = RATES.index(TARGET)
    wrong = [(cell, found[at_target]) for cell, found in rows if max(found[at_target][:2]) > 0.05 + NOISE]
    assert wrong == []


def test_the_table_is_written_between_its_marks_again_and_again(tmp_path: Path, root: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n{END}\n\nafter\n")
    rows = [(StoppingCell(10, 3, 100, 0.05), [StoppingVerdicts(0.021, 0.012, 9.8)] * len(RATES))]
    record(page, rows, 100)
    once = page.read_text()
    record(page, rows, 100)
    assert page.read_text() == once
    assert "| 10 | 0.05 | 2.1% / 1.2%, 9.8 |" in once
    text = (root / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="page\\.md must have the lines"):
        record(page, rows, 100)
