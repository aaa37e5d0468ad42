"""The invariants that read the log alone can fail: each is shown a forged one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from tests.resilience.protocol import invariants

Check = Callable[[Iterable[LogEvent]], Iterator[str]]


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
ACKED = client(LogEventKind.ANSWER_ACKED, ref="q1/k", outcome="accepted")
RESTORED = client(LogEventKind.SESSION_RESTORED, session_id="p1", connection_no=2, seq=4, detail="s")

GOOD: list[tuple[Check, list[LogEvent]]] = [
    (invariants.stream_gaps, streams(4, 5, 6)),
    (invariants.stream_gaps, [*streams(4, 5), *streams(9, 10)]),
    (invariants.lost_acks, [COMMITTED, ACKED]),
    (invariants.lost_acks, [client(LogEventKind.ANSWER_ACKED, ref="q1/k", outcome="rejected_late")]),
    (invariants.double_verdicts, [COMMITTED, ACKED]),
    (invariants.double_commits, [COMMITTED, server(LogEventKind.ANSWER_COMMITTED, ref="q2/k2")]),
    (invariants.two_live, [attached(1), server(LogEventKind.SESSION_FENCED, connection_no=1), attached(2)]),
    (
        invariants.lost_identities,
        [client(LogEventKind.SESSION_JOINED, seq=0), server(LogEventKind.PARTICIPANT_ANNOUNCED)],
    ),
    (invariants.wrong_restores, [attached(2), RESTORED]),
]
BAD: list[tuple[Check, list[LogEvent]]] = [
    (invariants.stream_gaps, streams(4, 6)),
    (invariants.stream_gaps, streams(4, 5, 5)),
    (invariants.stream_gaps, streams(4, 4)),
    (invariants.stream_gaps, [client(LogEventKind.STREAM_DELIVERED, seq=1)]),
    (invariants.stream_gaps, [client(LogEventKind.TRANSPORT_LOST, cause="stream_gap")]),
    (invariants.lost_acks, [ACKED]),
    (invariants.lost_acks, [ACKED, COMMITTED]),
    (invariants.double_verdicts, [COMMITTED, ACKED, ACKED]),
    (invariants.double_commits, [COMMITTED, server(LogEventKind.ANSWER_COMMITTED, ref="q1/k2")]),
    (invariants.two_live, [attached(1), attached(2)]),
    (invariants.two_live, [attached(1), server(LogEventKind.TRANSPORT_LOST, connection_no=7), attached(2)]),
    (
        invariants.lost_identities,
        [client(LogEventKind.SESSION_JOINED, seq=0), client(LogEventKind.SESSION_JOINED, seq=3)],
    ),
    (
        invariants.lost_identities,
        [server(LogEventKind.PARTICIPANT_ANNOUNCED), server(LogEventKind.PARTICIPANT_ANNOUNCED)],
    ),
    (invariants.lost_identities, [client(LogEventKind.SESSION_REJECTED, cause="unknown")]),
    (invariants.lost_identities, [client(LogEventKind.SESSION_SUPERSEDED)]),
    (invariants.wrong_restores, [attached(2, "another state"), RESTORED]),
    (invariants.wrong_restores, [RESTORED]),
]


@pytest.mark.parametrize("check, log", GOOD)
def test_a_good_log_passes(check: Check, log: list[LogEvent]) -> None:
    """No invariant cries wolf."""
    assert list(check(log)) == []


@pytest.mark.parametrize("check, log", BAD)
def test_a_forged_log_fails(check: Check, log: list[LogEvent]) -> None:
    """Each invariant finds what it is for, once."""
    assert len(list(check(log))) == 1


def test_every_log_invariant_is_shown_to_fail() -> None:
    """None is left untried."""
    tried = {check for check, _ in BAD}
    assert tried == {
        invariants.stream_gaps,
        invariants.lost_acks,
        invariants.double_verdicts,
        invariants.double_commits,
        invariants.two_live,
        invariants.lost_identities,
        invariants.wrong_restores,
    }
