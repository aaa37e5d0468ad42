"""No page points at what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from .markdown import anchors, blocks, links, table_under


def broken(name: str, pages: dict[str, str], root: Path) -> list[str]:
    """The relative links of a page that lead nowhere, file or heading."""
    return [link for link in links(pages[name]) if "://" not in link and not leads(link, root / name, root)]


def leads(link: str, page: Path, root: Path) -> bool:
    """Whether this link of a page leads to a file inside the project, and to a heading if it names one."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(root):
        return False
    return not anchor or anchor in anchors(target.read_text("utf-8"))


def test_every_link_leads_somewhere(pages: dict[str, str], root: Path) -> None:
    assert {name: dead for name in pages if (dead := broken(name, pages, root))} == {}


@pytest.mark.parametrize(
    "text, dead",
    [
        ("[a](b.md)", []),
        ("[a](b.md#two-words)", []),
        ("[a](#here-1)\n# Here\n# Here\n", []),
        ("[a](https://example.org/x#y)", []),
        ("`[a](gone.md)`\n```\n[a](gone.md)\n```\n", []),
        ("[a](gone.md)", ["gone.md"]),
        ("![a](gone.png)", ["gone.png"]),
        ("[a](b.md#three)", ["b.md#three"]),
        ("[a](#here)", ["#here"]),
        ("[a](../outside.md)", ["../outside.md"]),
    ],
)
def test_a_dead_link_is_found(text: str, dead: list[str], tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside.md").write_text("", "utf-8")
    (inside / "b.md").write_text("# Two words\n```\n# three\n```\n", "utf-8")
    (inside / "a.md").write_text(text, "utf-8")
    assert broken("a.md", {"a.md": text}, inside) == dead


def test_markdown_is_read_as_readers_read_it() -> None:
    text = "# A `b` (c), d_e\n```json\n{}\n```\n| x |\n| --- |\n| 1 \\| 2 |\n"
    assert anchors(text) == {"a-b-c-d_e"}
    assert blocks(text, "json") == [("json", "{}\n", "A `b` (c), d_e")]
    assert table_under(text, "```") == [["1 \\| 2"]]
