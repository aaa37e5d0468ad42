"""Where figures go: kept by name, by machine, between the marks of a page."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.benchmarks.lab import results
from tests.benchmarks.lab.results import BEGIN, END, Row, keep, rank, record, spread


def row(name: str, ours: str = "5 ms", *, met: bool = True) -> Row:
    return Row(name, ours, "bare 4 ms", 1.25, "1 round", "at most 2", met)


def test_a_row_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "build" / "figures.json"
    keep(file, [row("a"), row("b")])
    figures = keep(file, [row("a", "6 ms")])
    assert [(r.name, r.ours) for r in figures.rows] == [("a", "6 ms"), ("b", "5 ms")]


def test_another_machine_begins_an_empty_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "figures.json"
    machine = keep(file, [row("a")]).machine
    monkeypatch.setattr(results, "this_machine", lambda: msgspec.structs.replace(machine, cores=999))
    assert [r.name for r in keep(file, [row("b")]).rows] == ["b"]


def test_the_table_is_written_between_its_marks_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n{END}\n\nafter\n")
    record(keep(tmp_path / "figures.json", [row("a")]), page)
    record(keep(tmp_path / "figures.json", [row("b", met=False)]), page)
    text = page.read_text()
    assert text.startswith("before\n\n")
    assert text.endswith(f"{END}\n\nafter\n")
    assert text.count("| a | 5 ms | bare 4 ms | 1.25 | 1 round | at most 2 | yes |") == 1
    assert "| b | 5 ms | bare 4 ms | 1.25 | 1 round | at most 2 | **no** |" in text


def test_the_project_has_a_page_for_it(root: Path) -> None:
    text = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="page\\.md must have the lines"):
        record(keep(tmp_path / "figures.json", [row("a")]), page)
    assert page.read_text() == "nothing\n"


def test_ranks_and_spreads() -> None:
    assert rank([5.0, 1.0, 4.0, 2.0, 3.0], 0.5) == 3.0
    assert rank(list(range(1, 101)), 0.99) == 99
    assert rank([7.0], 0.99) == 7.0
    assert spread([2.0, 1.0]) == "1.00 to 2.00, 2 rounds"
    assert spread([2.0]) == "1 round"
