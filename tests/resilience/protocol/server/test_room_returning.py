"""The room as people come back: fencing, tokens, the state they are given."""

from __future__ import annotations

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.messages import (
    Answer,
    Leave,
    Pong,
    PresenceChanged,
    Probe,
    Resume,
    ResumeRejected,
    TokenStored,
)
from resilience.protocol.states import ConnectionState
from resilience.quiz.phases import Phase
from tests.support.machines import JOIN, RoomHarness, credentials_in, in_order, resume, seqs

# coming back ----------------------------------------------------------------------------------------------------------


def test_coming_back_is_silent() -> None:
    """S4: the same participant, the next connection number, one announcement in all."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(2.0)
    harness.lose(1)
    harness.run(2.5)
    again = harness.resume(2, token)
    harness.run(10.0)
    assert (again.participant, again.connection_no, again.generation) == ("p1", 2, 2)
    assert not harness.restored(2).rejoined
    assert len([r for r in harness.records if r.kind is LogEventKind.PARTICIPANT_ANNOUNCED]) == 1
    assert not any(isinstance(message, PresenceChanged) for message in harness.sent[2])


def test_a_half_open_owner_is_no_obstacle() -> None:
    """F13: a resume wins at once though the old connection looks alive."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(1.0)
    assert harness.resume(2, token).participant == "p1"
    assert harness.closed == {1: CloseCode.SUPERSEDED}


def test_late_ends_of_old_connections_change_nothing() -> None:
    """F3: three returns in a row; then each old connection speaks, closes, and the newest still owns the session."""
    harness = RoomHarness()
    token = harness.join(1).token
    for connection in (2, 3, 4):
        token = harness.resume(connection, token).token
        harness.say(connection, TokenStored(connection))
    for old in (1, 2, 3):
        before = len(harness.sent[old])
        harness.say(old, Leave())
        harness.say(old, Probe(5))
        harness.lose(old)
        assert len(harness.sent[old]) == before
    session = harness.room.sessions["p1"]
    assert (session.connection, session.state) == (4, ConnectionState.CONNECTED)
    harness.run(29.0)
    assert session.state is ConnectionState.CONNECTED
    assert not [r for r in harness.records if r.kind is LogEventKind.SESSION_DETACHED]


def test_a_pong_of_an_old_connection_is_no_sign_of_life() -> None:
    """F2, F3: the grace of the new connection runs from its own signs of life."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(10.0)
    harness.resume(2, token)
    for now in range(11, 39):
        harness.run(float(now))
        harness.say(1, Pong(1))
    harness.run(40.0)
    assert harness.room.sessions["p1"].state is ConnectionState.TEMPORARILY_DISCONNECTED


def test_a_lost_rotation_reply_does_not_lock_out() -> None:
    """F15: until the fresh token is acknowledged the presented one works, again and again."""
    harness = RoomHarness()
    token = harness.join(1).token
    for connection in (2, 3, 4):
        harness.lose(connection - 1)
        assert harness.resume(connection, token).participant == "p1"
    assert not [r for r in harness.records if r.kind is LogEventKind.RESUME_REFUSED]


def test_a_retired_token_is_refused_and_recorded() -> None:
    """F14: once the fresh token is acknowledged its predecessor is a theft."""
    harness = RoomHarness()
    old = harness.join(1).token
    harness.lose(1)
    fresh = harness.resume(2, old)
    harness.say(2, TokenStored(fresh.generation))
    harness.say(3, resume(old))
    assert harness.last(3) == ResumeRejected("retired")
    assert harness.closed[3] == CloseCode.SUPERSEDED
    assert [r.kind for r in harness.records][-1] is LogEventKind.RESUME_REFUSED
    assert harness.room.sessions["p1"].connection == 2


def test_using_a_fresh_token_retires_its_predecessor() -> None:
    """F14: even when the acknowledgement was lost."""
    harness = RoomHarness()
    first = harness.join(1).token
    second = harness.resume(2, first).token
    harness.resume(3, second)
    harness.say(4, resume(first))
    assert harness.last(4) == ResumeRejected("retired")


def test_an_acknowledgement_of_an_older_token_retires_nothing() -> None:
    """It belongs to a connection that has been overtaken."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.resume(2, token)
    harness.say(2, TokenStored(1))
    assert harness.resume(3, token).participant == "p1"


def test_a_token_of_a_forgotten_participant_is_unknown() -> None:
    """Its client has to join: the session that it asks for belongs to no other client."""
    harness = RoomHarness()
    old = harness.join(1).token
    harness.say(2, resume(old))
    harness.say(2, TokenStored(2))
    harness.say(2, Leave())
    assert not harness.room.sessions
    harness.say(3, resume(old))
    assert harness.last(3) == ResumeRejected("unknown")
    assert 3 not in harness.closed


def test_a_client_that_names_a_participant_with_another_token_is_superseded() -> None:
    """A server that was restarted knows no retired token, but it knows the participant and its last token."""
    harness = RoomHarness()
    old = harness.join(1).token
    harness.say(2, resume(old))
    harness.say(2, TokenStored(2))
    harness.run(2.0)
    restarted = RoomHarness()
    restarted.room.restore([harness.rows()[-1]], 2.0)
    restarted.say(3, Resume(event="e", token=old, participant="p1"))
    assert restarted.last(3) == ResumeRejected("superseded")
    assert restarted.closed[3] == CloseCode.SUPERSEDED
    restarted.say(4, Resume(event="e", token=old, participant="p2"))
    assert restarted.last(4) == ResumeRejected("unknown")
    assert 4 not in restarted.closed


def test_two_tabs_have_one_takeover() -> None:
    """F11: the second tab takes over; the first one ends with a terminal close; neither displaces the other again."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.resume(2, token)
    harness.lose(1)
    harness.run(20.0)
    assert harness.closed == {1: CloseCode.SUPERSEDED}
    assert harness.room.sessions["p1"].connection == 2


def test_two_resumes_before_either_commit() -> None:
    """The later one is welcomed, the earlier one cut off and never welcomed."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.lose(1)
    harness.instant = False
    harness.say(2, resume(token))
    harness.say(3, resume(token))
    harness.commit()
    assert harness.sent[2] == []
    assert harness.closed == {2: CloseCode.SUPERSEDED}
    assert credentials_in(harness.last(3)).connection_no == 3
    assert harness.room.sessions["p1"].connection == 3


@pytest.mark.parametrize("offset_ms", range(-50, 51))
def test_sweep_against_rejoin(offset_ms: int) -> None:
    """F30: around the clean-up a return is a resume before it and a rejoin from it on; both are whole."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(10.0)
    harness.lose(1)
    now = 70.0 + offset_ms / 1000
    harness.run(now)
    again = harness.resume(2, token)
    session = harness.room.sessions["p1"]
    assert (again.participant, session.state, session.connection) == ("p1", ConnectionState.CONNECTED, 2)
    assert harness.restored(2).rejoined is (offset_ms >= 0)
    expired = [r for r in harness.records if r.kind is LogEventKind.SESSION_EXPIRED]
    assert len(expired) == (1 if offset_ms >= 0 else 0)
    harness.say(2, Pong(0))
    harness.run(now + 20.0)
    assert session.state is ConnectionState.CONNECTED


@pytest.mark.parametrize("offset_ms", range(-50, 51, 10))
def test_sweep_while_a_resume_is_being_committed(offset_ms: int) -> None:
    """F30: a resume that arrived in time is not swept away before its commit."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(10.0)
    harness.lose(1)
    harness.run(69.9)
    harness.instant = False
    harness.say(2, resume(token))
    harness.run(70.0 + offset_ms / 1000)
    harness.commit()
    assert harness.room.sessions["p1"].state is ConnectionState.CONNECTED
    assert not harness.restored(2).rejoined


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
    harness = RoomHarness()
    token = harness.join(1).token
    session = harness.room.sessions["p1"]
    right = harness.room.game.questions[0].correct
    harness.run(7.0 if left_at > 7 else left_at)
    if left_at > 7:
        harness.say(1, Answer("q1", right, "k"))
        harness.run(left_at)
    harness.lose(1)
    harness.run(back_at)
    harness.resume(2, token)
    snapshot = harness.restored(2).snapshot
    assert harness.room.sessions["p1"] is session
    assert snapshot.phase == phase
    assert snapshot.digest() == harness.room.recomputed_digest("p1")
    answered = left_at > 7 and phase not in (Phase.LOBBY, Phase.FINISHED)
    assert snapshot.answer == (right if answered else None)
    assert snapshot.score == (917 if phase in (Phase.REVEAL, Phase.LEADERBOARD, Phase.FINISHED) else 0)


def test_the_snapshot_tells_the_time_left() -> None:
    """In milliseconds, together with the server's own clock."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(8.25)
    harness.resume(2, token)
    snapshot = harness.restored(2).snapshot
    assert snapshot.question is not None
    assert (snapshot.question.remaining_ms, snapshot.question.time_ms, snapshot.server_time_ms) == (3750, 6000, 8250)
    assert snapshot.question.correct is None


@pytest.mark.parametrize("arrive", ["join", "resume"])
def test_no_gap_and_no_duplicate_between_snapshot_and_stream(arrive: str) -> None:
    """F26: events of the room between a message and its commit are in the snapshot, those after it in the stream."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(5.9)
    if arrive == "resume":
        harness.lose(1)
    harness.instant = False
    harness.say(2, resume(token) if arrive == "resume" else JOIN)
    harness.run(12.5)  # the question opens and is revealed meanwhile
    before = harness.room.seq
    harness.commit()
    harness.instant = True
    harness.run(17.0)
    numbers = seqs(harness, 2)
    assert numbers[0] == before
    assert in_order(numbers)
    assert numbers[-1] == harness.room.seq
