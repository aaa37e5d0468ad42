"""The page of faults has every kind, with what it cannot imitate, and its example is an experiment that is accepted."""

from __future__ import annotations

import re

import pytest

from resilience.experiment.faults import kinds
from resilience.experiment.loader import parse

from .markdown import blocks

PAGE = "docs/faults.md"
AROUND = 'name = "all"\nduration = 200.0\n\n[[cohorts]]\nname = "office"\nclients = 2\n\n'


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_a_section_that_says_what_it_cannot_imitate(kind: str, pages: dict[str, str]) -> None:
    section = pages[PAGE].partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    assert "Cannot imitate: " in section


def test_no_section_is_about_a_kind_that_is_gone(pages: dict[str, str]) -> None:
    sections = re.findall(r"^## ([a-z_]+)$", pages[PAGE], re.MULTILINE)
    assert sections == list(kinds())


def test_the_example_is_accepted_and_has_every_kind(pages: dict[str, str]) -> None:
    (block,) = blocks(pages[PAGE], "toml")
    experiment = parse(AROUND + block.text, "faults.md")
    assert [fault.kind for fault in experiment.faults] == list(kinds())
