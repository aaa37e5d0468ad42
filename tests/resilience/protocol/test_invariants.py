"""The invariants that read the log alone can fail: each is shown a forged one."""

from __future__ import annotations

from typing import Any

import pytest

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from tests.support.history import NAMES, violations


def client(kind: LogEventKind, t: float = 0.0, **fields: Any) -> LogEvent:  # noqa: ANN401 - any field of an event
    """A line of client c0."""
    return LogEvent(t=t, lane=Lane.PAIR, role=Role.CLIENT, actor="c0", kind=kind, **fields)


def server(kind: LogEventKind, t: float = 0.0, **fields: Any) -> LogEvent:  # noqa: ANN401 - any field of an event
    """A line of the server about p1."""
    return LogEvent(t=t, lane=Lane.PAIR, role=Role.SERVER, actor="server", kind=kind, session_id="p1", **fields)


def streams(*numbers: int) -> list[LogEvent]:
    """A join at the first number, then deliveries."""
    first, *rest = numbers
    return [client(LogEventKind.SESSION_JOINED, seq=first)] + [
        client(LogEventKind.STREAM_DELIVERED, seq=n) for n in rest
    ]


def attached(number: int, detail: str = "s") -> LogEvent:
    """A connection is let in."""
    return server(LogEventKind.SESSION_RESUMED, connection_no=number, detail=detail)


COMMITTED = server(LogEventKind.ANSWER_COMMITTED, ref="q1/k", outcome="accepted", value=500.0)
ACKED = client(LogEventKind.ANSWER_ACKED, session_id="p1", ref="q1/k", outcome="accepted")
REJECTED = client(LogEventKind.ANSWER_ACKED, session_id="p1", ref="q1/k", outcome="rejected_late")
RESTORED = client(LogEventKind.SESSION_RESTORED, session_id="p1", connection_no=2, seq=4, detail="s")

GOOD: list[tuple[str, list[LogEvent]]] = [
    ("stream_without_gap", streams(4, 5, 6)),
    ("stream_without_gap", [*streams(4, 5), *streams(9, 10)]),
    ("acknowledged_after_commit", [COMMITTED, ACKED]),
    ("acknowledged_after_commit", [client(LogEventKind.ANSWER_ACKED, ref="q1/k", outcome="rejected_late")]),
    ("one_verdict_each", [COMMITTED, ACKED]),
    ("answers_scored_once", [COMMITTED, server(LogEventKind.ANSWER_COMMITTED, ref="q2/k2")]),
    ("one_live_connection", [attached(1), server(LogEventKind.SESSION_FENCED, connection_no=1), attached(2)]),
    (
        "identities_kept",
        [client(LogEventKind.SESSION_JOINED, seq=0), server(LogEventKind.PARTICIPANT_ANNOUNCED)],
    ),
    ("restored_state_true", [attached(2), RESTORED]),
]
BAD: list[tuple[str, list[LogEvent]]] = [
    ("stream_without_gap", streams(4, 6)),
    ("stream_without_gap", streams(4, 5, 5)),
    ("stream_without_gap", streams(4, 4)),
    ("stream_without_gap", [client(LogEventKind.STREAM_DELIVERED, seq=1)]),
    ("stream_without_gap", [client(LogEventKind.TRANSPORT_LOST, cause="stream_gap")]),
    ("acknowledged_answers_kept", [client(LogEventKind.ANSWER_ACKED, session_id="p1", ref="q1/k", outcome="accepted")]),
    ("acknowledged_answers_kept", [ACKED]),
    ("rejected_answers_not_scored", [COMMITTED, REJECTED]),
    ("acknowledged_after_commit", [ACKED, COMMITTED]),
    ("one_verdict_each", [COMMITTED, ACKED, ACKED]),
    ("answers_scored_once", [COMMITTED, server(LogEventKind.ANSWER_COMMITTED, 0.1, ref="q1/k2", outcome="accepted")]),
    ("one_live_connection", [attached(1), attached(2)]),
    ("one_live_connection", [attached(1), server(LogEventKind.TRANSPORT_LOST, connection_no=7), attached(2)]),
    (
        "identities_kept",
        [client(LogEventKind.SESSION_JOINED, seq=0), client(LogEventKind.SESSION_JOINED, seq=3)],
    ),
    (
        "announced_once",
        [server(LogEventKind.PARTICIPANT_ANNOUNCED), server(LogEventKind.PARTICIPANT_ANNOUNCED)],
    ),
    ("identities_kept", [client(LogEventKind.SESSION_REJECTED, cause="unknown")]),
    ("identities_kept", [client(LogEventKind.SESSION_SUPERSEDED)]),
    ("restored_state_true", [attached(2, "another state"), RESTORED]),
    ("restored_state_true", [RESTORED]),
]


@pytest.mark.parametrize("name, log", GOOD)
def test_a_good_log_passes(name: str, log: list[LogEvent]) -> None:
    """The invariant finds nothing where nothing is wrong."""
    assert not [line for line in violations(log) if line.startswith(name)]


@pytest.mark.parametrize("name, log", BAD)
def test_a_forged_log_fails(name: str, log: list[LogEvent]) -> None:
    """Each invariant finds what it is for."""
    assert [line for line in violations(log) if line.startswith(name)]


def test_every_invariant_that_the_tests_use_is_shown_to_fail() -> None:
    """None is left untried."""
    assert {name for name, _ in BAD} == set(NAMES)
