"""When repetitions of a run may stop early without more wrong verdicts than stated: alpha spending. Pure; no run.

The pooled figures are examined at most :data:`MOST_LOOKS` times, at *looks* that are fixed before the first run. Each
look has its own share of the error ``1 - confidence``, and the shares of all looks add up to it. A bound at a look
holds at one less its share, so by the union bound the probability that the bound of *any* look is wrong is at most the
whole error: however the looks depend on one another, and whenever the repetitions stop. The shares follow the spending
function of Lan and DeMets (1983) that resembles the boundaries of O'Brien and Fleming, ``2 * (1 - Phi(z / sqrt(t)))``
with ``z = Phi^-1(1 - error / 2)`` after the part ``t`` of the repetitions: early looks decide only what is
overwhelming, and the last look keeps most of the error.

Exact boundaries would stop a little earlier, but assume independent increments, which effective numbers of clustered
drops have not. Few looks cost less: with five the last one keeps 2.2 of 5 %, with thirty 0.4.
"""

from __future__ import annotations

import math

from scipy import stats

MOST_LOOKS = 5
"""More looks stop earlier at best, and leave less of the error to each."""

LEAST_SHARE = 1e-6
"""A look with a smaller share of the error decides nothing: no bound here is trusted that far out."""


def looks(repetitions: int) -> tuple[int, ...]:
    """After which repetitions (from 1) the pooled figures may decide, of at most so many; the last one always may."""
    number = min(MOST_LOOKS, repetitions)
    return tuple(math.ceil(repetitions * look / number) for look in range(1, number + 1))


def spent(error: float, part: float) -> float:
    """The part of ``error`` that is spent after the ``part`` (0 to 1) of all repetitions; all of it at the end."""
    if part <= 0:
        return 0.0
    quantile = float(stats.norm.isf(error / 2))
    return 2 * float(stats.norm.sf(quantile / math.sqrt(min(part, 1.0))))


def look_confidence(confidence: float, done: int, repetitions: int) -> float | None:
    """The confidence of a one-sided bound after ``done`` of at most so many ``repetitions``; None between the looks.

    ``confidence``: of the verdict, whenever it comes. None as well where its share is too small.
    """
    if done not in looks(repetitions):
        return None
    error = 1 - confidence
    share = spent(error, done / repetitions) - _spent_before(error, done, repetitions)
    return 1 - share if share >= LEAST_SHARE else None


def closing_confidence(confidence: float, done: int, repetitions: int) -> float:
    """The confidence of a bound after ``done`` repetitions when no more will follow: it has all the error that is left.

    An earlier look after as many repetitions, with a smaller share, adds nothing: its bound is the wider one.
    """
    error = 1 - confidence
    return 1 - (error - _spent_before(error, done, repetitions))


def _spent_before(error: float, done: int, repetitions: int) -> float:
    """What the looks before ``done`` repetitions had."""
    before = max((look for look in looks(repetitions) if look < done), default=0)
    return spent(error, before / repetitions)
