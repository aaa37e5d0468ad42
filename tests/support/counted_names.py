"""Ids and tokens that count up, the same for every caller: easy to read in a test."""

from __future__ import annotations

import itertools
from collections.abc import Callable


def counted(prefix: str = "p", start: int = 1, width: int = 1) -> Callable[[str], str]:
    """Make ``p1``, ``p2`` … in the order of asking; ``width`` pads the number with zeros."""
    numbers = itertools.count(start)
    return lambda _who: f"{prefix}{next(numbers):0{width}d}"
