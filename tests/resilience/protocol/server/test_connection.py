"""The life of one server connection, without sockets: every transition, every refusal with its record, any order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode, RetryClass, retry_after_in_reason, retry_class
from resilience.policy.handshake import HandshakeRequest
from resilience.protocol.effects import (
    AbortConnection,
    AttachHost,
    Disconnect,
    LeaveRoom,
    OpenEvent,
    Record,
    SendToClient,
    SetMaxMessageSize,
)
from resilience.protocol.messages import (
    ClientMessage,
    CreateEvent,
    Error,
    ErrorCode,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    Join,
    Probe,
    ProbeReply,
    Resume,
)
from resilience.protocol.server.connection import MAX_HOST_MESSAGE_BYTES, ServerConnection
from resilience.protocol.server.event_location import EventLocation
from resilience.protocol.states import SERVER_CONNECTION_TRANSITIONS, ServerConnectionState
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from tests.support.connection_harness import (
    ELSEWHERE,
    HERE,
    JOIN,
    KEY,
    NOWHERE,
    RECOVERING,
    ConnectionHarness,
    rejection,
)
from tests.support.machines import joined

S = ServerConnectionState
REFUSED, SHED, WRONG = (
    kind.value for kind in (LogEventKind.CONNECTION_REFUSED, LogEventKind.JOIN_SHED, LogEventKind.MESSAGE_REFUSED)
)
BROWSER = HandshakeRequest("10.0.0.1", ("http://quiz",), ("quiz",))
RESUME = Resume(event=HERE, token="t")
HOST = Host(event=HERE, key=KEY)
PLAN = QuizPlan(arithmetic_questions(7, 2, 5.0), "Sums")
OTHER = QuizPlan(arithmetic_questions(8, 2, 5.0), "Other sums")


# the table ------------------------------------------------------------------------------------------------------------

Step = Callable[[ConnectionHarness, ServerConnection], object]

STEPS: dict[tuple[ServerConnectionState, ServerConnectionState], Step] = {
    (S.HANDSHAKING, S.AWAITING_FIRST_MESSAGE): lambda _, c: c.handshake_completed(),
    (S.HANDSHAKING, S.CLOSED): lambda h, c: c.transport_lost(h.now),
    (S.AWAITING_FIRST_MESSAGE, S.JOINING): lambda h, c: c.receive(JOIN, h.now),
    (S.AWAITING_FIRST_MESSAGE, S.HOST): lambda h, c: c.receive(HOST, h.now),
    (S.AWAITING_FIRST_MESSAGE, S.CLOSED): lambda h, c: h.wait(h.config.first_message_deadline),
    (S.JOINING, S.PARTICIPANT): lambda h, c: c.message_sent(joined(), h.now),
    (S.JOINING, S.CLOSED): lambda _, c: c.slow_consumer(),
    (S.PARTICIPANT, S.CLOSED): lambda _, c: c.close(CloseCode.SUPERSEDED, "elsewhere"),
    (S.HOST, S.CLOSED): lambda _, c: c.input_ended(None),
    (S.DRAINING, S.CLOSED): lambda _, c: c.input_ended(1012),
    **{
        (state, S.DRAINING): lambda _, c: c.drain(1.0)
        for state in (S.AWAITING_FIRST_MESSAGE, S.JOINING, S.PARTICIPANT, S.HOST)
    },
}


def test_the_steps_below_are_all_of_the_table() -> None:
    table = {(before, after) for before, following in SERVER_CONNECTION_TRANSITIONS.items() for after in following}
    assert set(STEPS) == table


@pytest.mark.parametrize("before, after", list(STEPS))
def test_each_transition_of_the_table_happens(before: ServerConnectionState, after: ServerConnectionState) -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(before)
    STEPS[before, after](harness, connection)
    assert connection.state is after


@pytest.mark.parametrize("state", [S.DRAINING, S.CLOSED])
def test_messages_of_a_connection_that_the_server_closed_are_ignored(state: ServerConnectionState) -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(state)
    assert connection.is_ended
    assert harness.receive(connection, JOIN, RESUME, HOST, Probe(1)) == [False] * 4
    connection.receive_malformed("type", "is missing", harness.now)
    connection.close(CloseCode.LEFT, "goodbye")
    connection.drain(1.0)
    harness.wait(1000.0)
    assert harness.connections.effects() == []


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


# participants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.JOINING, S.PARTICIPANT])
def test_every_message_after_the_first_is_the_rooms(state: ServerConnectionState) -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(state)
    assert harness.receive(connection, Probe(1), JOIN, HOST, CreateEvent(PLAN)) == [True] * 4
    assert harness.connections.effects() == []


def test_unreadable_messages_are_named_and_too_many_end_the_connection() -> None:
    harness = ConnectionHarness(strike_limit=2, address_failures=1)
    connection = harness.in_state(S.PARTICIPANT)
    connection.receive_malformed("answer.key", "Expected `str`", harness.now)
    assert harness.outcome()[:2] == (
        [(WRONG, "malformed")],
        [Error(ErrorCode.MALFORMED, "answer.key", "Expected `str`")],
    )
    connection.receive_malformed("answer.key", "Expected `str`", harness.now)
    records, _, closes = harness.outcome()
    assert records == [(WRONG, "malformed"), (REFUSED, "strikes")]
    assert closes == [(4203, "too many unreadable messages")]
    assert harness.policy.record_failure("10.0.0.1", harness.now) > 0.0  # it counted as a failure


def test_a_message_beyond_the_rate_waits_and_is_recorded() -> None:
    harness = ConnectionHarness(message_rate=2.0, message_burst=3)
    connection = harness.in_state(S.PARTICIPANT)
    assert [connection.message_arrived(harness.now) for _ in range(3)] == [0.0] * 3
    assert connection.message_arrived(harness.now) == pytest.approx(0.5)
    (record,) = harness.connections.effects()
    assert isinstance(record, Record)
    assert record.kind is LogEventKind.MESSAGE_DELAYED
    assert record.value == pytest.approx(0.5)
    harness.now += 1.0
    assert connection.message_arrived(harness.now) == 0.0


def test_first_messages_are_charged_as_all_others() -> None:
    """From the first byte: until the first message a peer has five seconds in which it could send anything."""
    harness = ConnectionHarness(message_rate=1.0, message_burst=1)
    connection = harness.shaken()
    assert [connection.message_arrived(harness.now) for _ in range(4)] == [0.0, 1.0, 2.0, 3.0]


def test_the_connections_of_one_address_share_its_messages() -> None:
    harness = ConnectionHarness(message_rate=100.0, address_message_rate=2.0, address_message_burst=4)
    first, second = harness.shaken(), harness.shaken()
    other = harness.shaken(HandshakeRequest("10.0.0.2"))
    for connection in (first, second):
        connection.input.charge(2, 60, harness.now)
    assert first.input_wait(harness.now) == second.input_wait(harness.now) == pytest.approx(0.5, abs=0.01)
    assert (other.input_wait(harness.now), first.input.allowance(harness.now)) == (0.0, 0)
    assert other.input.allowance(harness.now) > 0
    assert [record for record, _ in harness.outcome()[0]] == ["message.delayed"] * 2


def test_a_refused_token_has_the_deadline_again() -> None:
    harness = ConnectionHarness()
    connection = harness.shaken()
    harness.receive(connection, RESUME)
    harness.wait(60.0)
    connection.message_sent(rejection(), harness.now)
    harness.wait(4.9)
    assert harness.outcome() == ([], [], [])
    assert harness.receive(connection, JOIN) == [True]
    harness.wait(60.0)
    assert harness.outcome() == ([], [], [])
    connection.message_sent(rejection(), harness.now)
    harness.wait(5.0)
    assert harness.outcome() == ([(REFUSED, "late")], [], [(4001, "say join or resume first")])


def test_an_address_that_guesses_tokens_is_closed_with_a_time() -> None:
    harness = ConnectionHarness(address_failures=3)
    connection = harness.in_state(S.JOINING)
    for _ in range(4):
        connection.message_sent(rejection(), harness.now)
    records, _, ((code, reason),) = harness.outcome()
    assert records == [(SHED, "address")]
    assert code == 4100
    assert retry_after_in_reason(reason) == pytest.approx(20.0)


def test_a_rejection_after_the_transport_is_gone_leaves_no_deadline() -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(S.JOINING)
    connection.transport_lost(harness.now)
    connection.message_sent(rejection(), harness.now)
    connection.input_ended(None)
    assert harness.connections.next_deadline() is None


# hosts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host_key, why", [(KEY, "the host key is wrong"), (None, "this server takes no hosts")], ids=["wrong", "none"]
)
def test_a_host_without_the_key_is_refused_for_good_and_counted(host_key: str | None, why: str) -> None:
    harness = ConnectionHarness(host_key=host_key, address_failures=1)
    connection = harness.shaken()
    assert not connection.receive(Host(event=HERE, key="guess"), harness.now)
    assert harness.outcome() == ([(REFUSED, "key")], [], [(4204, why)])
    assert harness.policy.record_failure("10.0.0.1", harness.now) > 0.0


def test_a_host_of_another_protocol_is_refused_before_its_key_is_compared() -> None:
    harness = ConnectionHarness()
    for key in (KEY, "guess"):
        assert not harness.shaken().receive(Host(event=HERE, key=key, protocol=99), harness.now)
        assert harness.outcome() == ([(REFUSED, "protocol")], [], [(1002, "this server speaks protocol 1")])


def test_a_key_is_not_compared_for_an_address_over_its_limit_whatever_was_opened_before() -> None:
    """Right or wrong: who guesses over connections of before learns nothing, and comes back when it may."""
    harness = ConnectionHarness(address_failures=3)
    opened = [harness.shaken() for _ in range(5)]
    other = harness.shaken(HandshakeRequest("10.0.0.2"))
    for connection in opened[:3]:
        harness.receive(connection, Host(event=HERE, key="guess"))
    assert [code for code, _ in harness.outcome()[2]] == [4204] * 3
    for connection, key in zip(opened[3:], ("guess", KEY), strict=True):
        harness.receive(connection, Host(event=HERE, key=key))
        records, _, ((code, reason),) = harness.outcome()
        assert (records, code) == ([(SHED, "address")], 4100)
        assert retry_after_in_reason(reason) == pytest.approx(60.0)
    harness.receive(other, HOST)
    assert other.state is S.HOST


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60))
@settings(deadline=None)
def test_no_minute_sees_more_wrong_keys_compared_than_the_limit(gaps: list[float]) -> None:
    harness = ConnectionHarness(address_failures=5, first_message_deadline=10_000)
    opened, compared = [harness.shaken() for _ in gaps], []
    for gap, connection in zip(gaps, opened, strict=True):
        harness.now += gap
        harness.receive(connection, Host(event=HERE, key="guess"))
        if harness.outcome()[2][0][0] == 4204:
            compared.append(harness.now)
    assert compared
    assert all(later - first >= 60.0 - 1e-5 for first, later in zip(compared, compared[5:], strict=False))


def test_a_host_of_an_event_that_is_here_is_attached_and_may_send_more() -> None:
    harness = ConnectionHarness()
    connection = harness.shaken()
    assert not connection.receive(HOST, harness.now)
    assert harness.effects() == [
        SetMaxMessageSize(connection.key, MAX_HOST_MESSAGE_BYTES),
        AttachHost(connection.key, HERE),
    ]
    assert harness.receive(connection, Probe(1), HostCommand(HostAction.START, 0)) == [True, True]


def test_a_host_creates_its_events_one_after_the_other() -> None:
    harness = ConnectionHarness()
    connection = harness.shaken()
    key = connection.key
    connection.receive(Host(event="later", key=KEY), harness.now)
    assert harness.effects()[1:] == [SendToClient(key, Hosting("later"))]
    harness.receive(connection, CreateEvent(PLAN), CreateEvent(OTHER))
    assert harness.effects() == [OpenEvent(key, "later", PLAN)]
    harness.events["later"] = EventLocation.HERE
    connection.event_opened()
    assert harness.effects() == [
        SendToClient(key, HostResult("create", "done", 0)),
        AttachHost(key, "later"),
        OpenEvent(key, "later", OTHER),
    ]
    connection.event_not_opened("it is under way")
    assert harness.effects() == [SendToClient(key, HostResult("create", "refused", 0, "it is under way"))]
    harness.receive(connection, CreateEvent(PLAN))
    assert harness.effects() == [OpenEvent(key, "later", PLAN)]


def test_a_host_without_an_event_may_probe_and_create_only() -> None:
    harness = ConnectionHarness()
    connection = harness.shaken()
    connection.receive(Host(event="later", key=KEY), harness.now)
    harness.connections.effects()
    assert harness.receive(connection, Probe(4), HostCommand(HostAction.START, 0)) == [False, False]
    records, messages, closes = harness.outcome()
    assert records == [(WRONG, "unexpected")]
    assert messages == [ProbeReply(4), Error(ErrorCode.UNEXPECTED, "type", "create the event first")]
    assert closes == []


def test_a_silent_host_without_an_event_is_cut_off_and_one_that_probes_stays() -> None:
    harness = ConnectionHarness(grace_period=30.0)
    silent, patient = harness.shaken(), harness.shaken()
    for connection in (silent, patient):
        connection.receive(Host(event="later", key=KEY), harness.now)
    for _ in range(5):
        harness.wait(20.0)
        patient.receive(Probe(1), harness.now)
    assert [effect for effect in harness.effects() if isinstance(effect, AbortConnection)] == [
        AbortConnection(silent.key)
    ]
    harness.events["later"] = EventLocation.HERE
    patient.event_opened()
    harness.connections.effects()
    harness.wait(1000.0)  # now its silence is the room's concern
    assert harness.connections.effects() == []


# the end --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code, cause", [(None, "closed"), (1001, "close_1001"), (4200, "close_4200")])
def test_the_room_learns_how_a_connection_ended(code: int | None, cause: str) -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(S.PARTICIPANT)
    connection.transport_lost(harness.now)
    assert harness.receive(connection, Probe(1)) == [True]  # it came before the end
    connection.input_ended(code)
    assert harness.connections.effects() == [LeaveRoom(connection.key, cause)]
    assert connection.state is S.CLOSED


def test_a_slow_consumer_is_cut_off_and_reported_as_slow() -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(S.PARTICIPANT)
    connection.slow_consumer()
    connection.input_ended(1001)
    assert harness.connections.effects() == [AbortConnection(connection.key), LeaveRoom(connection.key, "slow")]


def test_a_slow_consumer_that_the_server_closed_is_cut_off_too() -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(S.CLOSED)
    connection.slow_consumer()
    assert harness.connections.effects() == [AbortConnection(connection.key)]


def test_a_silent_client_takes_no_part_in_a_closing_handshake() -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(S.PARTICIPANT)
    connection.close(CloseCode.SILENT, "no sign of life")
    assert harness.connections.effects() == [AbortConnection(connection.key)]


def test_a_connection_without_a_room_leaves_none() -> None:
    harness = ConnectionHarness()
    connection = harness.shaken()
    connection.transport_lost(harness.now)
    connection.input_ended(None)
    assert harness.connections.effects() == []


@pytest.mark.parametrize("is_closed, recorded", [(False, [(REFUSED, "protocol")]), (True, [])])
def test_a_violation_is_recorded_unless_the_server_had_closed_it_already(
    is_closed: bool, recorded: list[tuple[str, str]]
) -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(S.CLOSED if is_closed else S.PARTICIPANT)
    connection.transport_lost(harness.now, is_violation=True)
    assert harness.outcome()[0] == recorded


@pytest.mark.parametrize("state", [S.AWAITING_FIRST_MESSAGE, S.JOINING, S.PARTICIPANT, S.HOST])
def test_a_drained_connection_receives_a_retry_time(state: ServerConnectionState) -> None:
    harness = ConnectionHarness()
    connection = harness.in_state(state)
    connection.drain(3.25)
    assert harness.connections.effects() == [Disconnect(connection.key, 1012, "retry_after=3.250")]
    assert retry_class(1012) is RetryClass.RETRY_ADVISED
    harness.wait(100.0)
    assert harness.connections.effects() == []


def test_a_drain_cuts_off_who_has_not_completed_a_handshake() -> None:
    """Such a connection would keep the server until its first-message deadline."""
    harness = ConnectionHarness()
    connection = harness.open()
    connection.drain(3.25)
    assert harness.connections.effects() == [AbortConnection(connection.key)]
    assert connection.is_ended


def test_a_stopped_server_closes_nothing_by_the_clock() -> None:
    harness = ConnectionHarness()
    harness.open()
    harness.connections.stop()
    assert harness.connections.next_deadline() is None


# any order ------------------------------------------------------------------------------------------------------------

MESSAGES: list[ClientMessage] = [
    JOIN,
    RESUME,
    HOST,
    Join(event=NOWHERE, name="a", instance="a"),
    Join(event=ELSEWHERE, name="a", instance="a"),
    Host(event="later", key=KEY),
    Host(event=HERE, key="guess"),
    Probe(1),
    CreateEvent(PLAN),
    HostCommand(HostAction.START, 0),
]
INPUTS: list[Step] = [
    *(lambda h, c, message=message: c.receive(message, h.now) for message in MESSAGES),
    lambda h, c: h.shake(c),
    lambda h, c: h.shake(c, BROWSER),
    lambda _, c: c.handshake_completed(),
    lambda h, c: c.message_arrived(h.now),
    lambda h, c: c.receive_malformed("type", "is missing", h.now),
    lambda h, c: c.message_sent(joined(), h.now),
    lambda h, c: c.message_sent(rejection(), h.now),
    lambda _, c: c.event_opened(),
    lambda _, c: c.event_not_opened("it is under way"),
    lambda _, c: c.slow_consumer(),
    lambda _, c: c.close(CloseCode.SUPERSEDED, "elsewhere"),
    lambda _, c: c.close(CloseCode.SILENT, "no sign of life"),
    lambda _, c: c.drain(1.0),
    lambda h, c: c.transport_lost(h.now, is_violation=True),
    lambda _, c: c.input_ended(1001),
    lambda h, _: h.wait(3.0),
    lambda h, _: setattr(h.policy, "draining_for", 2.0),
]
USUAL = [len(MESSAGES), len(MESSAGES) + 2]
"""A handshake that is accepted, so that half of all sequences come beyond it."""


@given(st.booleans(), st.lists(st.integers(0, len(INPUTS) - 1), max_size=40))
@settings(deadline=None)
def test_no_order_of_inputs_leaves_the_table_or_outlives_the_end(usual: bool, inputs: list[int]) -> None:
    """Nothing raises, states follow the table, at most one close frame and one report to the room, no deadline left."""
    harness = ConnectionHarness(strike_limit=3, message_rate=5.0, message_burst=3, address_failures=4)
    connection = harness.open()
    states, effects = [connection.state], []
    for chosen in [*(USUAL if usual else ()), *inputs]:
        ended = connection.is_ended
        wanted = INPUTS[chosen](harness, connection)
        assert not (ended and wanted is True)
        assert connection.state in {states[-1], *SERVER_CONNECTION_TRANSITIONS[states[-1]]}
        states.append(connection.state)
        effects += harness.connections.effects()
    connection.input_ended(None)
    effects += harness.connections.effects()
    assert connection.state is S.CLOSED
    assert harness.connections.next_deadline() is None
    assert sum(isinstance(effect, Disconnect) for effect in effects) <= 1
    assert sum(isinstance(effect, LeaveRoom) for effect in effects) <= 1
    assert {effect.connection for effect in effects if not isinstance(effect, Record)} <= {connection.key}
