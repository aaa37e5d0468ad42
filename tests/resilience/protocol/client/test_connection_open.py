"""The client machine in an open session: heartbeats, the stream, silence."""

from __future__ import annotations

import pytest

from resilience.protocol.effects import AbortTransport, Deliver
from resilience.protocol.messages import Error, Ping, Pong, Probe, ProbeReply, QuizFinished, TokenStored
from resilience.protocol.states import ClientState
from tests.support.machines import ClientHarness


def test_pings_are_answered_and_bring_the_window() -> None:
    """Pong with the same id; the announcement sets the next first delay."""
    client = ClientHarness(u=0.5)
    client.open()
    client.machine.receive(Ping(7, 4000, 300, 3000), 1, 1.0)
    assert client.sent_messages() == [Pong(7)]
    client.machine.transport_lost(1, "closed", 2.0)
    assert client.machine.next_deadline() == pytest.approx(4.0)


def test_the_stream_is_taken_in_order_and_once() -> None:
    """A repeated number is ignored."""
    client = ClientHarness()
    client.open(seq=3)
    for seq in (4, 4, 3, 5):
        client.machine.receive(QuizFinished(seq, ()), 1, 1.0)
    assert client.take_effects() == [Deliver(QuizFinished(4, ())), Deliver(QuizFinished(5, ()))]


def test_a_gap_in_the_stream_reconnects() -> None:
    """F25: what is missing is fetched by a resume from the last number heard."""
    client = ClientHarness()
    client.open(seq=3)
    client.machine.receive(QuizFinished(5, ()), 1, 1.0)
    assert client.take_effects() == [AbortTransport(1)]
    assert (client.machine.state, client.machine.seq) == (ClientState.BACKING_OFF, 3)
    client.machine.handle_timeout(9.0)
    assert isinstance(client.back(9.0, seq=5)[0], TokenStored)
    assert client.machine.seq == 5


def test_silence_probes_and_then_reconnects() -> None:
    """4 s of silence, 2 s for the reply, and the dial is let go without waiting for TCP."""
    client = ClientHarness()
    client.open()
    client.machine.handle_timeout(4.0)
    assert client.sent_messages() == [Probe(1)]
    client.machine.handle_timeout(6.0)
    assert client.take_effects() == [AbortTransport(1)]
    assert client.machine.state is ClientState.BACKING_OFF


def test_a_reply_in_time_keeps_the_session() -> None:
    """And is nothing that the application hears of."""
    client = ClientHarness()
    client.open()
    client.machine.handle_timeout(4.0)
    client.take_effects()
    client.machine.receive(ProbeReply(1), 1, 5.9)
    client.machine.handle_timeout(6.0)
    assert (client.take_effects(), client.machine.state) == ([], ClientState.OPEN)


def test_a_probe_does_not_follow_into_the_next_connection() -> None:
    """F10: an unanswered probe of the old connection does not kill the new one."""
    client = ClientHarness()
    client.open()
    client.machine.handle_timeout(4.0)
    client.machine.transport_lost(1, "closed", 4.1)
    client.machine.handle_timeout(5.5)
    client.back(5.5)
    assert client.machine.next_deadline() == 9.5
    client.machine.handle_timeout(6.0)
    assert client.machine.state is ClientState.OPEN


@pytest.mark.parametrize("slept", [5.0, 45.0, 300.0])
def test_waking_from_sleep_probes_first(slept: float) -> None:
    """F6: an open state is not trusted, nor thrown away unasked."""
    client = ClientHarness()
    client.open()
    client.machine.wake(slept)
    assert client.sent_messages() == [Probe(1)]
    client.machine.handle_timeout(slept + 2.0)
    assert client.machine.state is ClientState.BACKING_OFF


def test_a_typed_error_of_the_server_is_handed_on() -> None:
    """The connection stays."""
    client = ClientHarness()
    client.open()
    client.machine.receive(Error("protocol", "choice", "bad"), 1, 1.0)
    assert client.take_effects() == [Deliver(Error("protocol", "choice", "bad"))]
    assert client.machine.state is ClientState.OPEN
