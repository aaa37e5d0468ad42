"""What the pages say between markers is what the code says now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import docs

GENERATED = (
    "ARCHITECTURE.md",
    *(
        f"docs/{name}.md"
        for name in ("configuration", "drivers", "experiments", "faults", "network-profiles", "protocol", "resume")
    ),
)


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_is_up_to_date(name: str, pages: dict[str, str]) -> None:
    """Else: ``make docs``."""
    assert docs.regenerated(pages[name]) == pages[name], f"{name} is out of date: run `make docs`"


def test_every_part_that_can_be_made_is_shown_once(pages: dict[str, str]) -> None:
    shown = [name for text in pages.values() for name in re.findall(r"<!-- generated: (.+?) -->", text)]
    assert sorted(shown) == sorted(docs.PARTS)


def test_only_what_stands_between_markers_is_replaced() -> None:
    page = "before\n<!-- generated: close codes -->\nold\n<!-- end -->\nafter\n"
    once = docs.regenerated(page)
    assert once.startswith("before\n<!-- generated: close codes -->\n\n| code |")
    assert once.endswith("|\n\n<!-- end -->\nafter\n")
    assert "old" not in once
    assert docs.regenerated(once) == once


@pytest.mark.parametrize(
    "page, complaint",
    [
        ("<!-- generated: tea -->\n<!-- end -->\n", "no such part: tea"),
        ("<!-- generated: close codes -->\n", "without its partner"),
        ("<!-- end -->\n", "without its partner"),
        ("<!-- generated: words -->\n<!-- generated: words -->\n<!-- end -->\n", "without its partner"),
    ],
)
def test_a_marker_that_means_nothing_is_refused(page: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        docs.regenerated(page)


def test_running_it_rewrites_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, other = tmp_path / "a.md", tmp_path / "docs" / "b.md"
    other.parent.mkdir()
    page.write_text("<!-- generated: retry classes -->\n<!-- end -->\n", "utf-8")
    other.write_text("no markers\n", "utf-8")
    monkeypatch.setattr(docs, "ARCHITECTURE", page)
    monkeypatch.setattr(docs, "DOCS", other.parent)
    docs.main()
    docs.main()
    assert "`retry_advised`" in page.read_text("utf-8")
    assert other.read_text("utf-8") == "no markers\n"
    assert capsys.readouterr().out.splitlines() == [
        "a.md: rewritten",
        "b.md: unchanged",
        "a.md: unchanged",
        "b.md: unchanged",
    ]
