"""Types as a reader of another language needs them: their JSON name, bounds, unit, and which named parts they hold."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping
from enum import Enum

import msgspec
from msgspec import inspect as mi

from docgen.sources import link
from resilience.quiz.questions import PRINTABLE

_FORMS = {PRINTABLE: "no control characters"}
_BEYOND_EVERYDAY = 20
"""Bits."""


def fields_of(owner: type) -> tuple[mi.Field, ...]:
    """The fields of a struct, as msgspec sees them."""
    info = mi.type_info(owner)
    if not isinstance(info, mi.StructType):
        raise TypeError(f"{owner.__name__} is not a struct")
    return info.fields


def members(union: object) -> tuple[type, ...]:
    """The classes of a union type."""
    return typing.get_args(union)


def parts_of(owners: tuple[type, ...]) -> list[type]:
    """The structs and enums that these hold, at whatever depth, in the order in which they are met."""
    found: dict[type, None] = {}
    waiting = list(owners)
    while waiting:
        owner = waiting.pop(0)
        for part in _held(owner):
            if part not in found and part not in owners:
                found[part] = None
                waiting.append(part)
    return list(found)


def type_name(kind: mi.Type, linked: Mapping[str, str]) -> str:
    """What stands in JSON: a word of JSON, a list of such, or a link to the named part."""
    if isinstance(kind, mi.Metadata):
        return type_name(kind.type, linked)
    if isinstance(kind, mi.StructType | mi.EnumType):
        return link(kind.cls.__name__, linked)
    if isinstance(kind, mi.VarTupleType | mi.ListType):
        return f"list of {type_name(kind.item_type, linked)}"
    if isinstance(kind, mi.UnionType):
        return " or ".join(type_name(part, linked) for part in kind.types)
    return _WORDS[type(kind)]


_WORDS: dict[type[mi.Type], str] = {
    mi.BoolType: "true or false",
    mi.StrType: "string",
    mi.IntType: "integer",
    mi.FloatType: "number",
    mi.NoneType: "null",
    mi.RawType: "object",
}


def bounds(kind: mi.Type) -> str:
    """What a value must keep to, in words; empty when anything goes."""
    if isinstance(kind, mi.Metadata):
        return bounds(kind.type)
    if isinstance(kind, mi.UnionType):
        return next((text for part in kind.types if (text := bounds(part))), "")
    if isinstance(kind, mi.IntType | mi.FloatType):
        return _range(kind)
    if isinstance(kind, mi.StrType):
        form = "" if kind.pattern is None else _FORMS.get(kind.pattern, f"of the form `{kind.pattern}`")
        return ", ".join(text for text in (_length(kind, "characters"), form) if text)
    if isinstance(kind, mi.VarTupleType | mi.ListType):
        inner = bounds(kind.item_type)
        return ", ".join(text for text in (_length(kind, "items"), f"each {inner}" if inner else "") if text)
    return ""


def default_of(field: mi.Field) -> object:
    """The default value of an optional field."""
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def unit_of(owner: type, name: str) -> str:
    """The unit in which a field counts: that of its annotation or of its name's ending; empty when it has none."""
    annotation = _annotation(owner, name)
    if "Seconds" in annotation or "Pause" in annotation or name.endswith("_s"):
        return "s"
    if "Instant" in annotation:
        return "s"
    return {"ms": "ms", "bytes": "bytes"}.get(name.rpartition("_")[2], "")


def is_enum(owner: object) -> bool:
    """Whether this is an enumeration."""
    return inspect.isclass(owner) and issubclass(owner, Enum)


def _held(owner: type) -> Iterator[type]:
    if not is_enum(owner):
        for field in fields_of(owner):
            yield from _named(field.type)


def _named(kind: mi.Type) -> Iterator[type]:
    match kind:
        case mi.StructType() | mi.EnumType():
            yield kind.cls
        case mi.VarTupleType() | mi.ListType():
            yield from _named(kind.item_type)
        case mi.Metadata():
            yield from _named(kind.type)
        case mi.UnionType():
            for part in kind.types:
                yield from _named(part)


def _annotation(owner: type, name: str) -> str:
    found = (vars(cls).get("__annotations__", {}).get(name) for cls in owner.__mro__)
    return str(next((text for text in found if text is not None), ""))


def _range(kind: mi.IntType | mi.FloatType) -> str:
    low = f"at least {_number(kind.ge)}" if kind.ge is not None else ""
    low = f"above {_number(kind.gt)}" if kind.gt is not None else low
    high = f"at most {_number(kind.le)}" if kind.le is not None else ""
    high = f"below {_number(kind.lt)}" if kind.lt is not None else high
    return ", ".join(text for text in (low, high) if text)


def _length(kind: mi.StrType | mi.VarTupleType | mi.ListType, what: str) -> str:
    low, high = kind.min_length or 0, kind.max_length
    if high is None:
        return f"at least {low} {what}" if low else ""
    return f"{low} to {high} {what}" if low else f"at most {high} {what}"


def _number(value: float) -> str:
    """Powers of two beyond everyday numbers are written as such."""
    for offset, rest in ((0, ""), (1, " - 1")):
        whole = int(abs(value)) + offset
        if whole.bit_length() > _BEYOND_EVERYDAY and whole.bit_count() == 1:
            return f"{'-' if value < 0 else ''}2^{whole.bit_length() - 1}{rest}"
    return f"{value:g}"
