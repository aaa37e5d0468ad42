"""Meanings of fields and members that have no docstring in their source yet, by ``Class.name``.

The source is the place for them: an entry moves there as the docstring below its field, and a test rejects an entry
whose field has one.
"""

from __future__ import annotations

UNSAID: dict[str, str] = {}
