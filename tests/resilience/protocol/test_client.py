"""The client machine, each state against each input; dialling and joining."""

from __future__ import annotations

import pytest

from resilience.config import ClientConfig
from resilience.protocol.effects import AbortTransport, Deliver, OpenTransport, SendToServer
from resilience.protocol.messages import Join, PresenceChanged, QuizFinished, Resume, ResumeRejected, TokenStored
from resilience.protocol.states import CLIENT_TRANSITIONS, ClientState
from tests.resilience.protocol.seats import INPUTS, MOVES, seat_in
from tests.resilience.protocol.stand import Seat, joined


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("state", ClientState)
def test_each_state_against_each_input(state: ClientState, what: str) -> None:
    """Nothing crashes, and nothing moves but what is listed."""
    seat = seat_in(state)
    INPUTS[what](seat.machine, seat.machine.dial)
    assert seat.machine.state is MOVES.get((state, what), state)


def test_the_moves_are_in_the_table() -> None:
    """No input leads where the table of states does not."""
    assert all(after in CLIENT_TRANSITIONS[before] for (before, _), after in MOVES.items())


@pytest.mark.parametrize("state", ClientState)
@pytest.mark.parametrize("what", ["opened", "failed", "lost", "superseded", "joined", "ping", "gap"])
def test_nothing_of_an_old_dial_counts(state: ClientState, what: str) -> None:
    """F4: a late close or message of an abandoned socket changes nothing and asks for nothing."""
    seat = seat_in(state)
    machine = seat.machine
    before = (machine.state, machine.next_deadline(), machine.seq, machine.credentials)
    INPUTS[what](machine, machine.dial - 1)
    assert (machine.state, machine.next_deadline(), machine.seq, machine.credentials) == before
    assert seat.take() == []


# dialling and joining -------------------------------------------------------------------------------------------------


def test_a_first_start_dials_and_joins() -> None:
    """Dial one, then ``join``, then the token is acknowledged."""
    seat = Seat()
    seat.machine.start(0.0)
    assert seat.take() == [OpenTransport(1, 0)]
    seat.machine.transport_opened(1, 0.1)
    assert seat.said() == [Join(event="e", name="ann", instance="i1", accepts_deflate=True, attempt=1)]
    welcome = joined(seq=4)
    seat.machine.receive(welcome, 1, 0.2)
    assert seat.take() == [SendToServer(TokenStored(1)), Deliver(welcome)]
    assert (seat.machine.seq, seat.machine.epoch, seat.machine.participant) == (4, "1", "p1")


def test_a_return_resumes_with_token_and_position() -> None:
    """Not by name, and with how far the stream was heard."""
    seat = Seat()
    seat.open(seq=4)
    machine = seat.machine
    machine.receive(PresenceChanged(5, 0, (), ()), 1, 1.0)
    machine.transport_lost(1, "closed", 2.0)
    machine.handle_timeout(10.0)
    machine.transport_opened(2, 10.1)
    assert (
        Resume(event="e", token="t1", instance="i1", epoch="1", seq=5, accepts_deflate=True, attempt=1) in seat.said()
    )


def test_zero_event_resume() -> None:
    """F27: dropped right after the join, the client resumes at seq 0."""
    seat = Seat()
    seat.open(seq=0)
    seat.machine.transport_lost(1, "closed", 0.1)
    seat.machine.handle_timeout(5.0)
    seat.machine.transport_opened(2, 5.1)
    assert seat.said() == [
        Resume(event="e", token="t1", instance="i1", epoch="1", seq=0, accepts_deflate=True, attempt=1)
    ]


@pytest.mark.parametrize("timeout", [0.5, 5.0])
def test_open_timeout(timeout: float) -> None:
    """A dial that nobody answers is let go at its deadline, not before."""
    seat = Seat(ClientConfig(open_timeout=timeout))
    seat.machine.start(0.0)
    seat.take()
    assert seat.machine.next_deadline() == timeout
    seat.machine.handle_timeout(timeout - 0.001)
    assert seat.take() == []
    seat.machine.handle_timeout(timeout)
    assert seat.take() == [AbortTransport(1)]
    assert seat.machine.state is ClientState.BACKING_OFF
    assert seat.records[-2].cause == "open_timeout"


def test_join_timeout() -> None:
    """An open connection that does not answer the join is let go at its deadline."""
    seat = seat_in(ClientState.JOINING)
    assert seat.machine.next_deadline() == 5.0
    seat.machine.handle_timeout(4.999)
    assert seat.take() == []
    seat.machine.handle_timeout(5.0)
    assert seat.take() == [AbortTransport(1)]
    assert seat.machine.state is ClientState.BACKING_OFF


def test_a_rejected_resume_joins_anew_on_the_same_connection() -> None:
    """F36: one refusal, then a fresh join; no loop."""
    seat = Seat()
    seat.open()
    seat.machine.transport_lost(1, "closed", 1.0)
    seat.machine.handle_timeout(9.0)
    seat.machine.transport_opened(2, 9.0)
    seat.take()
    seat.machine.receive(ResumeRejected("unknown"), 2, 9.1)
    assert seat.said() == [Join(event="e", name="ann", instance="i1", accepts_deflate=True, attempt=1)]
    seat.machine.receive(joined(), 2, 9.2)
    assert seat.machine.state is ClientState.OPEN


def test_broadcasts_before_the_snapshot_are_not_taken() -> None:
    """The snapshot is the only beginning of a stream."""
    seat = seat_in(ClientState.JOINING)
    seat.machine.receive(QuizFinished(3, ()), 1, 1.0)
    assert (seat.machine.seq, seat.take()) == (0, [])
