"""Meanings of fields and members that their source does not give yet, by ``Class.name``.

The source is the place for them: an entry moves there as the docstring below its field, and a test refuses one that the
source has taken over.
"""

from __future__ import annotations

UNSAID: dict[str, str] = {}
