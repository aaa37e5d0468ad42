"""The production retry policy for many clients at once: what ``RetryState`` decides for each, bit for bit. Pure.

Each client's incident is a row of columns; clients of one attempt are decided together, because the number of an
attempt is plain where the policy takes arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from resilience.policy.backoff import BackoffPolicy
from resilience.policy.return_window import ReturnWindow

from ..profiles.timelines import on_grid
from ..random_arrays import Keys, keys_under, uniforms
from .population import Floats
from .rules import PopulationRules

NOT_YET = -1.0
"""Instead of a free wait's length, and of a former delay, where there is none."""


def spent(policy: BackoffPolicy, attempt: int, elapsed: Floats) -> npt.NDArray[np.bool_]:
    """Whether a budget forbids ``attempt``, ``elapsed`` seconds after the loss."""
    exhausted = cast("Callable[[int, Floats], Any]", policy.exhausted)(attempt, elapsed)
    return np.broadcast_to(np.asarray(exhausted, np.bool_), elapsed.shape)


def delays(rules: PopulationRules, attempt: int, elapsed: Floats, u: Floats, previous: Floats | None) -> Floats:
    """The delay before ``attempt``, seconds; ``previous`` is the delay before it, ``None`` before the first."""
    delay = cast("Callable[[int, Floats, Floats, ReturnWindow, Floats | None], Any]", rules.client.backoff.delay)
    return np.broadcast_to(np.asarray(delay(attempt, elapsed, u, rules.window, previous), np.float64), elapsed.shape)


def draws(seeds: Keys, incident: npt.NDArray[np.int32], attempt: int) -> Floats:
    """The clients' numbers for one attempt of an incident."""
    return uniforms(incident_keys(seeds, incident), attempt)


def incident_keys(seeds: Keys, incident: npt.NDArray[np.int32]) -> Keys:
    """The keys of all draws of one incident, to which only the attempt is missing."""
    return keys_under(seeds, "backoff", incident)


def dial_instants(now: Floats, delay: Floats) -> Floats:
    """When a dial after these delays begins, on the grid."""
    return now + on_grid(delay)
