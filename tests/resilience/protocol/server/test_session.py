"""The server's side of one participant: fencing, tokens, heartbeat, presence state."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.effects import Disconnect, Record, SendToClient, ServerEffect
from resilience.protocol.messages import Ping
from resilience.protocol.server.session import ServerSession, ping_with
from resilience.protocol.states import ConnectionState

WINDOW = ReturnWindow(0.1, 0.3, 3.0)


class Bench:
    """One session, attached to connection 1 at time 0 and welcomed."""

    def __init__(self) -> None:
        self.effects: list[ServerEffect] = []
        self.session = ServerSession("p1", "ann", HeartbeatTimeouts(), self.effects)
        self.attach(1, 0.0)

    def attach(self, connection: int, now: float) -> None:
        """A connection proved to be this participant, and was told so."""
        self.session.attach(connection, now, 0.5)
        self.session.ready = self.session.welcomed = True

    def run(self, until: float) -> None:
        """Call the session at each of its deadlines."""
        while (deadline := self.session.next_deadline()) is not None and deadline <= until:
            self.session.handle_timeout(deadline, WINDOW)

    def take(self) -> list[ServerEffect]:
        """What it wants done, records apart."""
        taken: list[ServerEffect] = [effect for effect in self.effects if not isinstance(effect, Record)]
        self.effects.clear()
        return taken

    def state(self) -> ConnectionState:
        """Where the session stands now."""
        return self.session.state

    def recorded(self, kind: LogEventKind) -> list[Record]:
        """The records of a kind."""
        return [effect for effect in self.effects if isinstance(effect, Record) and effect.kind is kind]


def test_heartbeats_carry_the_window() -> None:
    """In whole milliseconds."""
    assert ping_with(3, ReturnWindow(0.05, 0.3, 3.0)) == Ping(3, 50, 300, 3000)


def test_a_silent_participant_is_cut_off_at_grace() -> None:
    """S1: pings at the interval and again between them, then, 30 s after the last sign of life, away and evicted."""
    bench = Bench()
    bench.session.heard(4.0)
    bench.run(33.999)
    assert [type(effect) for effect in bench.effects if not isinstance(effect, Record)] == [SendToClient] * 4
    bench.take()
    bench.run(34.0)
    assert bench.recorded(LogEventKind.SESSION_DETACHED)[0].cause == "grace"
    assert bench.take() == [Disconnect(1, CloseCode.SILENT, "no sign of life")]
    assert bench.state() is ConnectionState.TEMPORARILY_DISCONNECTED


def test_the_sweep_counts_from_the_last_sign_of_life() -> None:
    """60 s after it, not 60 s after the grace."""
    bench = Bench()
    bench.session.heard(4.0)
    bench.run(63.999)
    assert bench.state() is ConnectionState.TEMPORARILY_DISCONNECTED
    bench.run(64.0)
    assert bench.state() is ConnectionState.DISCONNECTED
    assert bench.session.next_deadline() is None


def test_a_closed_connection_is_swept_a_minute_after_its_end() -> None:
    """Its end is the last sign of life."""
    bench = Bench()
    assert bench.session.transport_lost(1, "closed", 20.0)
    assert bench.session.next_deadline() == 80.0
    bench.run(79.9)
    assert bench.state() is ConnectionState.TEMPORARILY_DISCONNECTED


def test_a_pong_is_timed_once() -> None:
    """One that was never asked for, or comes again, is no measurement."""
    bench = Bench()
    bench.run(7.5)
    bench.session.pong_received(9, 7.6)
    bench.session.pong_received(1, 7.75)
    bench.session.pong_received(1, 8.0)
    assert [record.value for record in bench.recorded(LogEventKind.HEARTBEAT_ACKED)] == [0.25]


def test_a_pong_does_not_count_for_the_next_connection() -> None:
    """F10: what was outstanding on the old connection is forgotten with it."""
    bench = Bench()
    bench.run(7.5)
    bench.attach(2, 8.0)
    bench.session.pong_received(1, 9.0)
    assert bench.recorded(LogEventKind.HEARTBEAT_ACKED) == []
    assert bench.session.next_deadline() == 15.5


def test_no_ping_before_the_welcome() -> None:
    """A connection whose session is not stored yet hears nothing."""
    bench = Bench()
    bench.session.ready = False
    bench.run(20.0)
    assert bench.take() == []


def test_a_newer_connection_cuts_off_the_older() -> None:
    """F3, three times in a row: each late end of an old connection changes nothing."""
    bench = Bench()
    for new in (2, 3, 4):
        bench.take()
        bench.attach(new, new * 1.0)
        assert bench.take() == [Disconnect(new - 1, CloseCode.SUPERSEDED, "a newer connection took over")]
        for old in range(1, new):
            assert not bench.session.transport_lost(old, "closed", new * 1.0 + 0.5)
    assert (bench.session.connection, bench.session.connection_no) == (4, 4)
    assert bench.state() is ConnectionState.CONNECTED
    assert bench.recorded(LogEventKind.SESSION_DETACHED) == []


def test_the_newest_token_retires_the_others_when_it_is_kept() -> None:
    """F15, F14: the presented token counts until the fresh one is acknowledged, older ones never."""
    session = Bench().session
    session.accept_tokens("h1", None)
    session.accept_tokens("h2", "h1")
    assert list(session.token_hashes) == ["h2", "h1"]
    assert session.token_stored(1) is None
    assert session.token_stored(2) == "h1"
    assert session.token_stored(2) is None
    assert list(session.token_hashes) == ["h2"]


@pytest.mark.parametrize("end", ["left", "swept"])
def test_a_session_that_ended_can_come_back(end: str) -> None:
    """With its connection count going on."""
    bench = Bench()
    if end == "left":
        bench.session.left(5.0)
    else:
        bench.run(100.0)
    assert bench.state() is ConnectionState.DISCONNECTED
    bench.attach(2, 200.0)
    assert (bench.session.state, bench.session.connection_no) == (ConnectionState.CONNECTED, 2)


def test_forgiven_lag_moves_the_grace() -> None:
    """F8: a server that slept evicts nobody for it."""
    bench = Bench()
    bench.session.extend_by_lag(40.0)
    bench.run(69.9)
    assert bench.state() is ConnectionState.CONNECTED
    bench.session.handle_timeout(70.0, WINDOW)
    assert bench.state() is ConnectionState.TEMPORARILY_DISCONNECTED


def test_forgiven_lag_moves_the_sweep() -> None:
    """F8: between grace and sweep lie 30 s in which to come back, stall or no stall."""
    bench = Bench()
    bench.session.extend_by_lag(40.0)
    bench.run(99.9)
    assert bench.state() is ConnectionState.TEMPORARILY_DISCONNECTED
    bench.run(100.0)
    assert bench.state() is ConnectionState.DISCONNECTED


def test_the_row_is_what_a_restart_needs() -> None:
    """Identity, state, counts, accepted tokens."""
    bench = Bench()
    bench.session.accept_tokens("h1", None)
    row = bench.session.row()
    assert (row.participant, row.name) == ("p1", "ann")
    assert (row.join_status, row.connection_no, row.generation, row.token_hashes) == ("connected", 1, 1, ("h1",))
