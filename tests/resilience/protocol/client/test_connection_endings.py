"""How a client's connections end, and whether it comes back."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import CloseTransport, OpenTransport, SendToServer
from resilience.protocol.messages import Leave
from resilience.protocol.states import ClientState
from tests.support.client_states import CLASSIC, INPUTS, client_in
from tests.support.machines import ClientHarness


@pytest.mark.parametrize(
    "code", [CloseCode.SUPERSEDED, CloseCode.LEFT, CloseCode.EVENT_UNKNOWN, CloseCode.STRIKES, CloseCode.NORMAL]
)
def test_terminal_codes_stop(code: CloseCode) -> None:
    """F11: the loser of a takeover stays down, whatever happens to it."""
    client = ClientHarness()
    client.open()
    client.machine.transport_lost(1, "closed", 1.0, code)
    assert client.machine.state is ClientState.CLOSED
    assert client.machine.next_deadline() is None
    for what in INPUTS.values():
        what(client.machine, client.machine.dial)
    assert (client.machine.state, client.take_effects()) == (ClientState.CLOSED, [])


def test_a_takeover_is_recorded_as_one() -> None:
    """Each terminal close code has its own kind of log event."""
    for code, kind in [
        (CloseCode.SUPERSEDED, LogEventKind.SESSION_SUPERSEDED),
        (CloseCode.LEFT, LogEventKind.CLIENT_LEFT),
        (CloseCode.STRIKES, LogEventKind.CLIENT_DISMISSED),
    ]:
        client = ClientHarness()
        client.open()
        client.machine.transport_lost(1, "closed", 1.0, code)
        client.take_effects()
        assert client.records[-1].kind is kind


@pytest.mark.parametrize("code", [CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART, CloseCode.SILENT, 1006, 4999])
def test_other_codes_come_back(code: int) -> None:
    """A restart, a death by silence and the unknown are retried."""
    client = ClientHarness()
    client.open()
    client.machine.transport_lost(1, "closed", 1.0, code)
    assert client.machine.state is ClientState.BACKING_OFF


@pytest.mark.parametrize("state", [ClientState.CONNECTING, ClientState.JOINING, ClientState.OPEN])
def test_the_servers_advice_is_followed(state: ClientState) -> None:
    """Retry-after replaces the delay and burns no attempt, in every state that can hear it."""
    client = client_in(state)
    if state is ClientState.CONNECTING:
        client.machine.transport_failed(1, "503", 1.0, advice=7.5)
    else:
        client.machine.transport_lost(1, "closed", 1.0, CloseCode.TRY_AGAIN_LATER, advice=7.5)
    client.take_effects()
    assert client.machine.next_deadline() == 8.5
    assert (client.records[-1].value, client.records[-1].cause, client.records[-1].attempt) == (7.5, "advice", 1)


def test_leaving_tells_the_server_and_stays_gone() -> None:
    """``leave``, then the connection is closed in good order."""
    client = ClientHarness()
    client.open()
    client.machine.leave(1.0)
    assert client.take_effects() == [SendToServer(Leave()), CloseTransport(1)]
    client.machine.leave(2.0)
    assert client.take_effects() == []
    assert client.machine.next_deadline() is None


def test_classic_gives_up_after_ten_attempts() -> None:
    """One first dial and ten more; then no deadline is left."""
    client = client_in(ClientState.GAVE_UP)
    assert (client.machine.dial, client.machine.next_deadline()) == (11, None)
    assert client.records[-1].kind is LogEventKind.GAVE_UP
    assert client.records[-1].attempt == 10


@pytest.mark.parametrize("revive", ["start", "wake"])
def test_a_client_that_gave_up_can_be_revived(revive: str) -> None:
    """A click on retry, or the network coming back, begins again with a whole ladder."""
    client = client_in(ClientState.GAVE_UP)
    machine = client.machine
    INPUTS[revive](machine, machine.dial)
    assert client.take_effects() == [OpenTransport(12, 0)]
    delays = []
    for _ in range(10):
        machine.transport_failed(machine.dial, "refused", 1000.0)
        delays.append((machine.next_deadline() or 0.0) - 1000.0)
        machine.wake(1000.0)
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


def test_a_wake_up_while_backing_off_dials_at_once() -> None:
    """The ladder continues where it was if that dial fails."""
    client = ClientHarness(CLASSIC)
    client.machine.start(0.0)
    client.machine.transport_failed(1, "refused", 0.0)
    client.take_effects()
    client.machine.wake(0.2)
    assert client.take_effects() == [OpenTransport(2, 1)]
    client.machine.transport_failed(2, "refused", 0.3)
    assert client.machine.next_deadline() == pytest.approx(2.3)


def test_accept_then_close_climbs_the_ladder() -> None:
    """F17: a server that lets in and throws out is not stormed."""
    client, now, waits = ClientHarness(CLASSIC), 0.0, []
    client.open()
    for _ in range(5):
        client.machine.transport_lost(client.machine.dial, "closed", now)
        deadline = client.machine.next_deadline() or 0.0
        waits.append(deadline - now)
        now = deadline
        client.machine.handle_timeout(now)
        client.back(now)
    assert waits == [1, 2, 4, 8, 16]
