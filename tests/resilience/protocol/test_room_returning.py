"""The room as people come back: fencing, tokens, the state they are given."""

from __future__ import annotations

import pytest

from resilience.events import LogEventKind
from resilience.policy.retry import CloseCode
from resilience.protocol.messages import (
    Answer,
    Leave,
    Pong,
    PresenceChanged,
    Probe,
    ResumeRejected,
    TokenStored,
)
from resilience.protocol.states import ConnectionState
from resilience.quiz.phases import Phase
from tests.resilience.protocol.stand import JOIN, Stand, credentials_in, in_order, resume, seqs

# coming back ----------------------------------------------------------------------------------------------------------


def test_coming_back_is_silent() -> None:
    """S4: the same participant, the next connection number, one announcement in all."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(2.0)
    stand.lose(1)
    stand.run(2.5)
    again = stand.resume(2, token)
    stand.run(10.0)
    assert (again.participant, again.connection_no, again.generation) == ("p1", 2, 2)
    assert not stand.restored(2).rejoined
    assert len([r for r in stand.records if r.kind is LogEventKind.PARTICIPANT_ANNOUNCED]) == 1
    assert not any(isinstance(message, PresenceChanged) for message in stand.sent[2])


def test_a_half_open_owner_is_no_obstacle() -> None:
    """F13: a resume wins at once though the old connection looks alive."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(1.0)
    assert stand.resume(2, token).participant == "p1"
    assert stand.closed == {1: CloseCode.SUPERSEDED}


def test_late_ends_of_old_connections_change_nothing() -> None:
    """F3: three returns in a row; then each old connection speaks, closes, and the newest still owns the session."""
    stand = Stand()
    token = stand.join(1).token
    for connection in (2, 3, 4):
        token = stand.resume(connection, token).token
        stand.say(connection, TokenStored(connection))
    for old in (1, 2, 3):
        before = len(stand.sent[old])
        stand.say(old, Leave())
        stand.say(old, Probe(5))
        stand.lose(old)
        assert len(stand.sent[old]) == before
    session = stand.room.sessions["p1"]
    assert (session.connection, session.state) == (4, ConnectionState.CONNECTED)
    stand.run(29.0)
    assert session.state is ConnectionState.CONNECTED
    assert not [r for r in stand.records if r.kind is LogEventKind.SESSION_DETACHED]


def test_a_pong_of_an_old_connection_keeps_nobody_alive() -> None:
    """F2, F3: the grace of the new connection runs from its own signs of life."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(10.0)
    stand.resume(2, token)
    for now in range(11, 39):
        stand.run(float(now))
        stand.say(1, Pong(1))
    stand.run(40.0)
    assert stand.room.sessions["p1"].state is ConnectionState.TEMPORARILY_DISCONNECTED


def test_a_lost_rotation_reply_does_not_lock_out() -> None:
    """F15: until the fresh token is acknowledged the presented one works, again and again."""
    stand = Stand()
    token = stand.join(1).token
    for connection in (2, 3, 4):
        stand.lose(connection - 1)
        assert stand.resume(connection, token).participant == "p1"
    assert not [r for r in stand.records if r.kind is LogEventKind.RESUME_REFUSED]


def test_a_retired_token_is_refused_and_recorded() -> None:
    """F14: once the fresh token is acknowledged its predecessor is a theft."""
    stand = Stand()
    old = stand.join(1).token
    stand.lose(1)
    fresh = stand.resume(2, old)
    stand.say(2, TokenStored(fresh.generation))
    stand.say(3, resume(old))
    assert stand.last(3) == ResumeRejected("retired")
    assert [r.kind for r in stand.records][-1] is LogEventKind.RESUME_REFUSED
    assert stand.room.sessions["p1"].connection == 2


def test_using_a_fresh_token_retires_its_predecessor() -> None:
    """F14: even when the acknowledgement was lost."""
    stand = Stand()
    first = stand.join(1).token
    second = stand.resume(2, first).token
    stand.resume(3, second)
    stand.say(4, resume(first))
    assert stand.last(4) == ResumeRejected("retired")


def test_an_acknowledgement_of_an_older_token_retires_nothing() -> None:
    """It belongs to a connection that has been overtaken."""
    stand = Stand()
    token = stand.join(1).token
    stand.resume(2, token)
    stand.say(2, TokenStored(1))
    assert stand.resume(3, token).participant == "p1"


def test_two_tabs_have_one_takeover() -> None:
    """F11: the second tab takes over; the first is told for good; nothing goes back and forth."""
    stand = Stand()
    token = stand.join(1).token
    stand.resume(2, token)
    stand.lose(1)
    stand.run(20.0)
    assert stand.closed == {1: CloseCode.SUPERSEDED}
    assert stand.room.sessions["p1"].connection == 2


def test_two_resumes_before_either_commit() -> None:
    """The later one is welcomed, the earlier one cut off and never welcomed."""
    stand = Stand()
    token = stand.join(1).token
    stand.lose(1)
    stand.instant = False
    stand.say(2, resume(token))
    stand.say(3, resume(token))
    stand.commit()
    assert stand.sent[2] == []
    assert stand.closed == {2: CloseCode.SUPERSEDED}
    assert credentials_in(stand.last(3)).connection_no == 3
    assert stand.room.sessions["p1"].connection == 3


@pytest.mark.parametrize("offset_ms", range(-50, 51))
def test_sweep_against_rejoin(offset_ms: int) -> None:
    """F30: around the clean-up a return is a resume before it and a rejoin from it on; both are whole."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(10.0)
    stand.lose(1)
    now = 70.0 + offset_ms / 1000
    stand.run(now)
    again = stand.resume(2, token)
    session = stand.room.sessions["p1"]
    assert (again.participant, session.state, session.connection) == ("p1", ConnectionState.CONNECTED, 2)
    assert stand.restored(2).rejoined is (offset_ms >= 0)
    expired = [r for r in stand.records if r.kind is LogEventKind.SESSION_EXPIRED]
    assert len(expired) == (1 if offset_ms >= 0 else 0)
    stand.say(2, Pong(0))
    stand.run(now + 20.0)
    assert session.state is ConnectionState.CONNECTED


@pytest.mark.parametrize("offset_ms", range(-50, 51, 10))
def test_sweep_while_a_resume_is_being_committed(offset_ms: int) -> None:
    """F30: a resume that arrived in time is not swept away before its commit."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(10.0)
    stand.lose(1)
    stand.run(69.9)
    stand.instant = False
    stand.say(2, resume(token))
    stand.run(70.0 + offset_ms / 1000)
    stand.commit()
    assert stand.room.sessions["p1"].state is ConnectionState.CONNECTED
    assert not stand.restored(2).rejoined


@pytest.mark.parametrize(
    "phase, left_at, back_at",
    [
        (Phase.LOBBY, 2.0, 3.0),
        (Phase.QUESTION, 8.0, 9.0),
        (Phase.REVEAL, 8.0, 13.0),
        (Phase.LEADERBOARD, 8.0, 15.0),
        (Phase.FINISHED, 8.0, 300.0),
    ],
)
def test_coming_back_in_each_phase(phase: Phase, left_at: float, back_at: float) -> None:
    """F28: the same object is attached again, with its score and its answer; the snapshot is the phase's own."""
    stand = Stand()
    token = stand.join(1).token
    session = stand.room.sessions["p1"]
    right = stand.room.game.questions[0].correct
    stand.run(7.0 if left_at > 7 else left_at)
    if left_at > 7:
        stand.say(1, Answer("q1", right, "k"))
        stand.run(left_at)
    stand.lose(1)
    stand.run(back_at)
    stand.resume(2, token)
    snapshot = stand.restored(2).snapshot
    assert stand.room.sessions["p1"] is session
    assert snapshot.phase == phase
    assert snapshot.digest() == stand.room.recomputed_digest("p1")
    answered = left_at > 7 and phase not in (Phase.LOBBY, Phase.FINISHED)
    assert snapshot.answer == (right if answered else None)
    assert snapshot.score == (917 if phase in (Phase.REVEAL, Phase.LEADERBOARD, Phase.FINISHED) else 0)


def test_the_snapshot_tells_the_time_left() -> None:
    """In milliseconds, with the server's own clock beside it."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(8.25)
    stand.resume(2, token)
    snapshot = stand.restored(2).snapshot
    assert snapshot.question is not None
    assert (snapshot.question.remaining_ms, snapshot.question.time_ms, snapshot.server_time_ms) == (3750, 6000, 8250)
    assert snapshot.question.correct is None


@pytest.mark.parametrize("arrive", ["join", "resume"])
def test_no_gap_and_no_duplicate_between_snapshot_and_stream(arrive: str) -> None:
    """F26: events of the room between a message and its commit are in the snapshot, those after it in the stream."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(5.9)
    if arrive == "resume":
        stand.lose(1)
    stand.instant = False
    stand.say(2, resume(token) if arrive == "resume" else JOIN)
    stand.run(12.5)  # the question opens and is revealed meanwhile
    before = stand.room.seq
    stand.commit()
    stand.instant = True
    stand.run(17.0)
    numbers = seqs(stand, 2)
    assert numbers[0] == before
    assert in_order(numbers)
    assert numbers[-1] == stand.room.seq
