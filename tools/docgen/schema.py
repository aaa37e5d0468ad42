"""Types in words for readers of another language, from the JSON Schema that ``msgspec`` derives from the code.

Knows schemas and the few words for them, no message and no setting.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from docgen.sources import link
from resilience.validation import RULES_IN_WORDS

Schema = Mapping[str, Any]

_WORDS = {
    "object": "object",
    "boolean": "true or false",
    "string": "string",
    "integer": "integer",
    "number": "number",
    "null": "null",
}
_NUMBERS = {2**53 - 1: "2^53 - 1", 2**31: "2^31", -(2**31): "-2^31"}


@functools.cache
def components(*types: type) -> Mapping[str, Schema]:
    """The schemas of these classes and of all that they hold, by class name, in the order in which they are met."""
    return msgspec.json.schema_components(types, ref_template="{name}")[1]


def properties(owner: type) -> Mapping[str, Schema]:
    """The fields of a struct, without the tag."""
    fields: Mapping[str, Schema] = components(owner)[owner.__name__]["properties"]
    return {name: field for name, field in fields.items() if name in owner.__struct_fields__}  # type: ignore[attr-defined]


def required(owner: type) -> frozenset[str]:
    """The names of the fields that have no default."""
    return frozenset(components(owner)[owner.__name__]["required"])


def type_name(schema: Schema, linked: Mapping[str, str]) -> str:
    """A word of JSON, a list of such, or a link to the named part; empty for a value that the schema leaves open."""
    if "$ref" in schema:
        return link(schema["$ref"], linked)
    if "anyOf" in schema:
        return " or ".join(type_name(part, linked) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {type_name(schema['items'], linked)}"
    return _WORDS.get(schema.get("type", ""), "")


def bounds(schema: Schema) -> str:
    """The limits of a value in words; empty for a value without limits."""
    if "anyOf" in schema:
        return next(filter(None, map(bounds, schema["anyOf"])), "")
    inner = bounds(schema["items"]) if "items" in schema else ""
    texts = (
        _range(schema),
        _length(schema, "Length", "characters"),
        RULES_IN_WORDS.get(schema.get("pattern", ""), ""),
        _length(schema, "Items", "items"),
        inner and f"each {inner}",
    )
    return ", ".join(filter(None, texts))


def _range(schema: Schema) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    if schema.keys() >= {"minimum", "maximum"}:
        return f"{_number(schema['minimum'])} to {_number(schema['maximum'])}"
    return ", ".join(f"{word} {_number(schema[key])}" for key, word in words.items() if key in schema)


def _length(schema: Schema, what: str, unit: str) -> str:
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}")
    if high is None:
        return f"at least {low} {unit}" if low else ""
    return f"{low} to {high} {unit}" if low else f"at most {high} {unit}"


def _number(value: float) -> str:
    return _NUMBERS.get(int(value), f"{value:g}")
