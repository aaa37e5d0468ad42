"""The room as people leave or fall silent: grace, clean-up, stalls of the server itself."""

from __future__ import annotations

import pytest

from resilience.config import QuizConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import SessionRow
from resilience.protocol.messages import (
    Answer,
    ClientMessage,
    Join,
    Leave,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    QuestionOpened,
)
from resilience.protocol.server.tokens import token_hash
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import QuizState
from resilience.quiz.phases import Phase
from tests.support.machines import RoomHarness, credentials_in, resume

# leaving and falling silent -------------------------------------------------------------------------------------------


def test_leaving_is_no_absence() -> None:
    """S4: at once disconnected, shown at once, the connection closed as wished; no sweep follows."""
    harness = RoomHarness()
    harness.join(1)
    harness.join(2, "bob")
    harness.run(3.0)
    harness.say(1, Leave())
    harness.run(3.0)
    assert harness.closed == {1: CloseCode.LEFT}
    assert "p1" not in harness.room.sessions
    last = harness.last(2)
    assert isinstance(last, PresenceChanged)
    assert [(player.participant, player.state) for player in last.changed] == [("p1", "disconnected")]
    harness.lose(1)
    assert [r.kind for r in harness.records if r.session_id == "p1"][-3:] == [
        LogEventKind.SESSION_LEFT,
        LogEventKind.SESSION_FORGOTTEN,
        LogEventKind.TRANSPORT_LOST,
    ]


def test_who_left_hears_nothing_more() -> None:
    """Its connection gets no broadcast while it is being closed."""
    harness = RoomHarness()
    harness.join(1)
    harness.run(3.0)
    harness.say(1, Leave())
    before = len(harness.sent[1])
    harness.run(20.0)
    assert len(harness.sent[1]) == before


def test_the_silent_are_detected_within_grace_and_a_tick() -> None:
    """F1: all of a crowd, at 30 s after their last sign; those who answer stay."""
    harness = RoomHarness()
    for connection in range(1, 21):
        harness.join(connection, f"c{connection}")
    for now in range(1, 31):
        harness.run(float(now) - 0.001)
        assert {s.state for s in harness.room.sessions.values()} == {ConnectionState.CONNECTED}
        for connection in range(1, 11):
            harness.say(connection, Pong(0))
    harness.run(30.0)
    states = [session.state for session in harness.room.sessions.values()]
    assert states == [ConnectionState.CONNECTED] * 10 + [ConnectionState.TEMPORARILY_DISCONNECTED] * 10
    assert harness.closed == dict.fromkeys(range(11, 21), CloseCode.SILENT)


def test_probes_are_answered_and_are_signs_of_life() -> None:
    """A participant that probes is not dead."""
    harness = RoomHarness()
    harness.join(1)
    harness.run(20.0)
    harness.say(1, Probe(3))
    assert harness.last(1) == ProbeReply(3)
    harness.run(45.0)
    assert harness.room.sessions["p1"].state is ConnectionState.CONNECTED


@pytest.mark.parametrize("late", [5.0, 20.0, 40.0])
@pytest.mark.parametrize("slept_from", [0.5, 7.0, 16.0, 29.0])
def test_a_server_that_stalled_evicts_no_participant(late: float, slept_from: float) -> None:
    """F8: a client that answered until the stall is alive after it, even if timers fire before anything is read."""
    harness = RoomHarness(first_ping=0.7)
    for connection in range(1, 11):
        harness.join(connection, f"c{connection}")
    now = 0.0
    while now < slept_from:
        now = min(now + 1.0, slept_from)
        harness.run(now)
        for connection in range(1, 11):
            harness.say(connection, Pong(0))
    harness.now += late
    harness.room.handle_timeout(harness.now)
    harness.collect()
    assert harness.closed == {}
    harness.now += 0.001
    for connection in range(1, 11):
        harness.say(connection, Pong(0))
    harness.run(harness.now + 29.0)
    assert harness.closed == {}


@pytest.mark.parametrize("late", [31.0, 40.0])
def test_a_stall_during_a_commit_evicts_no_participant(late: float) -> None:
    """F8: a participant who is attached but not welcomed yet gets the lag back, too."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.lose(1)
    harness.instant = False
    harness.say(2, resume(token))
    harness.now = late
    harness.room.handle_timeout(harness.now)
    harness.collect()
    assert harness.closed == {}
    harness.commit()
    assert credentials_in(harness.last(2)).participant == "p1"


@pytest.mark.parametrize("late", [20.0, 100.0])
def test_the_absent_get_the_lag_of_a_stall_back(late: float) -> None:
    """F8: away for a second before the stall, a participant still has the rest of its clean-up time after it."""
    harness = RoomHarness()
    for connection, name in enumerate(("ann", "bob", "cid"), 1):
        harness.join(connection, name)
    harness.run(14.0)
    harness.lose(1)
    harness.run(15.0)
    deadline = harness.room.next_deadline()
    assert deadline is not None
    harness.now = deadline + late
    harness.room.handle_timeout(harness.now)
    harness.collect()
    states = []
    for moment in (-0.1, 0.1):
        harness.run(14.0 + 60.0 + late + moment)
        states.append(harness.room.sessions["p1"].state)
    assert states == [ConnectionState.TEMPORARILY_DISCONNECTED, ConnectionState.DISCONNECTED]
    (stall,) = [record for record in harness.records if record.kind is LogEventKind.SERVER_LATE]
    assert stall.value == pytest.approx(late)


def test_what_is_due_at_once_is_no_lag() -> None:
    """A question whose time passed before the server started is closed, and no peer gets more time for it."""
    harness = RoomHarness(quiz=QuizConfig(lobby=1, question_time=5))
    harness.room.game.restore(QuizState(Phase.QUESTION, 0, 1, 0.0, 0.0, 5.0, 5.0), ())
    harness.now = 100.0
    harness.room.restore([SessionRow("p9", "ann", "connected", 1, 1, ("h",))], harness.now)
    harness.run(100.0)
    assert harness.room.game.phase is not Phase.QUESTION
    assert [record.kind for record in harness.records].count(LogEventKind.SERVER_LATE) == 0


def test_slow_commits_extend_no_grace_period() -> None:
    """A store that takes two seconds is no reason to believe that the scheduler slept."""
    harness = RoomHarness(first_ping=0.0)
    harness.join(1)  # and is never heard again
    harness.instant = False
    for connection in range(2, 12):
        harness.say(connection, Join(event="e", name="x", instance=str(connection)))
        harness.run(harness.now + 2.0)
        harness.commit()
    harness.run(30.0)
    assert harness.closed.get(1) == CloseCode.SILENT


def test_a_question_closes_on_time_after_a_stall() -> None:
    """F7: deadlines are absolute; what was missed is announced in order."""
    harness = RoomHarness()
    harness.join(1)
    harness.run(5.0)
    harness.now = 21.0  # q1 opened at 6, closed at 12; q2 opened at 16
    harness.room.handle_timeout(harness.now)
    harness.collect()
    assert harness.room.game.phase_ends_at == 22.0
    kinds = [type(message).__name__ for message in harness.sent[1] if hasattr(message, "seq")]
    assert kinds[-4:] == ["QuestionOpened", "QuestionRevealed", "LeaderboardShown", "QuestionOpened"]
    last = [message for message in harness.sent[1] if isinstance(message, QuestionOpened)][-1]
    assert last.question.remaining_ms == 1000


# what is stored -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [Probe(1), Pong(0), Answer("q9", 0, "k")])
def test_any_sign_of_life_is_stored_within_bounds(sign: ClientMessage) -> None:
    """``last_heartbeat`` is never older than the last sign of life by more than half an interval and a checkpoint."""
    harness = RoomHarness()
    harness.join(1)
    heard_at, rows = 0.0, len(harness.rows())
    for _ in range(60):
        heard_at = harness.now + 2.0
        harness.run(heard_at)
        harness.say(1, sign)
        assert heard_at - harness.rows()[-1].last_heard <= 7.5 + 1.0 + 2.0
    assert len(harness.rows()) - rows <= 120 / 7.5 + 1


def test_rows_of_those_who_do_not_return_after_a_restart_say_so() -> None:
    """Written once with the next checkpoint; who is back by then is stored as connected."""
    harness = RoomHarness()
    for who, status in (("p8", "connected"), ("p9", "connected"), ("p7", "disconnected")):
        row = SessionRow(who, "ann", status, 1, 1, (token_hash(who),), last_heard=-30.0)
        harness.room.restore([row], harness.now)
    harness.collect()
    harness.resume(1, "p8")
    harness.run(2.0)
    assert {row.participant: row.join_status for row in harness.rows()} == {
        "p8": ConnectionState.CONNECTED,
        "p9": ConnectionState.TEMPORARILY_DISCONNECTED,
    }
    assert [row.last_heard for row in harness.rows() if row.participant == "p9"] == [-30.0]
