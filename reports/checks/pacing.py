"""The check of how fast clients dial again. Believes the clients' own records of their dials."""

from __future__ import annotations

from typing import Any

import numpy as np

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.policy.backoff import BackoffPolicy
from resilience.policy.return_window import DEFAULT_RETURN_WINDOW
from resilience.units import Seconds

from ..checking import CheckResult, result_of_rows
from ..frames import RunHistory
from .selection import by_group, joint_codes, select

EARLY_S: Seconds = 0.01
"""By how much a timer may fire early, and two records of it differ."""


def dials_paced(history: RunHistory) -> CheckResult:
    """No client dials again sooner than the shortest delay that its backoff has for that attempt.

    The first attempt of an incident may come at once. Nothing wakes clients of the fleet, which could shorten a delay.
    """
    policy = history.experiment.client.rules.backoff
    dials = select(history, LogEventKind.TRANSPORT_OPENING, role=Role.CLIENT, columns=("actor", "attempt"))
    (who,) = joint_codes(dials["actor"])
    order = by_group(who)
    dials, who = dials.iloc[order].reset_index(drop=True), who[order]
    attempt = dials["attempt"].fillna(0).to_numpy(dtype=np.int64)
    follows = np.zeros(len(dials), dtype=bool)
    follows[1:] = (who[1:] == who[:-1]) & (attempt[1:] == attempt[:-1] + 1) & (attempt[1:] > 1)
    gap = np.diff(dials["t"].to_numpy(), prepend=np.nan)
    cases = dials.assign(gap=gap, least=[least_delay(policy, int(number)) for number in attempt])[follows]
    none = None if len(cases) else "no client dialled a second time in one incident"
    return result_of_rows(cases, (cases["gap"] < cases["least"] - EARLY_S).to_numpy(), _describe, inapplicable=none)


def least_delay(policy: BackoffPolicy, attempt: int) -> Seconds:
    """The shortest delay before this attempt (from 1), whatever the draw; the smallest window is announced."""
    return policy.delay(attempt, 0.0, 0.0, DEFAULT_RETURN_WINDOW) if attempt > 0 else 0.0


def _describe(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
    pace = f"{case.gap:.3f} s after the dial before, its backoff allows {case.least:g} s"
    return f"{case.actor} at {case.t:.3f} s: attempt {int(case.attempt)} came {pace}"
