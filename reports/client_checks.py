"""The checks that believe clients: what they were shown, compared with one another and with the database.

The server's log is not read: a server that lies to its log cannot hide here. Without observations no check applies.
"""

from __future__ import annotations

from collections.abc import Callable

from .client_answer_checks import ANSWER_CHECKS
from .client_session_checks import SESSION_CHECKS
from .client_stream_checks import STREAM_CHECKS
from .frames import RunHistory
from .invariants import CheckResult, check_one
from .observations import ClientEvidence
from .summary import Invariant

ClientCheck = Callable[[ClientEvidence], CheckResult]

CLIENT_CHECKS: dict[str, tuple[str, ClientCheck]] = {**STREAM_CHECKS, **ANSWER_CHECKS, **SESSION_CHECKS}
"""Name -> the rule in words and the function; the order is that of every output."""


def judge_clients(history: RunHistory) -> tuple[Invariant, ...]:
    """Every check on this run, in a fixed order."""
    evidence = ClientEvidence(history)

    def judge(check: ClientCheck) -> Callable[[RunHistory], CheckResult]:
        if not len(history.observations):
            return lambda _: CheckResult(0, inapplicable="the run kept no record of what its clients were shown")
        return lambda _: check(evidence)

    return tuple(check_one(name, rule, judge(check), history) for name, (rule, check) in CLIENT_CHECKS.items())
