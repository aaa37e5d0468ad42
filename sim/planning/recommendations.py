"""The settings that follow from a number of processes: what each announces, times above the longest simulated. Pure."""

from __future__ import annotations

import math

from reports.sweep import Recommendation
from resilience.policy.return_window import return_window
from resilience.units import Seconds

from .triggers import CapacityPlan, Trigger, crowd_of

CLEANUP_STEP: Seconds = 10.0
SPARE = 1.25
"""By how much a recommended time exceeds the longest one that was simulated."""


def recommended(
    plan: CapacityPlan, trigger: Trigger, processes: int, longest: Seconds | None
) -> tuple[Recommendation, ...]:
    """The settings at this answer. ``longest``: the mean of the longest downtimes; None if not all returned."""
    crowd, server, backoff = crowd_of(plan, trigger, processes), plan.server, plan.client.backoff
    window = return_window(crowd.connected, server.join_capacity, server.max_return_spread)
    found = [
        Recommendation("server.join_capacity", server.join_capacity, "joins/s", "each process, as measured"),
        Recommendation("server.admission_seconds", server.admission_seconds, "s", _admission_words(plan)),
        Recommendation("return window, spread", window.spread_s, "s", f"announced to {crowd.connected:,} participants"),
        Recommendation("return window, step", window.step_s, "s", "announced; the ladder climbs from it"),
        Recommendation("return window, cap", window.cap_s, "s", "announced; retries alone keep to the pace of slots"),
        Recommendation("client.maximum", backoff.ladder.maximum, "s", "the cap after the announced ladder"),
    ]
    if longest is None:
        return (*found, Recommendation("client.budget", None, "s", "not all returned within the simulated time"))
    spare = longest * SPARE
    return (
        *found,
        Recommendation("client.budget", _up(spare, 60.0), "s", f"the last was back {longest:.1f} s after its loss"),
        Recommendation(
            "server.cleanup_interval",
            max(_up(spare, CLEANUP_STEP), server.grace_period),
            "s",
            "everyone returns to a session that is still kept",
        ),
    )


def _admission_words(plan: CapacityPlan) -> str:
    timeout, wait = plan.client.open_timeout, plan.server.admission_seconds
    if wait < timeout:
        return f"below the client's open_timeout of {timeout:g} s, so that no admitted join is abandoned"
    return f"NOT below the client's open_timeout of {timeout:g} s: admitted joins are abandoned, and served in vain"


def _up(seconds: Seconds, step: Seconds) -> Seconds:
    return math.ceil(seconds / step) * step
