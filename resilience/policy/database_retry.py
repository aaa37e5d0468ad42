"""When a server asks a database again that did not answer. Pure: the uniform number is an argument."""

from __future__ import annotations

from resilience.policy.backoff import ExponentialDelays, Jitter
from resilience.units import Seconds

DELAYS = ExponentialDelays(initial=0.25, maximum=4.0, multiplier=2.0, jitter=Jitter.EQUAL)
"""At most 4 s between two attempts, so that an event is back within seconds of its database."""


def database_retry_delay(attempt: int, u: float) -> Seconds:
    """Seconds to wait after ``attempt`` (from 0) failed; several servers of one database spread by ``u`` in [0, 1)."""
    return DELAYS.delay(attempt, u)
