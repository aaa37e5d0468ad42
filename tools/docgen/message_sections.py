"""A message or a part of one as a section of Markdown: what it means, and its fields. Knows no message."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from docgen import schema
from docgen.sources import markdown, meaning, summary, table

_REFERENCE = re.compile(r":class:`~?([\w.]+)`")


def tag_of(message: type) -> str:
    """The value of ``type``."""
    return str(message.__struct_config__.tag)  # type: ignore[attr-defined]


def message_section(owner: type, name: str, links: Mapping[str, str]) -> str:
    """The section of a struct under this heading; a class in ``links`` becomes its link."""
    rows = [_row(owner, field, kind, links) for field, kind in schema.properties(owner).items()]
    heading = f"### {name}\n{wire_text(summary(owner), links)}"
    if len(rows) == 1:
        field, kind, limits, text = rows[0]
        return f"{heading}\n\n- {field}: {', '.join(filter(None, (kind, limits)))}. {text}"
    return f"{heading}\n\n{table(['field', 'type', 'bounds', 'meaning'], rows)}" if rows else heading


def wire_text(docstring: str, links: Mapping[str, str]) -> str:
    """A docstring as Markdown; on the wire ``None`` is called ``null``."""
    return markdown(docstring, links).replace("`None`", "`null`")


def _row(owner: type, name: str, field: schema.Schema, links: Mapping[str, str]) -> list[str]:
    text = meaning(owner, name) or ""
    kind = schema.type_name(field, links)
    if not kind and (named := _REFERENCE.search(text)):
        kind = wire_text(named.group(), links)
    return [f"`{name}`", kind + _optional(owner, name, field), schema.bounds(field), wire_text(text, links)]


def _optional(owner: type, name: str, field: schema.Schema) -> str:
    if name in schema.required(owner):
        return ""
    default = field["default"]
    empty = default is None or isinstance(default, dict)
    return ", optional" if empty else f", default `{msgspec.json.encode(default).decode()}`"
