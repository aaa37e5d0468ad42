"""A server connection up to its first message: who is let in, who is refused or shed, and what deadlines hold."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import retry_after_in_reason
from resilience.policy.handshake import HandshakeRequest
from resilience.protocol.effects import (
    AbortConnection,
    Record,
)
from resilience.protocol.messages import (
    ClientMessage,
    Error,
    ErrorCode,
    Host,
    HostAction,
    HostCommand,
    Join,
    Probe,
    Resume,
)
from resilience.protocol.states import ServerConnectionState
from tests.support.connection_harness import (
    BROWSER,
    ELSEWHERE,
    HOST,
    JOIN,
    KEY,
    NOWHERE,
    RECOVERING,
    REFUSED,
    RESUME,
    SHED,
    WRONG,
    ConnectionHarness,
)

S = ServerConnectionState


# the handshake --------------------------------------------------------------------------------------------------------


def test_a_handshake_that_may_come_back_is_rejected_with_its_record() -> None:
    harness = ConnectionHarness(address_rate=1.0, address_burst=1)
    assert harness.shake(harness.open()) is None
    connection = harness.open()
    found = harness.shake(connection)
    assert found is not None
    assert (found.status, found.cause) == (429, "address")
    assert found.retry_after == pytest.approx(1.0)
    assert connection.state is S.CLOSED
    assert harness.outcome() == ([(SHED, "address")], [], [])


def test_a_handshake_that_may_not_come_back_is_a_refusal() -> None:
    harness = ConnectionHarness()
    found = harness.shake(harness.open(), HandshakeRequest("10.0.0.1", ("http://evil",), ("quiz",)))
    assert found is not None
    assert (found.status, found.cause, found.retry_after) == (403, "origin", None)
    assert harness.outcome()[0] == [(REFUSED, "origin")]


def test_a_browser_that_may_come_back_is_let_in_to_be_closed_with_its_time() -> None:
    harness = ConnectionHarness()
    harness.policy.draining_for = 7.5
    connection = harness.open()
    assert harness.shake(connection, BROWSER) is None
    connection.handshake_completed()
    assert harness.outcome() == ([(SHED, "draining")], [], [(4100, "retry_after=7.500")])
    assert not connection.receive(JOIN, harness.now)


def test_the_server_is_full_for_the_one_beyond_its_capacity_and_has_room_when_one_goes() -> None:
    harness = ConnectionHarness(max_connections=2)
    first, second, third = (harness.open() for _ in range(3))
    assert harness.shake(first) is None
    assert harness.shake(second) is None
    found = harness.shake(third)
    assert found is not None
    assert found.cause == "full"
    third.transport_lost(harness.now)
    first.transport_lost(harness.now)
    assert harness.shake(harness.open()) is None


def test_transports_without_a_handshake_keep_no_client_out() -> None:
    harness = ConnectionHarness(max_connections=2)
    silent = [harness.open() for _ in range(50)]
    assert [harness.shake(harness.open()) for _ in range(2)] == [None, None]
    assert all(connection.state is S.HANDSHAKING for connection in silent)


def test_beyond_the_most_transports_the_oldest_handshake_of_the_address_gives_way() -> None:
    harness = ConnectionHarness(max_transports=4)
    kept = harness.shaken()
    others = harness.open("10.0.0.2")
    first, second = harness.open("10.0.0.9"), harness.open("10.0.0.9")
    assert harness.effects() == []
    harness.open("10.0.0.9")
    assert harness.outcome()[0] == [(REFUSED, "late")]
    assert (first.state, second.state, others.state) == (S.CLOSED, S.HANDSHAKING, S.HANDSHAKING)
    harness.open("10.0.0.3")
    assert AbortConnection(others.key) in harness.effects()
    assert kept.state is S.AWAITING_FIRST_MESSAGE


def test_beyond_the_most_transports_none_gives_way_that_has_sent_its_handshake() -> None:
    harness = ConnectionHarness(max_transports=2)
    kept = [harness.shaken() for _ in range(4)]
    assert harness.effects() == []
    assert all(not connection.is_ended for connection in kept)


@pytest.mark.parametrize("origin", ["https://evil.example", "https://quiz.example"])
def test_a_connection_that_the_server_has_closed_takes_no_place(origin: str) -> None:
    """Its peer may hold its socket open: it keeps no client out, and gives way when sockets run out."""
    harness = ConnectionHarness(max_transports=5, max_connections=3, address_rate=1.0, address_burst=2)
    rejected = [harness.open() for _ in range(3)]
    request = HandshakeRequest("10.0.0.1", (origin,), ("quiz.example",))
    for connection in rejected:
        harness.shake(connection, request)
        connection.handshake_completed()
    rejected = [connection for connection in rejected if connection.is_ended]
    assert rejected
    assert harness.shake(harness.open("10.0.0.2"), HandshakeRequest("10.0.0.2")) is None
    harness.effects()
    given_way = []
    for _ in range(2):
        harness.open("10.0.0.1")
        given_way += [effect.connection for effect in harness.effects() if isinstance(effect, AbortConnection)]
    assert given_way[0] == rejected[0].key


def test_a_server_that_runs_late_sheds_at_the_handshake() -> None:
    harness = ConnectionHarness(admission_seconds=2.0)
    found = harness.open().handshake_received(HandshakeRequest("10.0.0.1"), harness.now, 3.0)
    assert found is not None
    assert found.cause == "overload"
    assert found.retry_after is not None
    assert 2.0 <= found.retry_after < 3.0


# the first message ----------------------------------------------------------------------------------------------------


def test_the_deadline_counts_from_the_transports_opening() -> None:
    harness = ConnectionHarness()
    in_handshake = harness.open()
    harness.wait(3.0)
    shaken = harness.shaken()
    harness.wait(2.0)
    assert harness.connections.effects() == [
        Record(LogEventKind.CONNECTION_REFUSED, 105.0, cause="late"),
        AbortConnection(in_handshake.key),
    ]
    harness.wait(3.0)
    assert harness.outcome() == ([(REFUSED, "late")], [], [(4001, "say join or resume first")])
    assert shaken.state is S.CLOSED
    assert harness.connections.next_deadline() is None


@pytest.mark.parametrize("stall", [0.6, 8.0, 100.0])
def test_a_first_message_that_arrived_while_the_server_stood_still_is_read(stall: float) -> None:
    """F8: the timer runs before the reads. Only a connection that stays silent after the stall is closed."""
    harness = ConnectionHarness()
    spoke, mute = harness.shaken(), harness.shaken()
    harness.now += 5.0 + stall
    harness.connections.handle_timeout(harness.now)
    assert harness.connections.effects() == []
    assert spoke.receive(JOIN, harness.now + 0.1)
    harness.wait(5.0)
    assert (spoke.state, mute.state) == (S.JOINING, S.CLOSED)


def test_a_host_without_an_event_gets_the_lag_back() -> None:
    harness = ConnectionHarness()
    host = harness.shaken()
    host.receive(Host(event=NOWHERE, key=KEY), harness.now)
    harness.connections.effects()
    harness.now += 300.0
    harness.connections.handle_timeout(harness.now)
    assert harness.connections.effects() == []
    harness.now += 0.1
    host.receive(Probe(1), harness.now)
    harness.wait(29.0)
    assert host.state is S.HOST


@pytest.mark.parametrize("first", [JOIN, RESUME, HOST])
def test_a_first_message_in_time_ends_the_deadline(first: ClientMessage) -> None:
    harness = ConnectionHarness()
    harness.shaken().receive(first, harness.now)
    harness.connections.effects()
    harness.wait(1000.0)
    assert harness.connections.effects() == []


@pytest.mark.parametrize("first", [Join(event=NOWHERE, name="a", instance="a"), Resume(event=NOWHERE, token="t")])
def test_an_event_that_is_not_here_is_refused_for_good(first: Join | Resume) -> None:
    harness = ConnectionHarness()
    assert not harness.shaken().receive(first, harness.now)
    assert harness.outcome() == ([(REFUSED, "event")], [], [(4202, "there is no such event here")])


@pytest.mark.parametrize(
    "event, wait, why",
    [(ELSEWHERE, 5.0, "is moving to another server"), (RECOVERING, 2.0, "the database is away")],
)
@pytest.mark.parametrize("is_host", [False, True])
def test_an_event_that_is_to_be_here_or_elsewhere_is_to_be_asked_for_again(
    event: str, wait: float, why: str, *, is_host: bool
) -> None:
    """Neither by a participant nor by a host, who could otherwise only create it a second time."""
    harness = ConnectionHarness()
    first = Host(event=event, key=KEY) if is_host else Join(event=event, name="a", instance="a")
    assert not harness.shaken().receive(first, harness.now)
    records, messages, ((code, reason),) = harness.outcome()
    assert (records, messages, code, retry_after_in_reason(reason)) == ([], [], 1013, wait)
    assert why in reason
    assert len(reason.encode()) <= 123


def test_useless_first_messages_are_answered_and_then_end_the_connection() -> None:
    harness = ConnectionHarness(strike_limit=3, address_failures=1)
    connection = harness.shaken()
    harness.receive(connection, Probe(1))
    connection.receive_malformed("message", "is no JSON", harness.now)
    harness.receive(connection, HostCommand(HostAction.START, 0), JOIN)
    records, messages, closes = harness.outcome()
    assert records == [(WRONG, "unexpected"), (WRONG, "malformed"), (WRONG, "unexpected"), (REFUSED, "strikes")]
    assert messages[:2] == [
        Error(ErrorCode.UNEXPECTED, "type", "the first message must be join or resume"),
        Error(ErrorCode.MALFORMED, "message", "is no JSON"),
    ]
    assert closes == [(4203, "too many useless messages")]
    assert harness.policy.record_failure("10.0.0.1", harness.now) == 0.0  # it was the first
