"""Experiments show failure modes that exist; each mode that a fault can cause is shown by one of them."""

from __future__ import annotations

import re
from pathlib import Path

from docgen.catalogue import UNSHOWN, failure_modes

from resilience.experiment.loader import catalogue, load
from tests.support.planted import DEFECTS

SHOWN = {mode for name in catalogue() for mode in load(name).shows}


def test_what_is_shown_exists() -> None:
    assert set(failure_modes()) >= SHOWN


def test_a_mode_is_shown_or_cannot_be() -> None:
    assert not SHOWN & set(UNSHOWN)
    assert {f"F{i}" for i in range(1, 38)} <= SHOWN | set(UNSHOWN)


def test_every_planted_defect_is_in_the_table_under_its_check(root: Path) -> None:
    """With the seconds of a run in either lane, so a new defect is measured before it is there."""
    page = (root / "docs" / "experiments.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| `(\w+)` \| [\d.]+ \| [\d.]+ \|$", page, re.MULTILINE)
    assert rows == [(defect.name, defect.what, defect.check) for defect in DEFECTS.values()]
