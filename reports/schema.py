"""The JSON Schema of ``summary.json``, made from the summary's own types. Shipped as a file, for other tools."""

from __future__ import annotations

from typing import Any

import msgspec

from .summary import SCHEMA_VERSION, Summary

FILE_NAME = "summary.schema.json"
"""In this package; ``make docs`` renews it."""


def summary_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of version ``SCHEMA_VERSION``."""
    schema = msgspec.json.schema(Summary)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:quiz-resilience:summary:{SCHEMA_VERSION}",
        "title": f"summary.json of quiz-resilience, version {SCHEMA_VERSION}",
    }
    return head | schema


def encoded_schema() -> bytes:
    """The schema as the file holds it: indented, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(summary_schema()), indent=2) + b"\n"
