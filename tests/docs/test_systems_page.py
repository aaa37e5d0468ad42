"""docs/systems.md: its file of a system is accepted, its commands name what there is, its codes are the program's."""

from __future__ import annotations

import re

from chaos.cli import chaos
from chaos.systems.choice import tell_apart
from chaos.systems.node_programs import OLDEST_NODE
from chaos.systems.system import bundled_systems, parse_system
from resilience.errors import ExitCode

from .markdown import blocks, table_under

PAGE = "docs/systems.md"


def test_the_file_of_a_system_is_accepted(pages: dict[str, str]) -> None:
    (block,) = blocks(pages[PAGE], "toml")
    assert parse_system(block.text, "mine.toml", "mine").title == "Our server and its web client"


def test_the_commands_name_what_there_is(pages: dict[str, str]) -> None:
    """But the file of the reader."""
    lines = [line.partition("#")[0] for block in blocks(pages[PAGE], "sh") for line in block.text.splitlines()]
    for line in lines:
        command, *words = line.removeprefix("resilience chaos ").split()
        assert command in chaos.commands
        if command == "compare-systems":
            tell_apart([word for word in words if word not in {"mine.toml", "--repeat", "3"}], 1.0)
    assert len(lines) == 5


def test_every_exit_code_is_explained(pages: dict[str, str]) -> None:
    rows = table_under(pages[PAGE], "## Reading the table")
    assert [int(row[0]) for row in rows] == sorted(ExitCode)


def test_what_is_needed_is_what_the_program_asks_for(pages: dict[str, str]) -> None:
    assert f"Node.js {OLDEST_NODE} or newer" in pages[PAGE]
    for name, system in bundled_systems().items():
        assert re.search(rf"\| `{name}` \| {re.escape(system.title)} \|", pages[PAGE])
