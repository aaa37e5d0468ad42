"""How many replications a point of a sweep gets: a pure rule on the values that are known so far.

The next look depends on a point's own values in the order of their replications, so the number of workers changes
nothing. The interval is Student's at 95 %. Looking several times makes the interval of a point that stopped early a
little too narrow, which the least number of replications keeps small (Law 2015, section 9.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from reports.formatting import pluralise
from reports.quantiles import t_quantile

CONFIDENCE = 0.95
FEWEST = 5
"""The least number of replications on which a half-width is believed."""


class StoppingRule(msgspec.Struct, frozen=True):
    """At most ``most`` replications; with ``half_width`` fewer, as soon as the metric's interval is that narrow."""

    most: int
    half_width: float | None = None

    def wanted(self, values: Sequence[float | None]) -> int:
        """How many replications are wanted in all, when the metric had these values so far; ``None``: unknown.

        Never fewer than there are looks for: the point is finished when it has as many as are wanted.
        """
        first = min(FEWEST, self.most) if self.half_width is not None else self.most
        n = first
        while len(values) >= n:
            if n >= self.most or self._is_narrow(values[:n]):
                return n
            n = min(self.most, self._next_look(values[:n]))
        return n

    def in_words(self, metric: str) -> str:
        """For a reader of the sweep."""
        if self.half_width is None:
            return f"{pluralise(self.most, 'replication')} of every point"
        most = pluralise(self.most, "replication")
        return f"half-width of {metric} at most {self.half_width:g} with 95 % confidence, or {most}"

    def _is_narrow(self, values: Sequence[float | None]) -> bool:
        return self.half_width is not None and half_width(values) <= self.half_width

    def _next_look(self, values: Sequence[float | None]) -> int:
        """As many as the half-width calls for, at most twice as many as there are."""
        n, found = len(values), half_width(values)
        assert self.half_width is not None  # noqa: S101 - the caller has asked
        ratio = found / self.half_width if self.half_width > 0 else math.inf
        needed = 2 * n if ratio >= math.sqrt(2) else math.ceil(n * ratio**2)
        return max(needed, n + 1)


def half_width(values: Sequence[float | None]) -> float:
    """Half the width of the two-sided interval of the mean; infinite if a value is unknown or there is only one."""
    known = np.array([math.nan if value is None else value for value in values], np.float64)
    if len(known) < 2 or np.isnan(known).any():  # noqa: PLR2004 - no spread of one value
        return math.inf
    level = (1 + CONFIDENCE) / 2
    return t_quantile(level, len(known) - 1) * float(known.std(ddof=1)) / math.sqrt(len(known))
