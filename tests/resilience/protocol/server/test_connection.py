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
    Disconnect,
    LeaveRoom,
    Record,
)
from resilience.protocol.messages import (
    ClientMessage,
    CreateEvent,
    Error,
    ErrorCode,
    Host,
    HostAction,
    HostCommand,
    Join,
    Probe,
)
from resilience.protocol.server.connection import ServerConnection
from resilience.protocol.states import SERVER_CONNECTION_TRANSITIONS, ServerConnectionState
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from tests.support.connection_harness import (
    BROWSER,
    ELSEWHERE,
    HERE,
    HOST,
    JOIN,
    KEY,
    NOWHERE,
    REFUSED,
    RESUME,
    SHED,
    WRONG,
    ConnectionHarness,
    rejection,
)
from tests.support.machines import joined

S = ServerConnectionState
PLAN = QuizPlan(arithmetic_questions(7, 2, 5.0), "Sums")


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


def wait_after_message(connection: ServerConnection, now: float) -> float:
    """How long the next message has to wait once one of 30 bytes was read."""
    connection.input.charge(1, 30, now)
    return connection.input_wait(now)


def test_a_message_beyond_the_rate_waits_and_is_recorded() -> None:
    harness = ConnectionHarness(message_rate=2.0, message_burst=3)
    connection = harness.in_state(S.PARTICIPANT)
    waits = [wait_after_message(connection, harness.now) for _ in range(3)]
    assert waits == pytest.approx([0.0, 0.0, 0.5], abs=0.01)
    *_, record = harness.connections.effects()
    assert isinstance(record, Record)
    assert record.kind is LogEventKind.MESSAGE_DELAYED
    assert record.value == waits[-1]
    harness.now += 1.0
    assert connection.input_wait(harness.now) == 0.0


def test_first_messages_are_charged_as_all_others() -> None:
    """From the first byte: until the first message a peer has five seconds in which it could send anything."""
    harness = ConnectionHarness(message_rate=1.0, message_burst=1)
    connection = harness.shaken()
    waits = [wait_after_message(connection, harness.now) for _ in range(4)]
    assert waits == pytest.approx([1.0, 2.0, 3.0, 4.0], abs=0.05)


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
    lambda h, c: wait_after_message(c, h.now),
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
