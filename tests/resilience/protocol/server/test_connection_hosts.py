"""The server connection of a host: its key, the creation of events, and its silence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import retry_after_in_reason
from resilience.policy.handshake import HandshakeRequest
from resilience.protocol.effects import (
    AbortConnection,
    AttachHost,
    OpenEvent,
    SendToClient,
    SetMaxMessageSize,
)
from resilience.protocol.messages import (
    CreateEvent,
    Error,
    ErrorCode,
    Host,
    HostAction,
    HostCommand,
    Hosting,
    HostResult,
    Probe,
    ProbeReply,
)
from resilience.protocol.server.connection import MAX_HOST_MESSAGE_BYTES
from resilience.protocol.server.event_location import EventLocation
from resilience.protocol.states import ServerConnectionState
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from tests.support.connection_harness import (
    HERE,
    KEY,
    ConnectionHarness,
)

S = ServerConnectionState
REFUSED, SHED, WRONG = (
    kind.value for kind in (LogEventKind.CONNECTION_REFUSED, LogEventKind.JOIN_SHED, LogEventKind.MESSAGE_REFUSED)
)
HOST = Host(event=HERE, key=KEY)
PLAN = QuizPlan(arithmetic_questions(7, 2, 5.0), "Sums")
OTHER = QuizPlan(arithmetic_questions(8, 2, 5.0), "Other sums")


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
