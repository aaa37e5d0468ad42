"""Makes a loss smaller that has jumps: one number at a time, up and down, in steps that become smaller. Pure.

Slopes say little of such a loss, of which only the value counts: this is the pattern search of Hooke and Jeeves
("Direct Search" Solution of numerical and statistical problems, J. ACM 8, 1961) on a logarithmic scale, without their
moves of all numbers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FACTORS: Sequence[float] = (1.3, 1.15, 1.06, 1.02, 1.006)
"""By what a number is multiplied or divided, the largest first."""
ROUNDS = 4
"""How often all numbers are tried with one factor at most."""
LEAST_GAIN = 1e-4
"""A step that makes the loss smaller by less than this part of it is none."""


def descend(start: Floats, loss: Callable[[Floats], float]) -> tuple[Floats, float]:
    """Numbers of no greater loss than ``start`` has, none negative, and their loss.

    ``loss`` is called some hundred times for a dozen numbers. A number that is 0 stays so.
    """
    numbers, least = start, loss(start)
    for factor in FACTORS:
        for _ in range(ROUNDS):
            before = least
            for place in range(len(numbers)):
                for step in (factor, 1.0 / factor):
                    numbers, least = _walk(numbers, least, place, step, loss)
            if least >= before:
                break
    return numbers, least


def _walk(
    numbers: Floats, least: float, place: int, step: float, loss: Callable[[Floats], float]
) -> tuple[Floats, float]:
    """Multiply one number again and again while the loss becomes smaller; returns all numbers and their loss."""
    while True:
        tried = numbers.copy()
        tried[place] *= step
        found = loss(tried)
        if found >= least * (1.0 - LEAST_GAIN):
            return numbers, least
        numbers, least = tried, found
