"""The room as people leave or fall silent: grace, clean-up, stalls of the server itself."""

from __future__ import annotations

import pytest

from resilience.events import LogEventKind
from resilience.policy.retry import CloseCode
from resilience.protocol.messages import (
    Join,
    Leave,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    QuestionOpened,
)
from resilience.protocol.states import ConnectionState
from tests.resilience.protocol.stand import Stand, credentials_in, resume

# leaving and falling silent -------------------------------------------------------------------------------------------


def test_leaving_is_no_absence() -> None:
    """S4: at once disconnected, shown at once, the connection closed as wished; no sweep follows."""
    stand = Stand()
    stand.join(1)
    stand.join(2, "bob")
    stand.run(3.0)
    stand.say(1, Leave())
    stand.run(3.0)
    assert stand.closed == {1: CloseCode.LEFT}
    assert stand.room.sessions["p1"].state is ConnectionState.DISCONNECTED
    last = stand.last(2)
    assert isinstance(last, PresenceChanged)
    assert [(player.participant, player.state) for player in last.changed] == [("p1", "disconnected")]
    stand.lose(1)
    assert [r.kind for r in stand.records if r.session_id == "p1"][-2:] == [
        LogEventKind.SESSION_LEFT,
        LogEventKind.TRANSPORT_LOST,
    ]


def test_who_left_hears_nothing_more() -> None:
    """Its connection gets no broadcast while it is being closed."""
    stand = Stand()
    stand.join(1)
    stand.run(3.0)
    stand.say(1, Leave())
    before = len(stand.sent[1])
    stand.run(20.0)
    assert len(stand.sent[1]) == before


def test_the_silent_are_detected_within_grace_and_a_tick() -> None:
    """F1: all of a crowd, at 30 s after their last sign; those who answer stay."""
    stand = Stand()
    for connection in range(1, 21):
        stand.join(connection, f"c{connection}")
    for now in range(1, 31):
        stand.run(float(now) - 0.001)
        assert {s.state for s in stand.room.sessions.values()} == {ConnectionState.CONNECTED}
        for connection in range(1, 11):
            stand.say(connection, Pong(0))
    stand.run(30.0)
    states = [session.state for session in stand.room.sessions.values()]
    assert states == [ConnectionState.CONNECTED] * 10 + [ConnectionState.TEMPORARILY_DISCONNECTED] * 10
    assert stand.closed == dict.fromkeys(range(11, 21), CloseCode.SILENT)


def test_probes_are_answered_and_are_signs_of_life() -> None:
    """A participant that probes is not dead."""
    stand = Stand()
    stand.join(1)
    stand.run(20.0)
    stand.say(1, Probe(3))
    assert stand.last(1) == ProbeReply(3)
    stand.run(45.0)
    assert stand.room.sessions["p1"].state is ConnectionState.CONNECTED


@pytest.mark.parametrize("late", [5.0, 20.0, 40.0])
@pytest.mark.parametrize("slept_from", [0.5, 7.0, 16.0, 29.0])
def test_a_server_that_stalled_evicts_nobody(late: float, slept_from: float) -> None:
    """F8: whoever answered until the stall is alive after it, even if the timers fire before anything is read."""
    stand = Stand(first_ping=0.7)
    for connection in range(1, 11):
        stand.join(connection, f"c{connection}")
    now = 0.0
    while now < slept_from:
        now = min(now + 1.0, slept_from)
        stand.run(now)
        for connection in range(1, 11):
            stand.say(connection, Pong(0))
    stand.now += late
    stand.room.handle_timeout(stand.now)
    stand.collect()
    assert stand.closed == {}
    stand.now += 0.001
    for connection in range(1, 11):
        stand.say(connection, Pong(0))
    stand.run(stand.now + 29.0)
    assert stand.closed == {}


@pytest.mark.parametrize("late", [31.0, 40.0])
def test_a_stall_during_a_commit_evicts_nobody(late: float) -> None:
    """F8: who is attached but not welcomed yet gets the lag back, too."""
    stand = Stand()
    token = stand.join(1).token
    stand.lose(1)
    stand.instant = False
    stand.say(2, resume(token))
    stand.now = late
    stand.room.handle_timeout(stand.now)
    stand.collect()
    assert stand.closed == {}
    stand.commit()
    assert credentials_in(stand.last(2)).participant == "p1"


def test_slow_commits_forgive_nobodys_silence() -> None:
    """A store that takes two seconds is no reason to believe that the scheduler slept."""
    stand = Stand(first_ping=0.0)
    stand.join(1)  # and is never heard again
    stand.instant = False
    for connection in range(2, 12):
        stand.say(connection, Join(event="e", name="x", instance=str(connection)))
        stand.run(stand.now + 2.0)
        stand.commit()
    stand.run(30.0)
    assert stand.closed.get(1) == CloseCode.SILENT


def test_a_question_closes_on_time_after_a_stall() -> None:
    """F7: deadlines are absolute; what was missed is announced in order."""
    stand = Stand()
    stand.join(1)
    stand.run(5.0)
    stand.now = 21.0  # q1 opened at 6, closed at 12; q2 opened at 16
    stand.room.handle_timeout(stand.now)
    stand.collect()
    assert stand.room.game.phase_ends_at == 22.0
    kinds = [type(message).__name__ for message in stand.sent[1] if hasattr(message, "seq")]
    assert kinds[-4:] == ["QuestionOpened", "QuestionRevealed", "LeaderboardShown", "QuestionOpened"]
    last = [message for message in stand.sent[1] if isinstance(message, QuestionOpened)][-1]
    assert last.question.remaining_ms == 1000
