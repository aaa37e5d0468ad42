"""docs/invariants.md describes every check, and each history that it shows breaks the check that it stands under."""

from __future__ import annotations

import re

import pytest

from reports.frames import RunHistory
from reports.invariants import CHECKS, run_checks
from resilience.eventlog.vocabulary import Verdict

from ..support.client_world import CLIENT_CHECKS, changed
from ..support.written_history import read_history
from .markdown import blocks

PAGE = "docs/invariants.md"
SHOWN = "What clients were shown"
HARNESS = ("faults_confirmed", "faults_reach_their_links")
ALSO = re.compile(r"^- This history also breaks (.*)\.$", re.MULTILINE)


def _section(page: str, name: str) -> str:
    """The section of a check, without its heading."""
    return page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_every_check_has_its_section_in_the_order_of_the_registry(pages: dict[str, str]) -> None:
    sections = re.findall(r"^## (.*)$", pages[PAGE], re.MULTILINE)
    assert [name for name in sections if name != SHOWN] == list(CHECKS)


def _history(page: str, name: str) -> RunHistory:
    """The history of a section: written out, or as a difference to the sound run of clients."""
    own = [block for block in (*blocks(page, "history"), *blocks(page, "difference")) if block.heading == name]
    (block,) = own
    if block.language == "history":
        return read_history(block.text)
    (sound,) = blocks(page, "shown")
    return changed(sound.text.splitlines(), block.text.splitlines())


def test_the_sound_run_of_clients_breaks_nothing(pages: dict[str, str]) -> None:
    (sound,) = blocks(pages[PAGE], "shown")
    found = {item.name: item.verdict for item in run_checks(changed(sound.text.splitlines(), ()), CLIENT_CHECKS)}
    assert set(found.values()) == {Verdict.PASS, Verdict.NOT_APPLICABLE}


@pytest.mark.parametrize("name", CHECKS)
def test_a_section_states_the_rule_of_the_registry(pages: dict[str, str], name: str) -> None:
    rule = CHECKS[name].words
    assert f"**{rule[0].upper()}{rule[1:]}.**" in _section(pages[PAGE], name)


@pytest.mark.parametrize("name", CHECKS)
def test_the_history_of_a_section_breaks_its_check_alone(pages: dict[str, str], name: str) -> None:
    """Alone, or with those that the section names; the check of the laboratory never fails, it is undecided."""
    judged = CLIENT_CHECKS if name in CLIENT_CHECKS else CHECKS  # the log of the sound run of clients is all but empty
    found = {item.name: item.verdict for item in run_checks(_history(pages[PAGE], name), judged)}
    if name in HARNESS:
        assert (found.pop(name), set(found.values()) & {Verdict.FAIL}) == (Verdict.INCONCLUSIVE, set())
        return
    also = re.findall(r"`(\w+)`", " ".join(ALSO.findall(_section(pages[PAGE], name))))
    assert {broken for broken, verdict in found.items() if verdict is Verdict.FAIL} == {name, *also}
