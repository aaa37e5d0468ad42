"""Answers: each is sent until its verdict has come, and settled once."""

from __future__ import annotations

import pytest

from resilience.protocol.effects import Deliver
from resilience.protocol.messages import Answer, AnswerResult, ProbeReply, TokenStored
from resilience.protocol.states import ClientState
from tests.resilience.protocol.seats import seat_in
from tests.resilience.protocol.stand import Seat, joined


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
