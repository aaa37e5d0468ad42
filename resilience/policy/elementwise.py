"""The lesser, the greater and a choice of two numbers that may also be arrays of numbers. Pure arithmetic, no library.

A comparison is 0 or 1, so a product selects; every result is one of its arguments, bit for bit. Numbers must be finite.
"""

from __future__ import annotations


def choose(condition: bool, one: float, other: float) -> float:  # noqa: FBT001 - one of three equal operands
    """``one`` where the condition holds, ``other`` elsewhere."""
    return condition * one + (condition ^ True) * other  # ``not`` has no form for arrays


def lesser(one: float, other: float) -> float:
    """The lesser of the two."""
    return choose(one <= other, one, other)


def greater(one: float, other: float) -> float:
    """The greater of the two."""
    return choose(one >= other, one, other)
