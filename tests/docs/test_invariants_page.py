"""docs/invariants.md describes every check, and each history that it shows breaks the check that it stands under."""

from __future__ import annotations

import re

import pytest

from reports.invariants import CHECKS, run_checks
from resilience.eventlog.vocabulary import Verdict

from ..support.written_history import read_history
from .markdown import blocks

PAGE = "docs/invariants.md"
ALSO = re.compile(r"^- This history also breaks (.*)\.$", re.MULTILINE)


def _section(page: str, name: str) -> str:
    """The section of a check, without its heading."""
    return page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_every_check_has_its_section_in_the_order_of_the_registry(pages: dict[str, str]) -> None:
    assert re.findall(r"^## (.*)$", pages[PAGE], re.MULTILINE) == list(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_section_states_the_rule_of_the_registry(pages: dict[str, str], name: str) -> None:
    rule = CHECKS[name][0]
    assert f"**{rule[0].upper()}{rule[1:]}.**" in _section(pages[PAGE], name)


@pytest.mark.parametrize("name", CHECKS)
def test_the_history_of_a_section_breaks_its_check_alone(pages: dict[str, str], name: str) -> None:
    """Alone, or with those that the section names; the check of the laboratory never fails, it is undecided."""
    (history,) = [block for block in blocks(pages[PAGE], "history") if block.heading == name]
    found = {item.name: item.verdict for item in run_checks(read_history(history.text))}
    if name == "faults_confirmed":
        assert (found.pop(name), set(found.values()) & {Verdict.FAIL}) == (Verdict.INCONCLUSIVE, set())
        return
    also = re.findall(r"`(\w+)`", " ".join(ALSO.findall(_section(pages[PAGE], name))))
    assert {broken for broken, verdict in found.items() if verdict is Verdict.FAIL} == {name, *also}
