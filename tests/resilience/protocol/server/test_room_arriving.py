"""The room as people arrive: joins, lost replies, what a half-made session leaves behind."""

from __future__ import annotations

import pytest

from resilience.config import QuizConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import DeleteParticipant, JoinAttempt
from resilience.protocol.messages import (
    Answer,
    Error,
    Join,
    Joined,
    Leave,
    Pong,
    Probe,
    ResumeRejected,
    TokenStored,
)
from resilience.protocol.states import ConnectionState
from resilience.quiz.phases import Phase
from tests.support.machines import JOIN, RoomHarness, credentials_in, resume

# arriving -------------------------------------------------------------------------------------------------------------


def test_a_join_is_answered_after_its_commit() -> None:
    """Nothing is sent before; the answer has identity, timing and snapshot."""
    harness = RoomHarness(instant=False)
    harness.say(1, JOIN)
    assert harness.sent[1] == []
    harness.commit()
    welcome = harness.last(1)
    assert isinstance(welcome, Joined)
    assert (welcome.credentials.participant, welcome.credentials.connection_no) == ("p1", 1)
    assert (welcome.timing.heartbeat_ms, welcome.timing.grace_ms, welcome.timing.cleanup_ms) == (15000, 30000, 60000)
    assert (welcome.snapshot.phase, welcome.snapshot.seq) == (Phase.LOBBY, 0)


def test_only_the_tokens_hash_is_stored() -> None:
    """What the store holds cannot be used to come back."""
    harness = RoomHarness()
    token = harness.join(1).token
    (row,) = harness.rows()
    assert token not in str(row)
    harness.lose(1)
    harness.say(2, resume(row.token_hashes[0]))
    assert harness.last(2) == ResumeRejected("unknown")


def test_a_name_is_not_an_identity() -> None:
    """F14: a second client with the same name is another participant."""
    harness = RoomHarness()
    for connection, instance in [(1, "i1"), (2, "i2")]:
        harness.say(connection, Join(event="e", name="ann", instance=instance))
    assert [credentials_in(harness.last(connection)).participant for connection in (1, 2)] == ["p1", "p2"]
    assert harness.closed == {}


@pytest.mark.parametrize("message", [Probe(1), Pong(1), Answer("q1", 0, "k"), Leave(), TokenStored(1)])
def test_the_first_message_must_arrive(message: Probe | Pong | Answer | Leave | TokenStored) -> None:
    """Anything but join and resume is answered with a typed error, and changes nothing."""
    harness = RoomHarness()
    harness.say(1, message)
    assert harness.last(1) == Error("unexpected", "type", "the first message must be join or resume")
    assert (harness.room.sessions, harness.closed) == ({}, {})


def test_a_connection_arrives_once() -> None:
    """A second join or resume on it is refused; it stays who it is."""
    harness = RoomHarness()
    token = harness.join(1).token
    for message in (JOIN, resume(token)):
        harness.say(1, message)
        assert harness.last(1) == Error("unexpected", "type", "this connection has joined already")
    assert len(harness.room.sessions) == 1


def test_a_refused_resume_may_join_on_the_same_connection() -> None:
    """And leaves a line in the join log."""
    harness = RoomHarness()
    harness.say(1, resume("stolen"))
    assert harness.sent[1] == [ResumeRejected("unknown")]
    assert JoinAttempt(None, "refused") in [row for persist in harness.persisted for row in persist.rows]
    assert [r.kind for r in harness.records] == [LogEventKind.RESUME_REFUSED]
    assert harness.join(1).participant == "p1"


def test_a_join_whose_connection_dies_before_its_commit_leaves_nothing() -> None:
    """No session, no token, no place in the roster or on the board; the store receives an order to delete it."""
    harness = RoomHarness(instant=False)
    harness.say(1, JOIN)
    harness.lose(1)
    harness.commit()
    assert DeleteParticipant("p1") in [row for persist in harness.persisted for row in persist.rows]
    assert harness.room.sessions == {}
    assert harness.room._attendance._tokens._owners == {}
    assert harness.sent[1] == []
    harness.instant = True
    harness.join(2, "bob")
    harness.run(5.0)
    harness.join(3, "late")
    assert [player.participant for player in harness.roster(3).players] == ["p2"]
    assert [r.session_id for r in harness.records if r.kind is LogEventKind.PARTICIPANT_ANNOUNCED] == ["p2"]


def test_a_failed_commit_of_a_join_leaves_nothing() -> None:
    """The client receives a retry time of a second, and no participant is shown."""
    harness = RoomHarness(instant=False)
    harness.say(1, JOIN)
    harness.fail()
    assert harness.closed == {1: CloseCode.TRY_AGAIN_LATER}
    harness.lose(1)
    harness.commit()
    assert harness.room.sessions == {}
    assert harness.room._attendance._tokens._owners == {}
    harness.run(100.0)
    assert {r.kind for r in harness.records} == {LogEventKind.TRANSPORT_LOST}


def test_a_failed_commit_of_a_resume_keeps_the_session() -> None:
    """The token that was presented still opens it."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.lose(1)
    harness.instant = False
    harness.say(2, resume(token))
    harness.fail()
    assert harness.closed == {2: CloseCode.TRY_AGAIN_LATER}
    harness.lose(2)
    harness.instant = True
    assert harness.resume(3, token).participant == "p1"


def test_nothing_counts_before_the_welcome() -> None:
    """What is said between the join and its commit is refused: who is not stored cannot answer or leave."""
    harness = RoomHarness(instant=False, quiz=QuizConfig(lobby=0.0))
    harness.say(1, JOIN)
    harness.say(1, Answer("q1", 0, "k"))
    harness.say(1, Leave())
    harness.run(1.0)
    assert [type(message) for message in harness.sent[1]] == [Error, Error]
    assert harness.closed == {}
    harness.commit()
    assert isinstance(harness.last(1), Joined)
    harness.run(3.0)
    harness.commit()
    assert harness.room.sessions["p1"].state is ConnectionState.CONNECTED


# joining again, because the reply was lost ---------------------------------------------------------------------------


def test_a_join_whose_reply_was_lost_is_given_back_its_identity() -> None:
    """The same instance asks again: one participant, announced once."""
    harness = RoomHarness()
    first = harness.join(1)
    harness.lose(1)
    harness.run(1.0)
    second = harness.join(2)
    harness.run(9.0)
    assert (first.participant, second.participant) == ("p1", "p1")
    assert second.token != first.token
    assert len([r for r in harness.records if r.kind is LogEventKind.PARTICIPANT_ANNOUNCED]) == 1


def test_a_join_that_was_confirmed_is_not_given_away() -> None:
    """Once the token is confirmed, a join of the same instance creates a new participant."""
    harness = RoomHarness()
    harness.join(1)
    harness.say(1, TokenStored(1))
    assert harness.join(2).participant == "p2"
    assert harness.closed == {}


def test_a_late_end_of_the_first_join_does_not_undo_the_second() -> None:
    """F3, before the first commit: only the end of the newest connection counts."""
    harness = RoomHarness(instant=False)
    harness.say(1, JOIN)
    harness.say(2, JOIN)
    harness.lose(1)
    harness.commit()
    assert credentials_in(harness.last(2)).participant == "p1"
    assert harness.room.sessions["p1"].connection == 2
    assert harness.sent[1] == []


@pytest.mark.parametrize("outcome", ["committed", "failed"])
def test_two_joins_of_one_instance_that_both_died(outcome: str) -> None:
    """Whatever the store says of them afterwards, nothing is left."""
    harness = RoomHarness(instant=False)
    for connection in (1, 2):
        harness.say(connection, JOIN)
        harness.lose(connection)
    harness.commit() if outcome == "committed" else harness.fail()
    harness.commit()
    assert (harness.room.sessions, harness.room._attendance._tokens._owners) == ({}, {})
    harness.instant = True
    assert harness.join(3).participant == "p2"


def test_two_joins_of_one_instance_that_both_failed() -> None:
    """A store that is down while a client tries twice brings nothing down with it."""
    harness = RoomHarness(instant=False)
    harness.say(1, JOIN)
    harness.say(2, JOIN)
    harness.fail()
    harness.commit()
    assert harness.closed[2] == CloseCode.TRY_AGAIN_LATER
    assert (harness.room.sessions, harness.room._attendance._tokens._owners) == ({}, {})


def test_a_failed_first_join_does_not_undo_the_second() -> None:
    """The commit of the newest connection decides."""
    harness = RoomHarness(instant=False)
    harness.say(1, JOIN)
    (first,), harness.waiting = harness.waiting, []
    harness.say(2, JOIN)
    harness.room.commit_failed(first.ticket, harness.now)
    harness.collect()
    harness.commit()
    harness.instant = True
    token = credentials_in(harness.last(2)).token
    harness.lose(2)
    assert harness.resume(3, token).participant == "p1"


def test_a_failed_second_join_keeps_who_was_announced() -> None:
    """The participant was announced at its first join: it stays and can still be joined."""
    harness = RoomHarness()
    harness.join(1)
    harness.run(2.0)
    harness.lose(1)
    harness.instant = False
    harness.say(2, JOIN)
    harness.fail()
    harness.lose(2)
    harness.commit()
    harness.instant = True
    assert harness.join(3).participant == "p1"
