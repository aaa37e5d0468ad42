"""How often comparisons are wrong, and what they find; ``RECORD=1`` writes the table into docs/comparison.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from scipy import stats

from tests.benchmarks.lab.comparing import BEGIN, CHANGES, END, FAMILY, ComparedRow, comparisons, record

TABLES = int(os.environ.get("TABLES", "400"))
PROMISED_UP_TO = 0.1
"""The true correlation up to which tables without a change show one in at most 5 %."""


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_false_alarms_are_as_rare_as_stated(root: Path) -> None:
    """The limit allows for the simulation's own noise (binomial, one in a thousand)."""
    rows = list(comparisons(TABLES, seed=1))
    if os.environ.get("RECORD"):
        record(root / "docs" / "comparison.md", rows)
    limit = stats.binom.ppf(0.999, TABLES, FAMILY)
    assert [row for row in rows if row.correlation <= PROMISED_UP_TO and row.alarms > limit] == []


def test_the_table_is_written_between_its_marks_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n{END}\n\nafter\n", encoding="utf-8")
    rows = [
        ComparedRow("paired", 0.05, 5, 100, (0.25,) * len(CHANGES)),
        ComparedRow("independent", 0.2, 6, 100, (1.0,) * len(CHANGES)),
    ]
    record(page, rows)
    once = page.read_text(encoding="utf-8")
    record(page, rows)
    assert page.read_text(encoding="utf-8") == once
    assert once.startswith("before\n\n")
    assert once.endswith(f"{END}\n\nafter\n")
    assert "| paired | 0.05 | 5 of 100 tables | 25 % | 25 % |" in once
    assert "| independent | 0.2 | **6 of 100 tables** | 100 % |" in once


def test_the_project_has_a_page_for_it(root: Path) -> None:
    text = (root / "docs" / "comparison.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
