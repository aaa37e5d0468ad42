"""Lets the tests import what makes the documentation, and reads its pages once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="session")
def pages(root: Path) -> dict[str, str]:
    """The text of every page, by its path from the root."""
    found = [*sorted((root / "docs").glob("*.md")), root / "README.md", root / "ARCHITECTURE.md"]
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in found}
