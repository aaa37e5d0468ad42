"""Invariants of liveness: what must have happened by the end of a run. Computes no statistic.

Each check looks for one counterexample, as those in ``invariants``. A check that this run cannot answer does not apply
and is left out: a run that ends right after its last fault says nothing about who returns.
"""

from __future__ import annotations

from collections.abc import Callable

from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.lab.run_directory import RunStatus

from .checking import CheckResult, check_one
from .frames import RunHistory
from .summary import Invariant

SETTLE_S = 2.0
"""Seconds before the end from which on what is still under way is not judged."""

_OPENS = (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)
_ENDS = (LogEventKind.TRANSPORT_LOST, LogEventKind.PEER_DEAD)
_STOPS = (
    LogEventKind.GAVE_UP,
    LogEventKind.CLIENT_LEFT,
    LogEventKind.CLIENT_DISMISSED,
    LogEventKind.SESSION_SUPERSEDED,
)

LivenessCheck = Callable[[RunHistory], CheckResult | None]


def judge_liveness(history: RunHistory) -> tuple[Invariant, ...]:
    """Every check that applies to this run, in a fixed order."""
    judged = (_judge(name, rule, check, history) for name, (rule, check) in LIVENESS_CHECKS.items())
    return tuple(invariant for invariant in judged if invariant is not None)


def _judge(name: str, rule: str, check: LivenessCheck, history: RunHistory) -> Invariant | None:
    applies = True

    def look(read: RunHistory) -> CheckResult:
        nonlocal applies
        found = check(read)
        applies = found is not None
        return found or CheckResult(0)

    invariant = check_one(name, rule, look, history)
    return invariant if applies else None


def _settle_s(history: RunHistory) -> float:
    """:data:`SETTLE_S`, and how late the clients' own loops ran."""
    return SETTLE_S + history.lab_lag


def server_lives(history: RunHistory) -> CheckResult | None:
    """The server ended only when a fault ended it."""
    starts = len(history.of(LogEventKind.SERVER_STARTED, Role.SERVER))
    if not starts or history.info.status != RunStatus.COMPLETED:
        return None
    return CheckResult(starts, history.info.cause)


def clients_return(history: RunHistory) -> CheckResult | None:
    """``statistics.deadline`` after the last fault every client that neither left nor gave up has a session."""
    ends = [event.t for event in history.of(LogEventKind.FAULT_ENDED)]
    if not ends or history.end - max(ends) < history.experiment.statistics.deadline:
        return None
    last = _last_session_events(history)
    away = [
        f"{event.actor}: away since {event.t:.3f} s, {event.kind}"
        for event in last.values()
        if event.kind in _ENDS and history.end - event.t >= _settle_s(history)
    ]
    return CheckResult(len(last), away[0] if away else None)


def answers_get_verdicts(history: RunHistory) -> CheckResult | None:
    """A client that has a session at the end has the verdict on every answer that it submitted before."""
    present = _settled_sessions(history)
    judged = {(event.actor, event.ref) for event in history.of(LogEventKind.ANSWER_ACKED, Role.CLIENT)}
    submitted = [
        event
        for event in history.of(LogEventKind.ANSWER_SUBMITTED, Role.CLIENT)
        if event.actor in present and event.t <= history.end - _settle_s(history)
    ]
    if not submitted:
        return None
    waiting = [
        f"{event.actor} at {event.t:.3f} s: no verdict on {event.ref}"
        for event in submitted
        if (event.actor, event.ref) not in judged
    ]
    return CheckResult(len(submitted), waiting[0] if waiting else None)


def stream_reaches_everyone(history: RunHistory) -> CheckResult | None:
    """A client that has a session at the end has received the stream of the last server as far as any client has."""
    starts = history.of(LogEventKind.SERVER_STARTED, Role.SERVER)
    delivered = history.of(LogEventKind.STREAM_DELIVERED, Role.CLIENT)
    newest = starts[-1] if starts else None
    present = {who: event for who, event in _settled_sessions(history).items() if newest is None or event.t >= newest.t}
    mine = [event for event in delivered if newest is None or event.detail == newest.detail]
    reached = max((event.seq or 0 for event in mine if event.t <= history.end - _settle_s(history)), default=0)
    if not present or not reached:
        return None
    positions = {who: event.seq or 0 for who, event in present.items()}
    for event in mine:
        if event.actor in positions:
            positions[event.actor] = max(positions[event.actor], event.seq or 0)
    behind = [f"{who}: at position {at} of {reached} at the end" for who, at in positions.items() if at < reached]
    return CheckResult(len(positions), behind[0] if behind else None)


def _last_session_events(history: RunHistory) -> dict[str, LogEvent]:
    """The last event of each client that opened, ended or stopped a session, up to the run's end."""
    last: dict[str, LogEvent] = {}
    stopped: set[str] = set()
    for event in history.events:
        if event.role is not Role.CLIENT or event.t > history.end:
            continue
        if event.kind in _STOPS:
            last[event.actor] = event
            stopped.add(event.actor)
        elif event.kind in _OPENS or (event.kind in _ENDS and event.actor not in stopped):
            last[event.actor] = event
            stopped.discard(event.actor)
    return last


def _settled_sessions(history: RunHistory) -> dict[str, LogEvent]:
    """Clients that have a session at the end, since long enough, by the event that opened it."""
    return {
        who: event
        for who, event in _last_session_events(history).items()
        if event.kind in _OPENS and event.t <= history.end - _settle_s(history)
    }


LIVENESS_CHECKS: dict[str, tuple[str, LivenessCheck]] = {
    "server_lives": ("the server ends only when a fault ends it", server_lives),
    "clients_return": ("every client that keeps trying is back after the last fault", clients_return),
    "answers_get_verdicts": ("every answer gets a verdict", answers_get_verdicts),
    "stream_reaches_everyone": ("every connected client receives the stream to its end", stream_reaches_everyone),
}
"""Name -> the rule in words and the function; the order is that of every output."""
