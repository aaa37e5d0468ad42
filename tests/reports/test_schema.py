"""The shipped schema is that of the summary, and a summary has its shape."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from reports.build import analyse
from reports.render import to_json
from reports.schema import FILE_NAME, encoded_schema, summary_schema
from reports.summary import SCHEMA_VERSION, Summary

SMALL = Path(__file__).parent.parent / "golden" / "small"


def _shipped() -> bytes:
    """The file of the installed package."""
    return files("reports").joinpath(FILE_NAME).read_bytes()


def test_the_shipped_file_is_the_generated_one() -> None:
    """``make docs`` renews it."""
    assert _shipped() == encoded_schema()


def test_the_schema_names_its_version() -> None:
    schema = summary_schema()
    assert schema["$id"].endswith(f":{SCHEMA_VERSION}")
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_a_summary_has_only_what_the_schema_names() -> None:
    schema = msgspec.json.decode(_shipped())
    value = msgspec.json.decode(to_json(analyse(SMALL)[2]))
    assert wrong(value, schema, schema["$defs"], "summary") == []
    assert wrong(value | {"verdict": "perhaps"}, schema, schema["$defs"], "summary") == [
        "summary.verdict: no choice fits"
    ]
    assert wrong({}, schema, schema["$defs"], "summary")


def test_unknown_fields_are_read_by_older_tools() -> None:
    """Additions keep the version: a reader ignores what it does not know."""
    value = msgspec.json.decode(to_json(analyse(SMALL)[2])) | {"later": 1}
    assert msgspec.convert(value, Summary).schema_version == SCHEMA_VERSION


TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def wrong(value: Any, schema: dict[str, Any], defs: dict[str, Any], path: str) -> list[str]:  # noqa: ANN401 - any JSON
    """Where a value breaks the parts of JSON Schema that the file uses."""
    if "$ref" in schema:
        return wrong(value, defs[schema["$ref"].rpartition("/")[2]], defs, path)
    if "anyOf" in schema:
        fits = any(not wrong(value, choice, defs, path) for choice in schema["anyOf"])
        return [] if fits else [f"{path}: no choice fits"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{path}: no choice fits"]
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        return [f"{path}: not of type {schema['type']}"]
    found = [f"{path}.{name}: missing" for name in schema.get("required", []) if name not in value]
    if isinstance(value, dict):
        rest = schema.get("additionalProperties")
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, rest)
            if not isinstance(inner, dict):
                found.append(f"{path}.{name}: not in the schema")
            else:
                found += wrong(item, inner, defs, f"{path}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        found += [line for i, item in enumerate(value) for line in wrong(item, schema["items"], defs, f"{path}[{i}]")]
    return found
