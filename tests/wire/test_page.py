"""The table of cases in docs/protocol.md names every group of cases once."""

from __future__ import annotations

from pathlib import Path

from tests.docs.markdown import table_under

from .cases import CASES

NOT_PLAYED = {"12", "13"}
"""Cases of compression, which no end agrees to."""


def test_every_group_of_cases_is_on_the_page(root: Path) -> None:
    rows = table_under((root / "docs" / "protocol.md").read_text("utf-8"), "### WebSocket")
    named = [group for cases, _, _ in rows for group in cases.split(", ")]
    assert sorted(named) == sorted({*CASES, *NOT_PLAYED})
