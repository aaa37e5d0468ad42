"""The client machine, each state against each input."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resilience.config import ClientConfig
from resilience.events import EventKind
from resilience.policy.backoff import Preset
from resilience.policy.retry import CloseCode
from resilience.protocol.client import ClientMachine
from resilience.protocol.effects import Abandon, Deliver, Dial, Hangup, SendUp
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    Error,
    Join,
    Leave,
    Ping,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    QuizFinished,
    Resume,
    ResumeRejected,
    TokenStored,
)
from resilience.protocol.states import CLIENT_TRANSITIONS, ClientState
from tests.resilience.protocol.stand import Seat, joined, restored

CLASSIC = ClientConfig(preset=Preset.CLASSIC)


def seat_in(state: ClientState) -> Seat:
    """A client brought into a state at time 0 by ordinary means."""
    seat = Seat(CLASSIC if state is ClientState.GAVE_UP else None)
    machine = seat.machine
    if state is ClientState.IDLE:
        return seat
    machine.start(0.0)
    if state in (ClientState.JOINING, ClientState.OPEN, ClientState.CLOSED):
        machine.transport_opened(1, 0.0)
    if state in (ClientState.OPEN, ClientState.CLOSED):
        machine.receive(joined(), 1, 0.0)
    if state is ClientState.CLOSED:
        machine.leave(0.0)
    if state is ClientState.BACKING_OFF:
        machine.transport_failed(1, "refused", 0.0)
    if state is ClientState.GAVE_UP:
        exhaust(machine)
    seat.take()
    assert machine.state is state
    return seat


def exhaust(machine: ClientMachine) -> None:
    """Every dial is refused until the client gives up."""
    for _ in range(100):
        machine.transport_failed(machine.dial, "refused", machine.next_deadline() or 0.0)
        machine.handle_timeout(machine.next_deadline() or 0.0)


INPUTS: dict[str, Callable[[ClientMachine, int], None]] = {
    "start": lambda m, _: m.start(1.0),
    "opened": lambda m, dial: m.transport_opened(dial, 1.0),
    "failed": lambda m, dial: m.transport_failed(dial, "refused", 1.0),
    "lost": lambda m, dial: m.transport_lost(dial, "closed", 1.0),
    "superseded": lambda m, dial: m.transport_lost(dial, "closed", 1.0, CloseCode.SUPERSEDED),
    "joined": lambda m, dial: m.receive(joined(), dial, 1.0),
    "restored": lambda m, dial: m.receive(restored(), dial, 1.0),
    "rejected": lambda m, dial: m.receive(ResumeRejected("unknown"), dial, 1.0),
    "ping": lambda m, dial: m.receive(Ping(7, 100, 300, 3000), dial, 1.0),
    "gap": lambda m, dial: m.receive(QuizFinished(9, ()), dial, 1.0),
    "answer": lambda m, _: m.answer("q1", 2, 1.0),
    "leave": lambda m, _: m.leave(1.0),
    "wake": lambda m, _: m.wake(1.0),
    "early": lambda m, _: m.handle_timeout(0.0),
    "late": lambda m, _: m.handle_timeout(500.0),
}
"""What can happen to a client, under a dial number."""

S = ClientState
MOVES = {
    (S.IDLE, "start"): S.CONNECTING,
    (S.IDLE, "leave"): S.CLOSED,
    (S.CONNECTING, "opened"): S.JOINING,
    (S.CONNECTING, "failed"): S.BACKING_OFF,
    (S.CONNECTING, "late"): S.BACKING_OFF,
    (S.CONNECTING, "leave"): S.CLOSED,
    (S.JOINING, "lost"): S.BACKING_OFF,
    (S.JOINING, "superseded"): S.CLOSED,
    (S.JOINING, "joined"): S.OPEN,
    (S.JOINING, "restored"): S.OPEN,
    (S.JOINING, "late"): S.BACKING_OFF,
    (S.JOINING, "leave"): S.CLOSED,
    (S.OPEN, "lost"): S.BACKING_OFF,
    (S.OPEN, "superseded"): S.CLOSED,
    (S.OPEN, "gap"): S.BACKING_OFF,
    (S.OPEN, "leave"): S.CLOSED,
    (S.BACKING_OFF, "late"): S.CONNECTING,
    (S.BACKING_OFF, "wake"): S.CONNECTING,
    (S.BACKING_OFF, "leave"): S.CLOSED,
    (S.GAVE_UP, "start"): S.CONNECTING,
    (S.GAVE_UP, "wake"): S.CONNECTING,
    (S.GAVE_UP, "leave"): S.CLOSED,
}
"""Every input that moves a client, by the state it is in; all others leave it where it is."""


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
    assert seat.take() == [Dial(1, 0)]
    seat.machine.transport_opened(1, 0.1)
    assert seat.said() == [Join(event="e", name="ann", instance="i1")]
    welcome = joined(seq=4)
    seat.machine.receive(welcome, 1, 0.2)
    assert seat.take() == [SendUp(TokenStored(1)), Deliver(welcome)]
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
    assert Resume(event="e", token="t1", instance="i1", epoch="1", seq=5) in seat.said()


def test_zero_event_resume() -> None:
    """F27: dropped right after the join, the client resumes at seq 0."""
    seat = Seat()
    seat.open(seq=0)
    seat.machine.transport_lost(1, "closed", 0.1)
    seat.machine.handle_timeout(5.0)
    seat.machine.transport_opened(2, 5.1)
    assert seat.said() == [Resume(event="e", token="t1", instance="i1", epoch="1", seq=0)]


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
    assert seat.take() == [Abandon(1)]
    assert seat.machine.state is ClientState.BACKING_OFF
    assert seat.records[-2].cause == "open_timeout"


def test_join_timeout() -> None:
    """An open connection that does not answer the join is let go at its deadline."""
    seat = seat_in(ClientState.JOINING)
    assert seat.machine.next_deadline() == 5.0
    seat.machine.handle_timeout(4.999)
    assert seat.take() == []
    seat.machine.handle_timeout(5.0)
    assert seat.take() == [Abandon(1)]
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
    assert seat.said() == [Join(event="e", name="ann", instance="i1")]
    seat.machine.receive(joined(), 2, 9.2)
    assert seat.machine.state is ClientState.OPEN


def test_broadcasts_before_the_snapshot_are_not_taken() -> None:
    """The snapshot is the only beginning of a stream."""
    seat = seat_in(ClientState.JOINING)
    seat.machine.receive(QuizFinished(3, ()), 1, 1.0)
    assert (seat.machine.seq, seat.take()) == (0, [])


# the open session -----------------------------------------------------------------------------------------------------


def test_pings_are_answered_and_bring_the_window() -> None:
    """Pong with the same id; the announcement sets the next first delay."""
    seat = Seat(u=0.5)
    seat.open()
    seat.machine.receive(Ping(7, 4000, 300, 3000), 1, 1.0)
    assert seat.said() == [Pong(7)]
    seat.machine.transport_lost(1, "closed", 2.0)
    assert seat.machine.next_deadline() == pytest.approx(4.0)


def test_the_stream_is_taken_in_order_and_once() -> None:
    """A repeated number is ignored."""
    seat = Seat()
    seat.open(seq=3)
    for seq in (4, 4, 3, 5):
        seat.machine.receive(QuizFinished(seq, ()), 1, 1.0)
    assert seat.take() == [Deliver(QuizFinished(4, ())), Deliver(QuizFinished(5, ()))]


def test_a_gap_in_the_stream_reconnects() -> None:
    """F25: what is missing is fetched by a resume from the last number heard."""
    seat = Seat()
    seat.open(seq=3)
    seat.machine.receive(QuizFinished(5, ()), 1, 1.0)
    assert seat.take() == [Abandon(1)]
    assert (seat.machine.state, seat.machine.seq) == (ClientState.BACKING_OFF, 3)
    seat.machine.handle_timeout(9.0)
    assert isinstance(seat.back(9.0, seq=5)[0], TokenStored)
    assert seat.machine.seq == 5


def test_silence_probes_and_then_reconnects() -> None:
    """4 s of silence, 2 s for the reply, and the dial is let go without waiting for TCP."""
    seat = Seat()
    seat.open()
    seat.machine.handle_timeout(4.0)
    assert seat.said() == [Probe(1)]
    seat.machine.handle_timeout(6.0)
    assert seat.take() == [Abandon(1)]
    assert seat.machine.state is ClientState.BACKING_OFF


def test_a_reply_in_time_keeps_the_session() -> None:
    """And is nothing that the application hears of."""
    seat = Seat()
    seat.open()
    seat.machine.handle_timeout(4.0)
    seat.take()
    seat.machine.receive(ProbeReply(1), 1, 5.9)
    seat.machine.handle_timeout(6.0)
    assert (seat.take(), seat.machine.state) == ([], ClientState.OPEN)


def test_a_probe_does_not_follow_into_the_next_connection() -> None:
    """F10: an unanswered probe of the old connection does not kill the new one."""
    seat = Seat()
    seat.open()
    seat.machine.handle_timeout(4.0)
    seat.machine.transport_lost(1, "closed", 4.1)
    seat.machine.handle_timeout(5.5)
    seat.back(5.5)
    assert seat.machine.next_deadline() == 9.5
    seat.machine.handle_timeout(6.0)
    assert seat.machine.state is ClientState.OPEN


@pytest.mark.parametrize("slept", [5.0, 45.0, 300.0])
def test_waking_from_sleep_probes_first(slept: float) -> None:
    """F6: an open state is not trusted, nor thrown away unasked."""
    seat = Seat()
    seat.open()
    seat.machine.wake(slept)
    assert seat.said() == [Probe(1)]
    seat.machine.handle_timeout(slept + 2.0)
    assert seat.machine.state is ClientState.BACKING_OFF


def test_a_typed_error_of_the_server_is_handed_on() -> None:
    """The connection stays."""
    seat = Seat()
    seat.open()
    seat.machine.receive(Error("protocol", "choice", "bad"), 1, 1.0)
    assert seat.take() == [Deliver(Error("protocol", "choice", "bad"))]
    assert seat.machine.state is ClientState.OPEN


# endings --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [CloseCode.SUPERSEDED, CloseCode.LEFT, CloseCode.EVENT_UNKNOWN, CloseCode.STRIKES, CloseCode.NORMAL]
)
def test_terminal_codes_stop(code: CloseCode) -> None:
    """F11: the loser of a takeover stays down, whatever happens to it."""
    seat = Seat()
    seat.open()
    seat.machine.transport_lost(1, "closed", 1.0, code)
    assert seat.machine.state is ClientState.CLOSED
    assert seat.machine.next_deadline() is None
    for what in INPUTS.values():
        what(seat.machine, seat.machine.dial)
    assert (seat.machine.state, seat.take()) == (ClientState.CLOSED, [])


def test_a_takeover_is_recorded_as_one() -> None:
    """And the other terminal codes are told apart too."""
    for code, kind in [
        (CloseCode.SUPERSEDED, EventKind.SESSION_SUPERSEDED),
        (CloseCode.LEFT, EventKind.CLIENT_LEFT),
        (CloseCode.STRIKES, EventKind.CLIENT_DISMISSED),
    ]:
        seat = Seat()
        seat.open()
        seat.machine.transport_lost(1, "closed", 1.0, code)
        seat.take()
        assert seat.records[-1].kind is kind


@pytest.mark.parametrize("code", [CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART, CloseCode.SILENT, 1006, 4999])
def test_other_codes_come_back(code: int) -> None:
    """A restart, a death by silence and the unknown are retried."""
    seat = Seat()
    seat.open()
    seat.machine.transport_lost(1, "closed", 1.0, code)
    assert seat.machine.state is ClientState.BACKING_OFF


@pytest.mark.parametrize("state", [ClientState.CONNECTING, ClientState.JOINING, ClientState.OPEN])
def test_the_servers_advice_is_followed(state: ClientState) -> None:
    """Retry-after replaces the delay and burns no attempt, in every state that can hear it."""
    seat = seat_in(state)
    if state is ClientState.CONNECTING:
        seat.machine.transport_failed(1, "503", 1.0, advice=7.5)
    else:
        seat.machine.transport_lost(1, "closed", 1.0, CloseCode.TRY_AGAIN_LATER, advice=7.5)
    seat.take()
    assert seat.machine.next_deadline() == 8.5
    assert (seat.records[-1].value, seat.records[-1].cause, seat.records[-1].attempt) == (7.5, "advice", 1)


def test_leaving_tells_the_server_and_stays_gone() -> None:
    """``leave``, then the connection is closed in good order."""
    seat = Seat()
    seat.open()
    seat.machine.leave(1.0)
    assert seat.take() == [SendUp(Leave()), Hangup(1)]
    seat.machine.leave(2.0)
    assert seat.take() == []
    assert seat.machine.next_deadline() is None


def test_classic_gives_up_after_ten_attempts() -> None:
    """One first dial and ten more; then no deadline is left."""
    seat = seat_in(ClientState.GAVE_UP)
    assert (seat.machine.dial, seat.machine.next_deadline()) == (11, None)
    assert seat.records[-1].kind is EventKind.GAVE_UP
    assert seat.records[-1].attempt == 10


@pytest.mark.parametrize("revive", ["start", "wake"])
def test_a_client_that_gave_up_can_be_revived(revive: str) -> None:
    """A click on retry, or the network coming back, begins again with a whole ladder."""
    seat = seat_in(ClientState.GAVE_UP)
    machine = seat.machine
    INPUTS[revive](machine, machine.dial)
    assert seat.take() == [Dial(12, 0)]
    delays = []
    for _ in range(10):
        machine.transport_failed(machine.dial, "refused", 1000.0)
        delays.append((machine.next_deadline() or 0.0) - 1000.0)
        machine.wake(1000.0)
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


def test_a_wake_up_while_backing_off_dials_at_once() -> None:
    """The ladder goes on where it was if that fails."""
    seat = Seat(CLASSIC)
    seat.machine.start(0.0)
    seat.machine.transport_failed(1, "refused", 0.0)
    seat.take()
    seat.machine.wake(0.2)
    assert seat.take() == [Dial(2, 1)]
    seat.machine.transport_failed(2, "refused", 0.3)
    assert seat.machine.next_deadline() == pytest.approx(2.3)


def test_accept_then_close_climbs_the_ladder() -> None:
    """F17: a server that lets in and throws out is not stormed."""
    seat, now, waits = Seat(CLASSIC), 0.0, []
    seat.open()
    for _ in range(5):
        seat.machine.transport_lost(seat.machine.dial, "closed", now)
        deadline = seat.machine.next_deadline() or 0.0
        waits.append(deadline - now)
        now = deadline
        seat.machine.handle_timeout(now)
        seat.back(now)
    assert waits == [1, 2, 4, 8, 16]


# answers --------------------------------------------------------------------------------------------------------------


def test_an_answer_is_sent_once_and_settled_by_its_result() -> None:
    """With a key of its own; the application hears the verdict."""
    seat = Seat()
    seat.open()
    seat.machine.answer("q1", 2, 1.0)
    seat.machine.answer("q1", 3, 1.1)
    assert seat.said() == [Answer("q1", 2, "i1-1")]
    result = AnswerResult("q1", "i1-1", "accepted")
    seat.machine.receive(result, 1, 1.2)
    seat.machine.receive(result, 1, 1.3)
    assert seat.take() == [Deliver(result)]
    assert seat.machine.pending == {}


def test_a_result_with_another_key_settles_nothing() -> None:
    """It belongs to another submission."""
    seat = Seat()
    seat.open()
    seat.machine.answer("q1", 2, 1.0)
    seat.machine.receive(AnswerResult("q1", "i1-9", "accepted"), 1, 1.2)
    assert list(seat.machine.pending) == ["q1"]


def test_answers_wait_and_are_sent_again_in_order_once_per_connection() -> None:
    """F22, F24: given before, during and after the loss; the same keys every time; the token first."""
    seat = Seat()
    seat.open()
    machine = seat.machine
    machine.answer("q1", 1, 1.0)
    machine.answer("q2", 2, 1.1)
    machine.transport_lost(1, "closed", 2.0)
    machine.answer("q3", 3, 2.1)
    seat.take()
    expected = [Answer("q1", 1, "i1-1"), Answer("q2", 2, "i1-2"), Answer("q3", 3, "i1-3")]
    for number in (2, 3, 4):
        machine.handle_timeout(number * 100.0)
        assert seat.back(number * 100.0, number=number) == [TokenStored(number), *expected]
        machine.receive(ProbeReply(1), machine.dial, number * 100.0 + 1)
        assert seat.said() == []
        machine.transport_lost(machine.dial, "closed", number * 100.0 + 10)
        seat.take()


def test_a_settled_answer_is_not_sent_again() -> None:
    """Only what has no verdict is."""
    seat = Seat()
    seat.open()
    seat.machine.answer("q1", 1, 1.0)
    seat.machine.answer("q2", 2, 1.0)
    seat.machine.receive(AnswerResult("q1", "i1-1", "rejected_late"), 1, 1.2)
    seat.machine.transport_lost(1, "closed", 2.0)
    seat.machine.handle_timeout(9.0)
    assert seat.back(9.0) == [TokenStored(2), Answer("q2", 2, "i1-2")]


def test_answers_survive_giving_up() -> None:
    """Given while there was no hope, sent when there is again."""
    seat = seat_in(ClientState.GAVE_UP)
    seat.machine.answer("q1", 1, 1.0)
    seat.machine.start(2.0)
    seat.machine.transport_opened(12, 2.0)
    seat.take()
    seat.machine.receive(joined(), 12, 2.1)
    assert seat.said() == [TokenStored(1), Answer("q1", 1, "i1-1")]


@pytest.mark.parametrize("state", [ClientState.IDLE, ClientState.CLOSED])
def test_there_is_no_answering_without_a_session(state: ClientState) -> None:
    """Before the first start and after the end."""
    seat = seat_in(state)
    seat.machine.answer("q1", 1, 1.0)
    assert (seat.machine.pending, seat.take()) == ({}, [])
