"""How a client's connections end, and whether it comes back."""

from __future__ import annotations

import pytest

from resilience.events import LogEventKind
from resilience.policy.retry import CloseCode
from resilience.protocol.effects import CloseTransport, OpenTransport, SendToServer
from resilience.protocol.messages import Leave
from resilience.protocol.states import ClientState
from tests.resilience.protocol.seats import CLASSIC, INPUTS, seat_in
from tests.resilience.protocol.stand import Seat


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
        (CloseCode.SUPERSEDED, LogEventKind.SESSION_SUPERSEDED),
        (CloseCode.LEFT, LogEventKind.CLIENT_LEFT),
        (CloseCode.STRIKES, LogEventKind.CLIENT_DISMISSED),
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
    assert seat.take() == [SendToServer(Leave()), CloseTransport(1)]
    seat.machine.leave(2.0)
    assert seat.take() == []
    assert seat.machine.next_deadline() is None


def test_classic_gives_up_after_ten_attempts() -> None:
    """One first dial and ten more; then no deadline is left."""
    seat = seat_in(ClientState.GAVE_UP)
    assert (seat.machine.dial, seat.machine.next_deadline()) == (11, None)
    assert seat.records[-1].kind is LogEventKind.GAVE_UP
    assert seat.records[-1].attempt == 10


@pytest.mark.parametrize("revive", ["start", "wake"])
def test_a_client_that_gave_up_can_be_revived(revive: str) -> None:
    """A click on retry, or the network coming back, begins again with a whole ladder."""
    seat = seat_in(ClientState.GAVE_UP)
    machine = seat.machine
    INPUTS[revive](machine, machine.dial)
    assert seat.take() == [OpenTransport(12, 0)]
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
    assert seat.take() == [OpenTransport(2, 1)]
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
