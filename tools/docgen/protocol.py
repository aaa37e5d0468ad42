"""The reference parts of ``docs/protocol.md``: messages, named parts, words and close codes."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pydoc import locate
from typing import Any

import msgspec
from msgspec import inspect as mi

from docgen import shapes
from docgen.samples import sample_json
from docgen.sources import markdown, meaning, summary, table
from resilience.policy.close_codes import CloseCode, RetryClass, retry_class
from resilience.protocol import messages as m

CLIENT, HOST, SERVER = "client to server", "host to server", "server to client"
_CROSS_REFERENCE = re.compile(r":class:`~?([\w.]+)`")


def client_messages() -> tuple[type, ...]:
    """What participants say."""
    return tuple(kind for kind in shapes.members(m.ClientMessage) if kind not in host_messages())


def host_messages() -> tuple[type, ...]:
    """What hosts say."""
    return shapes.members(m.HostMessage)


def server_messages() -> tuple[type, ...]:
    """What servers say."""
    return shapes.members(m.ServerMessage)


def all_messages() -> tuple[type, ...]:
    """Every message, each once."""
    return (*client_messages(), *host_messages(), *server_messages())


def parts() -> list[type]:
    """The structs and enumerations that messages hold or name, in the order in which they are met."""
    found = dict.fromkeys(shapes.parts_of(all_messages()))
    waiting = [*all_messages(), *found]
    while waiting:
        for part in _mentioned(waiting.pop(0)):
            if part not in found and part not in all_messages():
                found[part] = None
                waiting += [part, *(held for held in shapes.parts_of((part,)) if held not in found)]
    return list(found)


def structs() -> list[type]:
    """Those of the parts that have fields."""
    return [part for part in parts() if not shapes.is_enum(part)]


def enums() -> list[type[Enum]]:
    """Those of the parts that are words."""
    return [part for part in parts() if issubclass(part, Enum)]


def tag_of(message: type) -> str:
    """The value of ``type``."""
    return str(message.__struct_config__.tag)  # type: ignore[attr-defined]


@functools.cache
def headings() -> Mapping[str, str]:
    """By class name: the heading that tells of it."""
    return {part.__name__: part.__name__ for part in parts()} | {kind.__name__: tag_of(kind) for kind in all_messages()}


# what goes into the page ----------------------------------------------------------------------------------------------


def index() -> str:
    """All messages with their direction and first sentence."""
    rows = [
        [f"[`{tag_of(kind)}`](#{tag_of(kind)})", direction, _text(_first_sentence(summary(kind)))]
        for direction, kinds in (
            (CLIENT, client_messages()),
            (HOST, host_messages()),
            (SERVER, server_messages()),
        )
        for kind in kinds
    ]
    return table(["message", "direction", "meaning"], rows)


def chapter(kinds: tuple[type, ...], direction: str) -> str:
    """One section for each message: meaning, fields, example."""
    return "\n\n".join(_section(kind, f"### {tag_of(kind)}", f"*{direction}*") for kind in kinds)


def named_parts() -> str:
    """One section for each struct that messages hold."""
    return "\n\n".join(_section(kind, f"### {kind.__name__}", "") for kind in structs())


def words() -> str:
    """One section for each enumeration: its values and what they mean."""
    return "\n\n".join(_words_of(kind) for kind in enums())


def close_codes() -> str:
    """Every close code, its class and meaning, in the order of their numbers."""
    rows = [
        [str(code.value), f"`{code.name.lower()}`", f"`{retry_class(code).value}`", _said(CloseCode, code.name)]
        for code in sorted(CloseCode)
    ]
    return table(["code", "name", "class", "meaning"], rows)


def retry_classes() -> str:
    """What a client does after each class of ending."""
    return table(["class", "what a client does"], [[f"`{c.value}`", _said(RetryClass, c.name)] for c in RetryClass])


# parts ----------------------------------------------------------------------------------------------------------------


def _section(owner: type, heading: str, direction: str) -> str:
    body = [heading, direction, _text(summary(owner)), _fields(owner)]
    if direction:
        body.append(f"```json\n{sample_json(owner)}\n```")
    return "\n\n".join(text for text in body if text)


def _fields(owner: type) -> str:
    rows = [_row(owner, field) for field in shapes.fields_of(owner)]
    return table(["field", "type", "unit", "required", "bounds", "meaning"], rows) if rows else "No fields."


def _row(owner: type, field: mi.Field) -> list[str]:
    text = meaning(owner, field.name) or ""
    kind = shapes.type_name(field.type, headings())
    named = _CROSS_REFERENCE.search(text) if isinstance(field.type, mi.RawType) else None
    if named is not None:
        kind = _text(named.group())
    required = "yes" if field.required else f"no; {_default(shapes.default_of(field))}"
    unit = shapes.unit_of(owner, field.name)
    return [f"`{field.name}`", kind, unit, required, shapes.bounds(field.type), _text(text)]


def _default(value: object) -> str:
    if value is None:
        return "absent"
    return f"`{msgspec.json.encode(value).decode()}`"


def _words_of(kind: type[Enum]) -> str:
    rows = [[f"`{member.value}`", _said(kind, member.name)] for member in kind]
    return f"### {kind.__name__}\n\n{_text(summary(kind))}\n\n{table(['value', 'meaning'], rows)}"


def _said(owner: type, name: str) -> str:
    return _text(meaning(owner, name) or "")


def _text(docstring: str) -> str:
    """As Markdown; on the wire ``None`` is called ``null``."""
    return markdown(docstring, headings()).replace("`None`", "`null`")


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.?]) |\n", text)[0]


def _mentioned(owner: type) -> Iterator[type]:
    names = [] if shapes.is_enum(owner) else [field.name for field in shapes.fields_of(owner)]
    for text in (summary(owner), *(meaning(owner, name) or "" for name in names)):
        for path in _CROSS_REFERENCE.findall(text):
            part = _resolved(path, owner)
            if inspect.isclass(part) and (shapes.is_enum(part) or issubclass(part, msgspec.Struct)):
                yield part


def _resolved(path: str, owner: type) -> Any:  # noqa: ANN401 - whatever has that name
    return getattr(sys.modules[owner.__module__], path, None) if "." not in path else locate(path)
