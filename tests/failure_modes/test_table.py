"""The table of the failure modes and the tests of them agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.markdown import table_under

HERE = Path("tests") / "failure_modes"
PAGE = Path("docs") / "failure-modes.md"
LATER = re.compile(r"later: (browser part|several processes)$")
_TEST = re.compile(r"`([\w./]+\.py)::(\w+)`")
_NUMBER = re.compile(r"test_f(\d\d)_")


def rows(text: str) -> dict[str, str]:
    """The last column of each row, by the id in the first."""
    cells = table_under(text, "Failure modes")
    assert len({row[0] for row in cells}) == len(cells), "two rows have one number"
    return {row[0]: row[-1] for row in cells}


def named(cell: str) -> list[tuple[Path, str]]:
    """The tests that a cell names: file and function."""
    return [(Path(file) if "/" in file else HERE / file, test) for file, test in _TEST.findall(cell)]


def functions(file: Path) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def disagreements(text: str, root: Path) -> list[str]:
    """Where the page and the tests say different things."""
    table = rows(text)
    found = [] if list(table) == [f"F{i}" for i in range(1, 50)] else [f"the rows are {', '.join(table)}"]
    for number, cell in table.items():
        tests = named(cell)
        if not tests and not LATER.search(cell):
            found.append(f"{number} names neither a test nor who tests it later")
        found += [f"{file}::{test} does not exist" for file, test in tests if not exists(root / file, test)]
    shown = {(number, test) for number, cell in table.items() for _, test in named(cell)}
    for file in sorted((root / HERE).glob("test_*.py")):
        for test in sorted(functions(file)):
            of = _NUMBER.match(test)
            if of and (f"F{int(of[1])}", test) not in shown:
                found.append(f"{test} is not in the row of its number")
    return found


def exists(file: Path, test: str) -> bool:
    """Whether a file has this test."""
    return file.is_file() and test in functions(file)


def test_the_table_and_the_tests_agree(root: Path) -> None:
    assert disagreements((root / PAGE).read_text("utf-8"), root) == []


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("| F4 |", "| F99 |", "the rows are"),
        ("::test_f22_lost_ack`", "::test_f22_lost_acks`", "test_f22_lost_acks does not exist"),
        ("`test_answers.py::test_f22_lost_ack`", "", "F22 names neither"),
        ("later: several processes", "some day", "F34 names neither"),
        (
            " `test_time.py::test_f08_server_stall_of_the_server_alone`",
            "",
            "stall_of_the_server_alone is not in the row",
        ),
    ],
)
def test_a_disagreement_is_found(old: str, new: str, complaint: str, root: Path) -> None:
    text = (root / PAGE).read_text("utf-8")
    assert old in text
    assert any(complaint in line for line in disagreements(text.replace(old, new, 1), root))


def test_the_guide_warns_of_proxies_with_the_period_of_the_ping(root: Path) -> None:
    """F33: a configuration cannot know of the proxy before it, so that page must say it."""
    assert "idle timeout well above `heartbeat_interval`" in (root / "docs" / "operations.md").read_text("utf-8")
