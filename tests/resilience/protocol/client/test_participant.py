"""The client machine, each state against each input; dialling and joining."""

from __future__ import annotations

import pytest

from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import AbortTransport, CloseTransport, Deliver, OpenTransport, SendToServer
from resilience.protocol.messages import Join, PresenceChanged, QuizFinished, Resume, ResumeRejected, TokenStored
from resilience.protocol.states import CLIENT_TRANSITIONS, ClientState
from tests.support.client_states import INPUTS, MOVES, client_in
from tests.support.machines import ClientHarness, joined


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("state", ClientState)
def test_each_state_against_each_input(state: ClientState, what: str) -> None:
    """Nothing crashes, and nothing moves but what is listed."""
    client = client_in(state)
    INPUTS[what](client.machine, client.machine.dial)
    assert client.machine.state is MOVES.get((state, what), state)


def test_the_moves_are_in_the_table() -> None:
    """No input leads where the table of states does not."""
    assert all(after in CLIENT_TRANSITIONS[before] for (before, _), after in MOVES.items())


@pytest.mark.parametrize("state", ClientState)
@pytest.mark.parametrize("what", ["opened", "failed", "lost", "superseded", "joined", "ping", "gap"])
def test_nothing_of_an_old_dial_counts(state: ClientState, what: str) -> None:
    """F4: a late close or message of an abandoned socket changes nothing and asks for nothing."""
    client = client_in(state)
    machine = client.machine
    before = (machine.state, machine.next_deadline(), machine.seq, machine.credentials)
    INPUTS[what](machine, machine.dial - 1)
    assert (machine.state, machine.next_deadline(), machine.seq, machine.credentials) == before
    assert client.take_effects() == []


# dialling and joining -------------------------------------------------------------------------------------------------


def test_a_first_start_dials_and_joins() -> None:
    """Dial one, then ``join``, then the token is acknowledged."""
    client = ClientHarness()
    client.machine.start(0.0)
    assert client.take_effects() == [OpenTransport(1, 0)]
    client.machine.transport_opened(1, 0.1)
    assert client.sent_messages() == [Join(event="e", name="ann", instance="i1", accepts_deflate=True, attempt=1)]
    welcome = joined(seq=4)
    client.machine.receive(welcome, 1, 0.2)
    assert client.take_effects() == [SendToServer(TokenStored(1)), Deliver(welcome)]
    assert (client.machine.seq, client.machine.epoch, client.machine.participant) == (4, "1", "p1")


def test_a_return_resumes_with_token_and_position() -> None:
    """Not by name, and with how far the stream was heard."""
    client = ClientHarness()
    client.open(seq=4)
    machine = client.machine
    machine.receive(PresenceChanged(5, 0, (), ()), 1, 1.0)
    machine.transport_lost(1, "closed", 2.0)
    machine.handle_timeout(10.0)
    machine.transport_opened(2, 10.1)
    assert Resume(event="e", token="t1", participant="p1", accepts_deflate=True, attempt=1) in client.sent_messages()


def test_zero_event_resume() -> None:
    """F27: dropped right after the join, the client resumes at seq 0."""
    client = ClientHarness()
    client.open(seq=0)
    client.machine.transport_lost(1, "closed", 0.1)
    client.machine.handle_timeout(5.0)
    client.machine.transport_opened(2, 5.1)
    assert client.sent_messages() == [Resume(event="e", token="t1", participant="p1", accepts_deflate=True, attempt=1)]


@pytest.mark.parametrize("timeout", [0.5, 5.0])
def test_open_timeout(timeout: float) -> None:
    """An unanswered dial is closed at its deadline, not before."""
    client = ClientHarness(ClientConfig(open_timeout=timeout))
    client.machine.start(0.0)
    client.take_effects()
    assert client.machine.next_deadline() == timeout
    client.machine.handle_timeout(timeout - 0.001)
    assert client.take_effects() == []
    client.machine.handle_timeout(timeout)
    assert client.take_effects() == [AbortTransport(1)]
    assert client.machine.state is ClientState.BACKING_OFF
    assert client.records[-2].cause == "open_timeout"


def test_join_timeout() -> None:
    """An open connection that does not answer the join is let go at its deadline."""
    client = client_in(ClientState.JOINING)
    assert client.machine.next_deadline() == 5.0
    client.machine.handle_timeout(4.999)
    assert client.take_effects() == []
    client.machine.handle_timeout(5.0)
    assert client.take_effects() == [AbortTransport(1)]
    assert client.machine.state is ClientState.BACKING_OFF


def test_a_rejected_resume_joins_again_on_the_same_connection() -> None:
    """F36: one refusal, then a fresh join; no loop."""
    client = ClientHarness()
    client.open()
    client.machine.transport_lost(1, "closed", 1.0)
    client.machine.handle_timeout(9.0)
    client.machine.transport_opened(2, 9.0)
    client.take_effects()
    client.machine.receive(ResumeRejected("unknown"), 2, 9.1)
    assert client.sent_messages() == [Join(event="e", name="ann", instance="i1", accepts_deflate=True, attempt=1)]
    client.machine.receive(joined(), 2, 9.2)
    assert client.machine.state is ClientState.OPEN


@pytest.mark.parametrize("reason", ["retired", "superseded"])
def test_a_client_whose_session_another_one_has_ends(reason: str) -> None:
    """It neither joins as a new participant nor returns: another client of the person has the session."""
    client = ClientHarness()
    client.open()
    client.machine.transport_lost(1, "closed", 1.0)
    client.machine.handle_timeout(9.0)
    client.machine.transport_opened(2, 9.0)
    client.take_effects()
    client.machine.receive(ResumeRejected(reason), 2, 9.1)
    assert client.take_effects() == [CloseTransport(2)]
    assert (client.machine.state, client.machine.next_deadline()) == (ClientState.CLOSED, None)
    assert client.machine.participant == "p1"
    assert client.records[-1].kind is LogEventKind.SESSION_SUPERSEDED
    assert client.machine.dismissal is not None
    assert client.machine.dismissal.code == CloseCode.SUPERSEDED


def test_broadcasts_before_the_snapshot_are_not_taken() -> None:
    """The snapshot is the only beginning of a stream."""
    client = client_in(ClientState.JOINING)
    client.machine.receive(QuizFinished(3, ()), 1, 1.0)
    assert (client.machine.seq, client.take_effects()) == (0, [])
