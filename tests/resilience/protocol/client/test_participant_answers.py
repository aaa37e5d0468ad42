"""Answers: each is sent until its verdict has come, and settled once."""

from __future__ import annotations

import pytest

from resilience.protocol.effects import Deliver
from resilience.protocol.messages import Answer, AnswerResult, ProbeReply, TokenStored
from resilience.protocol.states import ClientState
from tests.support.client_states import client_in
from tests.support.machines import ClientHarness, joined


def test_an_answer_is_sent_once_and_settled_by_its_result() -> None:
    """With a key of its own; the application hears the verdict."""
    client = ClientHarness()
    client.open()
    client.machine.answer("q1", 2, 1.0)
    client.machine.answer("q1", 3, 1.1)
    assert client.sent_messages() == [Answer("q1", 2, "i1-1")]
    result = AnswerResult("q1", "i1-1", "accepted")
    client.machine.receive(result, 1, 1.2)
    client.machine.receive(result, 1, 1.3)
    assert client.take_effects() == [Deliver(result)]
    assert client.machine.pending == {}


def test_a_result_with_another_key_settles_nothing() -> None:
    """It belongs to another submission."""
    client = ClientHarness()
    client.open()
    client.machine.answer("q1", 2, 1.0)
    client.machine.receive(AnswerResult("q1", "i1-9", "accepted"), 1, 1.2)
    assert list(client.machine.pending) == ["q1"]


def test_answers_wait_and_are_sent_again_in_order_once_per_connection() -> None:
    """F22, F24: given before, during and after the loss; the same keys every time; the token first."""
    client = ClientHarness()
    client.open()
    machine = client.machine
    machine.answer("q1", 1, 1.0)
    machine.answer("q2", 2, 1.1)
    machine.transport_lost(1, "closed", 2.0)
    machine.answer("q3", 3, 2.1)
    client.take_effects()
    expected = [Answer("q1", 1, "i1-1"), Answer("q2", 2, "i1-2"), Answer("q3", 3, "i1-3")]
    for number in (2, 3, 4):
        machine.handle_timeout(number * 100.0)
        assert client.back(number * 100.0, number=number) == [TokenStored(number), *expected]
        machine.receive(ProbeReply(1), machine.dial, number * 100.0 + 1)
        assert client.sent_messages() == []
        machine.transport_lost(machine.dial, "closed", number * 100.0 + 10)
        client.take_effects()


def test_a_settled_answer_is_not_sent_again() -> None:
    """Only what has no verdict is."""
    client = ClientHarness()
    client.open()
    client.machine.answer("q1", 1, 1.0)
    client.machine.answer("q2", 2, 1.0)
    client.machine.receive(AnswerResult("q1", "i1-1", "rejected_late"), 1, 1.2)
    client.machine.transport_lost(1, "closed", 2.0)
    client.machine.handle_timeout(9.0)
    assert client.back(9.0) == [TokenStored(2), Answer("q2", 2, "i1-2")]


def test_answers_survive_giving_up() -> None:
    """Given while there was no hope, sent when there is again."""
    client = client_in(ClientState.GAVE_UP)
    client.machine.answer("q1", 1, 1.0)
    client.machine.start(2.0)
    client.machine.transport_opened(12, 2.0)
    client.take_effects()
    client.machine.receive(joined(), 12, 2.1)
    assert client.sent_messages() == [TokenStored(1), Answer("q1", 1, "i1-1")]


@pytest.mark.parametrize("state", [ClientState.IDLE, ClientState.CLOSED])
def test_there_is_no_answering_without_a_session(state: ClientState) -> None:
    """Before the first start and after the end."""
    client = client_in(state)
    client.machine.answer("q1", 1, 1.0)
    assert (client.machine.pending, client.take_effects()) == ({}, [])
