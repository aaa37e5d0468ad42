"""The server's side of one participant: fencing, absence, presence state."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Disconnect, Record, ServerEffect, SessionRow
from resilience.protocol.server.session import ServerSession
from resilience.protocol.states import ConnectionState


class SessionHarness:
    """One session, attached to connection 1 at time 0 and welcomed."""

    def __init__(self) -> None:
        self.effects: list[ServerEffect] = []
        self.session = ServerSession("p1", "ann", self.effects)
        self.attach(1, 0.0)

    def attach(self, connection: int, now: float, absent_since: float | None = None) -> None:
        """Attach a connection and mark it welcomed."""
        self.session.attach(connection, now, absent_since)
        self.session.ready = self.session.welcomed = True

    def take(self) -> list[ServerEffect]:
        """The effects since the last call, without records."""
        taken: list[ServerEffect] = [effect for effect in self.effects if not isinstance(effect, Record)]
        self.effects.clear()
        return taken

    def state(self) -> ConnectionState:
        """The presence state now."""
        return self.session.state

    def recorded(self, kind: LogEventKind) -> list[Record]:
        """The records of a kind."""
        return [effect for effect in self.effects if isinstance(effect, Record) and effect.kind is kind]


def test_a_silent_participant_is_evicted() -> None:
    harness = SessionHarness()
    harness.session.evict(34.0)
    assert harness.recorded(LogEventKind.SESSION_DETACHED)[0].cause == "grace"
    assert harness.take() == [Disconnect(1, CloseCode.SILENT, "no sign of life")]
    assert harness.state() is ConnectionState.TEMPORARILY_DISCONNECTED
    assert harness.session.connection is None


def test_an_absent_participant_expires() -> None:
    harness = SessionHarness()
    assert harness.session.transport_lost(1, "closed", 20.0)
    assert harness.state() is ConnectionState.TEMPORARILY_DISCONNECTED
    harness.session.expire(80.0)
    assert harness.state() is ConnectionState.DISCONNECTED
    assert [record.t for record in harness.recorded(LogEventKind.SESSION_EXPIRED)] == [80.0]


def test_a_newer_connection_fences_the_older() -> None:
    """F3, three times in a row: each late end of an old connection changes nothing."""
    harness = SessionHarness()
    for new in (2, 3, 4):
        harness.take()
        harness.attach(new, new * 1.0)
        assert harness.take() == [Disconnect(new - 1, CloseCode.SUPERSEDED, "a newer connection took over")]
        for old in range(1, new):
            assert not harness.session.transport_lost(old, "closed", new * 1.0 + 0.5)
    assert (harness.session.connection, harness.session.connection_no) == (4, 4)
    assert harness.state() is ConnectionState.CONNECTED
    assert harness.recorded(LogEventKind.SESSION_DETACHED) == []


def test_the_absence_lasts_from_the_last_sign_of_life_to_the_new_connection() -> None:
    harness = SessionHarness()
    assert not harness.session.was_absent_at(0.0)
    harness.session.transport_lost(1, "closed", 20.0)
    harness.attach(2, 30.0, absent_since=12.0)
    absent = [moment for moment in (11.9, 12.0, 20.0, 30.0, 30.1) if harness.session.was_absent_at(moment)]
    assert absent == [12.0, 20.0, 30.0]
    harness.attach(3, 40.0, absent_since=None)
    assert [harness.session.was_absent_at(moment) for moment in (20.0, 35.0)] == [True, False]


@pytest.mark.parametrize("end", ["left", "expired"])
def test_a_session_that_ended_can_be_attached_again(end: str) -> None:
    harness = SessionHarness()
    if end == "left":
        harness.session.leave(5.0)
    else:
        harness.session.evict(34.0)
        harness.session.expire(64.0)
    assert harness.state() is ConnectionState.DISCONNECTED
    harness.attach(2, 200.0)
    assert (harness.session.state, harness.session.connection_no) == (ConnectionState.CONNECTED, 2)


@pytest.mark.parametrize("stored", ConnectionState)
def test_a_restored_session_has_no_connection(stored: ConnectionState) -> None:
    effects: list[ServerEffect] = []
    row = SessionRow("p1", "ann", stored.value, 3, 2, ("h2", "h1"), "i1", confirmed=True, last_heard=4.0)
    session = ServerSession.from_row(row, effects, 9.0)
    assert (session.connection, session.connection_no, session.instance, session.welcomed) == (None, 3, "i1", True)
    gone = stored is ConnectionState.DISCONNECTED
    assert session.state is (stored if gone else ConnectionState.TEMPORARILY_DISCONNECTED)
    records = [(effect.kind, effect.cause) for effect in effects if isinstance(effect, Record)]
    expected = {
        ConnectionState.CONNECTED: [(LogEventKind.SESSION_DETACHED, DetachCause.RESTART)],
        ConnectionState.TEMPORARILY_DISCONNECTED: [(LogEventKind.SESSION_STATE, DetachCause.RESTART)],
        ConnectionState.DISCONNECTED: [],
    }
    assert records == expected[stored]
