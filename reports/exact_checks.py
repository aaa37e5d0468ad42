"""Invariants of a history with records in their true order and without rejected participants. No statistics.

They hold for runs under one clock (pair, virtual and model lane) in which every client keeps its identity. A run over
real processes has records of several clocks, and its clients may be refused for good reasons, so its report does not
have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role

from .checking import Check, CheckResult
from .frames import RunHistory


def acknowledged_after_commit(log: RunHistory) -> CheckResult:
    """An answer is acknowledged as accepted only once it is committed, or found committed by a new server."""
    durable: set[str | None] = set()
    checked = 0
    for event in log.events:
        if event.kind in (LogEventKind.ANSWER_COMMITTED, LogEventKind.ANSWER_RECOVERED):
            durable.add(event.ref)
        elif event.kind is LogEventKind.ANSWER_ACKED and event.outcome == "accepted":
            checked += 1
            if event.ref not in durable:
                broken = f"{event.actor} at {event.t:.3f} s: {event.ref} was acknowledged but not committed"
                return CheckResult(checked, broken)
    return CheckResult(checked)


def one_verdict_each(log: RunHistory) -> CheckResult:
    """Each submitted answer gets at most one verdict."""
    verdicts = Counter((event.actor, event.ref) for event in log.of(LogEventKind.ANSWER_ACKED, Role.CLIENT))
    return _at_most_once(verdicts.items(), "{0} got {times} verdicts on {1}")


def identities_kept(log: RunHistory) -> CheckResult:
    """No client joins twice, is refused, or is superseded."""
    joins = Counter((event.actor,) for event in log.of(LogEventKind.SESSION_JOINED))
    found = _at_most_once(joins.items(), "{0} joined {times} times")
    ends: Iterable[LogEvent] = [
        *log.of(LogEventKind.SESSION_REJECTED),
        *log.of(LogEventKind.SESSION_SUPERSEDED),
    ]
    lost = next((f"{e.actor} at {e.t:.3f} s: {e.kind} ({e.cause})" for e in ends), None)
    return CheckResult(found.checked, found.broken or lost)


def _at_most_once(counts: Collection[tuple[tuple[str | None, ...], int]], words: str) -> CheckResult:
    twice = ((key, times) for key, times in counts if times > 1)
    return CheckResult(len(counts), next((words.format(*key, times=times) for key, times in twice), None))


EXACT_CHECKS: dict[str, tuple[str, Check]] = {
    "acknowledged_after_commit": ("an answer is committed before it is acknowledged", acknowledged_after_commit),
    "one_verdict_each": ("no answer gets two verdicts", one_verdict_each),
    "identities_kept": ("no client loses its identity", identities_kept),
}
"""Name -> the rule in words and the function."""
