"""A client whose machine slept, whose network changed, or whose link works one way only."""

from __future__ import annotations

import pytest

from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.client.connection import FRESH_DIAL_S, SLEEP_THRESHOLD_S
from resilience.protocol.effects import AbortTransport, OpenTransport, SendToServer
from resilience.protocol.messages import Answer, AnswerResult, Ping, Pong, PresenceChanged, Probe, ProbeReply
from resilience.protocol.states import ClientState
from tests.support.client_states import CLASSIC, client_in
from tests.support.machines import ClientHarness, joined

# something outside says that the network is back ---------------------------------------------------------------------


@pytest.mark.parametrize("state", [ClientState.CONNECTING, ClientState.JOINING])
def test_a_wake_up_gives_a_stale_dial_up_for_a_fresh_one(state: ClientState) -> None:
    """A phone that wakes with a dead dial does not wait for its timeout."""
    client = client_in(state)
    client.machine.wake(FRESH_DIAL_S + 0.1)
    assert client.take_effects() == [AbortTransport(1), OpenTransport(2, 0)]
    assert client.machine.next_deadline() == FRESH_DIAL_S + 5.1
    assert client.records[-2].cause == "stale"


@pytest.mark.parametrize("state", [ClientState.CONNECTING, ClientState.JOINING])
def test_a_wake_up_leaves_a_young_dial_alone(state: ClientState) -> None:
    """It was made by the network that is here now."""
    client = client_in(state)
    client.machine.wake(FRESH_DIAL_S)
    assert (client.take_effects(), client.machine.state) == ([], state)


def test_wake_ups_burn_no_attempts() -> None:
    """However often the network comes back, the ladder starts where it was."""
    client = ClientHarness(CLASSIC)
    client.machine.start(0.0)
    for second in range(2, 100, 2):
        client.machine.wake(float(second))
    client.machine.transport_failed(client.machine.dial, "refused", 100.0)
    client.take_effects()
    assert client.machine.next_deadline() == 101.0
    assert client.records[-1].attempt == 1


# the client finds out by itself that it slept ------------------------------------------------------------------------


@pytest.mark.parametrize("slept", [45.0, 300.0])
def test_a_message_from_before_the_sleep_proves_nothing(slept: float) -> None:
    """F6: what waited in a buffer is taken, and then the server is asked whether it is still there."""
    client = ClientHarness()
    client.open()
    client.machine.receive(Ping(1, 100, 300, 3000), 1, slept)
    assert client.sent_messages() == [Pong(1), Probe(1)]
    client.machine.handle_timeout(slept + 2.0)
    assert client.machine.state is ClientState.BACKING_OFF


def test_a_welcome_from_before_the_sleep_is_probed_too() -> None:
    """The session is taken over, and not trusted."""
    client = client_in(ClientState.JOINING)
    client.machine.receive(joined(), 1, 300.0)
    assert Probe(1) in client.sent_messages()


def test_a_message_in_time_asks_for_no_probe() -> None:
    """Nor does one that a busy scheduler handed over a little late."""
    client = ClientHarness()
    client.open()
    client.machine.receive(Ping(1, 100, 300, 3000), 1, 4.4)
    assert client.sent_messages() == [Pong(1)]


@pytest.mark.parametrize("state", [ClientState.CONNECTING, ClientState.JOINING])
def test_a_dial_that_was_slept_through_is_made_again_at_once(state: ClientState) -> None:
    """Without a step on the ladder: nothing says that the server is to blame."""
    client = client_in(state)
    client.machine.handle_timeout(5.0 + SLEEP_THRESHOLD_S + 0.1)
    assert client.take_effects() == [AbortTransport(1), OpenTransport(2, 0)]


@pytest.mark.parametrize("state", [ClientState.CONNECTING, ClientState.JOINING])
def test_a_timeout_that_is_merely_late_climbs_the_ladder(state: ClientState) -> None:
    """An overloaded machine must not dial without a pause."""
    client = client_in(state)
    client.machine.handle_timeout(5.0 + SLEEP_THRESHOLD_S)
    assert client.take_effects() == [AbortTransport(1)]
    assert client.machine.state is ClientState.BACKING_OFF


@pytest.mark.parametrize("how", ["timer", "wake"])
def test_the_time_asleep_is_not_paid_from_the_budget(how: str) -> None:
    """A laptop that was closed for an hour in the middle of an outage still has its ten minutes."""
    client = client_in(ClientState.BACKING_OFF)
    machine = client.machine
    if how == "timer":
        machine.handle_timeout(3600.0)
    else:
        machine.wake(3600.0)
    machine.transport_failed(machine.dial, "refused", 3600.5)
    assert machine.state is ClientState.BACKING_OFF


def test_half_a_minute_asleep_and_back() -> None:
    """F6, whole: the sleeper probes, notices, comes back with its token and its answer."""
    client = ClientHarness()
    client.open()
    machine = client.machine
    machine.answer("q1", 2, 1.0)
    machine.handle_timeout(45.0)
    assert Probe(1) in client.sent_messages()
    machine.handle_timeout(47.0)
    machine.handle_timeout(machine.next_deadline() or 0.0)
    assert Answer("q1", 2, "i1-1") in client.back(48.0)


# a link that works one way -------------------------------------------------------------------------------------------


def test_what_comes_down_does_not_prove_the_way_up() -> None:
    """F2: the server's stream continues, the answer is not acknowledged: the client does not wait for the server."""
    client = ClientHarness()
    client.open()
    machine = client.machine
    machine.answer("q1", 2, 1.0)
    for tenth in range(11, 71):
        machine.receive(PresenceChanged(tenth - 10, 1, (), ()), 1, tenth / 10)
        machine.handle_timeout(tenth / 10 + 0.05)
    assert machine.state is ClientState.BACKING_OFF
    client.take_effects()
    doubts = [
        record for record in client.records if record.kind in (LogEventKind.PEER_SUSPECTED, LogEventKind.PEER_DEAD)
    ]
    assert [record.value for record in doubts] == pytest.approx([4.05, 6.05])


def test_a_reply_to_the_probe_proves_the_way_up() -> None:
    """A slow store is no broken link: the answer waits on, and is asked after again and again."""
    client = ClientHarness()
    client.open()
    machine = client.machine
    machine.answer("q1", 2, 0.0)
    for second in range(1, 60):
        machine.handle_timeout(float(second))
        probes = [effect.message for effect in client.take_effects() if isinstance(effect, SendToServer)]
        for probe in probes:
            if isinstance(probe, Probe):
                machine.receive(ProbeReply(probe.id), 1, second + 0.1)
    assert machine.state is ClientState.OPEN
    assert list(machine.pending) == ["q1"]


def test_a_verdict_ends_the_doubt() -> None:
    """Once nothing is owed, any message will do again."""
    client = ClientHarness()
    client.open()
    machine = client.machine
    machine.answer("q1", 2, 0.0)
    machine.handle_timeout(4.0)
    machine.receive(AnswerResult("q1", "i1-1", "accepted"), 1, 5.0)
    assert machine.next_deadline() == 9.0


def test_a_way_down_that_is_broken_is_noticed_by_silence() -> None:
    """F2, the other direction: whatever was sent, nothing comes."""
    client = ClientHarness(ClientConfig())
    client.open()
    client.machine.handle_timeout(4.0)
    client.machine.answer("q1", 1, 5.0)
    client.machine.handle_timeout(6.0)
    assert client.machine.state is ClientState.BACKING_OFF
