"""Just enough Markdown to check a page: headings with their anchors, links, fenced blocks."""

from __future__ import annotations

import re
from typing import NamedTuple

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block: its language, its text, and the heading that it stands under."""

    language: str
    text: str
    heading: str


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """What a link to a heading of this page may name: lower case, words joined by dashes, repeated ones numbered."""
    found: dict[str, int] = {}
    for _, heading in _HEADING.findall(prose(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = found.get(slug, -1) + 1
        found[slug] = number
        if number:
            found[f"{slug}-{number}"] = 0
    return set(found)


def links(text: str) -> list[str]:
    """Where the page's links and pictures point."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(text)))


def blocks(text: str, language: str) -> list[Block]:
    """The fenced blocks in this language."""
    found = []
    for fence in _FENCE.finditer(text):
        above = _HEADING.findall(prose(text[: fence.start()]))
        if fence.group(1) == language:
            found.append(Block(language, fence.group(2), above[-1][1] if above else ""))
    return found


def table_under(text: str, heading: str) -> list[list[str]]:
    """The rows, without the head, of the first table below this heading."""
    section = text.partition(f"{heading}\n")[2]
    table = re.search(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    lines = table.group().splitlines()[2:] if table else []
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
