"""What a driver says of a client becomes what a client of ours would have recorded; what may not follow is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.drivers import messages as m
from chaos.drivers.clients import CLIENT_KINDS, STATE_AFTER, TABLE, DriverClient
from chaos.drivers.clients import DriverClientState as S
from reports import participant_events as analysed
from resilience.eventlog.vocabulary import LogEventKind as K
from resilience.protocol.effects import Record

FRESH, RESUMED = m.Restoration.FRESH, m.Restoration.RESUMED
REPORTS: dict[type, m.ClientReport] = {
    m.Attempt: m.Attempt(0.0, "a"),
    m.Failed: m.Failed(0.0, "a", "refused"),
    m.Opened: m.Opened(0.0, "a"),
    m.Restored: m.Restored(0.0, "a", FRESH),
    m.Lost: m.Lost(0.0, "a", "closed"),
    m.GaveUp: m.GaveUp(0.0, "a", "tired"),
    m.Observed: m.Observed(0.0, "a", 4, "abc"),
}


def told(*reports: m.ClientReport, must_resume: bool = False) -> list[Record]:
    """The records of these reports, one a second."""
    client = DriverClient("a", must_resume=must_resume)
    return [record for now, report in enumerate(reports) for record in client.receive(report, float(now))]


def names(*kinds: type) -> list[m.ClientReport]:
    return [REPORTS[kind] for kind in kinds]


JOINED = names(m.Attempt, m.Opened, m.Restored)


def test_a_life_is_recorded_as_one_of_ours() -> None:
    lost, back = m.Lost(0.0, "a", "closed"), m.Restored(0.0, "a", RESUMED, 9)
    assert told(*JOINED, lost, m.Attempt(0.0, "a"), m.Failed(0.0, "a", "refused"), *JOINED[:2], back) == [
        Record(K.TRANSPORT_OPENING, 0.0, connection_no=1, attempt=1),
        Record(K.TRANSPORT_OPENED, 1.0, connection_no=1, attempt=1),
        Record(K.SESSION_JOINED, 2.0, connection_no=1, outcome="fresh"),
        Record(K.TRANSPORT_LOST, 3.0, connection_no=1, cause="closed"),
        Record(K.TRANSPORT_OPENING, 4.0, connection_no=2, attempt=1),
        Record(K.TRANSPORT_FAILED, 5.0, connection_no=2, attempt=1, cause="refused"),
        Record(K.TRANSPORT_OPENING, 6.0, connection_no=3, attempt=2),
        Record(K.TRANSPORT_OPENED, 7.0, connection_no=3, attempt=2),
        Record(K.SESSION_RESTORED, 8.0, connection_no=3, seq=9, outcome="resumed"),
    ]


def test_an_attempt_that_follows_another_says_that_that_one_failed() -> None:
    kinds = [record.kind for record in told(*names(m.Attempt, m.Attempt))]
    assert kinds == [K.TRANSPORT_OPENING, K.TRANSPORT_FAILED, K.TRANSPORT_OPENING]


@pytest.mark.parametrize("must_resume, kind", [(False, K.SESSION_RESTORED), (True, K.SESSION_JOINED)])
def test_a_fresh_session_is_a_return_unless_sessions_must_resume(must_resume: bool, kind: K) -> None:
    last = told(*JOINED, REPORTS[m.Lost], *JOINED, must_resume=must_resume)[-1]
    assert (last.kind, last.outcome) == (kind, "fresh")


def test_a_loss_by_silence_is_a_dead_peer() -> None:
    assert told(*JOINED, m.Lost(0.0, "a", m.SILENCE))[-1].kind is K.PEER_DEAD


def test_giving_up_says_for_how_long_it_was_tried() -> None:
    records = told(*JOINED, *names(m.Lost, m.Attempt, m.GaveUp))
    assert [record.kind for record in records[-2:]] == [K.TRANSPORT_FAILED, K.GAVE_UP]
    assert (records[-1].value, records[-1].attempt, records[-1].cause) == (2.0, 1, "tired")


def test_work_is_acknowledged_by_its_own_key_only() -> None:
    client = DriverClient("a")
    for report in JOINED:
        client.receive(report, 0.0)
    key = client.next_key()
    assert client.receive(m.Acknowledged(0.0, "a", key), 1.0) == [Record(K.CLIENT_ACKNOWLEDGED, 1.0, ref=key)]
    for other in ("a/2", "b/1", "a/x", "1", ""):
        with pytest.raises(m.BrokenLineError, match="never told to do"):
            client.receive(m.Acknowledged(0.0, "a", other), 1.0)


def test_what_was_observed_is_kept() -> None:
    assert told(*JOINED, REPORTS[m.Observed])[-1] == Record(K.CLIENT_OBSERVED, 3.0, seq=4, detail="abc")


@given(st.lists(st.sampled_from(list(REPORTS)), max_size=30))
def test_every_order_is_either_recorded_or_refused_in_words(kinds: list[type]) -> None:
    """A refused report changes nothing; the table says which are refused, and so does the message."""
    client = DriverClient("a")
    for kind in kinds:
        before, allowed = client.state, TABLE[kind]
        if before in allowed:
            assert client.receive(REPORTS[kind], 0.0)
            assert client.state is allowed[before]
        else:
            with pytest.raises(m.BrokenLineError, match=f"of a, which is {before}; it may follow only while"):
                client.receive(REPORTS[kind], 0.0)
            assert client.state is before


def test_nothing_follows_when_a_client_gave_up() -> None:
    assert not [kind for kind, nexts in TABLE.items() if S.GAVE_UP in nexts]


def test_the_records_of_this_projects_machine_are_kept_as_they_are() -> None:
    fields: dict[str, Any] = {"session_id": "p1", "connection_no": 2, "seq": 7, "attempt": 1, "detail": "phase=lobby"}
    records = told(*(m.Recorded(0.0, "a", kind, **fields) for kind in ("transport.opening", "session.restored")))
    assert records == [Record(K.TRANSPORT_OPENING, 0.0, **fields), Record(K.SESSION_RESTORED, 1.0, **fields)]


@given(st.lists(st.sampled_from(sorted(CLIENT_KINDS)), max_size=30))
def test_a_client_is_where_its_records_say(kinds: list[K]) -> None:
    client = DriverClient("a")
    for kind in kinds:
        before = client.state
        client.receive(m.Recorded(0.0, "a", kind.value), 0.0)
        assert client.state is STATE_AFTER.get(kind, before)


def test_a_client_cannot_record_for_the_server() -> None:
    with pytest.raises(m.BrokenLineError, match=r"'score\.final' of a: no kind of record that a client writes"):
        told(m.Recorded(0.0, "a", "score.final"))


def test_every_kind_of_a_return_or_a_loss_changes_where_a_client_is() -> None:
    """The analysis and the driver agree about which records those are."""
    assert set(STATE_AFTER) == set(analysed.STATE_AFTER)
