"""How often the verdicts of the reports are wrong; ``RECORD=1`` writes the tables into docs/statistics.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.lab.coverage import BEGIN, END, Cell, CoverageRow, Verdicts, coverage, record

RUNS = 2000
PROMISED_UP_TO = 0.1
"""The true correlation up to which wrong verdicts stay at most 5 %."""

NOISE = 0.012
"""Two and a half standard errors of a share of 5 % in so many runs."""


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_wrong_verdicts_are_as_rare_as_stated(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rates, means = coverage(RUNS, seed=1)
    if os.environ.get("RECORD"):
        record(root / "docs" / "statistics.md", rates, means, RUNS)
    worst = [
        (row.cell, row.wrong)
        for row in rates
        if row.cell.correlation <= PROMISED_UP_TO and max(row.wrong) > 0.05 + NOISE
    ]
    assert worst == []
    assert any(row.cell.correlation <= PROMISED_UP_TO for row in rates)


def test_the_tables_are_written_between_their_marks_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n{END}\n\nafter\n")
    row = CoverageRow(
        Cell(9, 100, 0.05), (Verdicts(0, 0.3), Verdicts(0.061, 0.02), Verdicts(0.2, 0), Verdicts(1, 0)), 1
    )
    mean = CoverageRow(Cell(9, 100, 0.05), (Verdicts(0.9, 0), Verdicts(0.04, 0.06), Verdicts(0, 0.9)), 1)
    record(page, [row], [mean], 100)
    once = page.read_text()
    record(page, [row], [mean], 100)
    assert page.read_text() == once
    assert once.startswith("before\n\n")
    assert once.endswith(f"{END}\n\nafter\n")
    assert "| 9 x 100 | 0.05 | 0.0 % | **6.1 %** | 20.0 % | 100.0 % | 0.0 % | 0.0 % | 2.0 % | 30.0 % |" in once
    assert "| 9 x 100 | 0.05 | 90.0 % | 4.0 % | 0.0 % | 90.0 % | **6.0 %** | 0.0 % |" in once


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="page\\.md must have the lines"):
        record(page, [], [], 1)


def test_the_project_has_a_page_for_them(root: Path) -> None:
    text = (root / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
