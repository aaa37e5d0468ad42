"""The room as people arrive: joins, lost replies, what a half-made session leaves behind."""

from __future__ import annotations

import pytest

from resilience.config import QuizConfig
from resilience.events import LogEventKind
from resilience.policy.retry import CloseCode
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
from tests.resilience.protocol.stand import JOIN, Stand, credentials_in, resume

# arriving -------------------------------------------------------------------------------------------------------------


def test_a_join_is_answered_after_its_commit() -> None:
    """Nothing is sent before; the answer has identity, timing and snapshot."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    assert stand.sent[1] == []
    stand.commit()
    welcome = stand.last(1)
    assert isinstance(welcome, Joined)
    assert (welcome.credentials.participant, welcome.credentials.connection_no) == ("p1", 1)
    assert (welcome.timing.heartbeat_ms, welcome.timing.grace_ms, welcome.timing.cleanup_ms) == (15000, 30000, 60000)
    assert (welcome.snapshot.phase, welcome.snapshot.seq) == (Phase.LOBBY, 0)


def test_only_the_tokens_hash_is_stored() -> None:
    """What the store holds cannot be used to come back."""
    stand = Stand()
    token = stand.join(1).token
    (row,) = stand.rows()
    assert token not in str(row)
    stand.lose(1)
    stand.say(2, resume(row.token_hashes[0]))
    assert stand.last(2) == ResumeRejected("unknown")


def test_names_identify_nobody() -> None:
    """F14: the same name joins as somebody else."""
    stand = Stand()
    for connection, instance in [(1, "i1"), (2, "i2")]:
        stand.say(connection, Join(event="e", name="ann", instance=instance))
    assert [credentials_in(stand.last(connection)).participant for connection in (1, 2)] == ["p1", "p2"]
    assert stand.closed == {}


@pytest.mark.parametrize("message", [Probe(1), Pong(1), Answer("q1", 0, "k"), Leave(), TokenStored(1)])
def test_the_first_message_must_arrive(message: Probe | Pong | Answer | Leave | TokenStored) -> None:
    """Anything but join and resume is answered with a typed error, and changes nothing."""
    stand = Stand()
    stand.say(1, message)
    assert stand.last(1) == Error("unexpected", "type", "the first message must be join or resume")
    assert (stand.room.sessions, stand.closed) == ({}, {})


def test_a_connection_arrives_once() -> None:
    """A second join or resume on it is refused; it stays who it is."""
    stand = Stand()
    token = stand.join(1).token
    for message in (JOIN, resume(token)):
        stand.say(1, message)
        assert stand.last(1) == Error("unexpected", "type", "this connection has joined already")
    assert len(stand.room.sessions) == 1


def test_a_refused_resume_may_join_on_the_same_connection() -> None:
    """And leaves a line in the join log."""
    stand = Stand()
    stand.say(1, resume("stolen"))
    assert stand.sent[1] == [ResumeRejected("unknown")]
    assert JoinAttempt(None, "refused") in [row for persist in stand.persisted for row in persist.rows]
    assert [r.kind for r in stand.records] == [LogEventKind.RESUME_REFUSED]
    assert stand.join(1).participant == "p1"


def test_a_join_whose_connection_dies_before_its_commit_leaves_nothing() -> None:
    """No session, no token, no place in the roster or on the board; the store is told to forget it."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    stand.lose(1)
    stand.commit()
    assert DeleteParticipant("p1") in [row for persist in stand.persisted for row in persist.rows]
    assert stand.room.sessions == {}
    assert stand.room._identities._tokens._sessions == {}
    assert stand.sent[1] == []
    stand.instant = True
    stand.join(2, "bob")
    stand.run(5.0)
    stand.join(3, "late")
    assert [player.participant for player in stand.roster(3).players] == ["p2"]
    assert [r.session_id for r in stand.records if r.kind is LogEventKind.PARTICIPANT_ANNOUNCED] == ["p2"]


def test_a_failed_commit_of_a_join_leaves_nothing() -> None:
    """The client is told to come again in a second, and nobody is shown."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    stand.fail()
    assert stand.closed == {1: CloseCode.TRY_AGAIN_LATER}
    stand.lose(1)
    stand.commit()
    assert stand.room.sessions == {}
    assert stand.room._identities._tokens._sessions == {}
    stand.run(100.0)
    assert {r.kind for r in stand.records} == {LogEventKind.TRANSPORT_LOST}


def test_a_failed_commit_of_a_resume_keeps_the_session() -> None:
    """The token that was presented still opens it."""
    stand = Stand()
    token = stand.join(1).token
    stand.lose(1)
    stand.instant = False
    stand.say(2, resume(token))
    stand.fail()
    assert stand.closed == {2: CloseCode.TRY_AGAIN_LATER}
    stand.lose(2)
    stand.instant = True
    assert stand.resume(3, token).participant == "p1"


def test_nothing_counts_before_the_welcome() -> None:
    """What is said between the join and its commit is refused: who is not stored cannot answer or leave."""
    stand = Stand(instant=False, quiz=QuizConfig(lobby=0.0))
    stand.say(1, JOIN)
    stand.say(1, Answer("q1", 0, "k"))
    stand.say(1, Leave())
    stand.run(1.0)
    assert [type(message) for message in stand.sent[1]] == [Error, Error]
    assert stand.closed == {}
    stand.commit()
    assert isinstance(stand.last(1), Joined)
    stand.run(3.0)
    stand.commit()
    assert stand.room.sessions["p1"].state is ConnectionState.CONNECTED


# joining again, because the reply was lost ---------------------------------------------------------------------------


def test_a_join_whose_reply_was_lost_is_given_back_its_identity() -> None:
    """The same instance asks again: one participant, announced once."""
    stand = Stand()
    first = stand.join(1)
    stand.lose(1)
    stand.run(1.0)
    second = stand.join(2)
    stand.run(9.0)
    assert (first.participant, second.participant) == ("p1", "p1")
    assert second.token != first.token
    assert len([r for r in stand.records if r.kind is LogEventKind.PARTICIPANT_ANNOUNCED]) == 1


def test_a_join_that_was_confirmed_is_not_given_away() -> None:
    """Once the token is kept, the same instance is somebody new."""
    stand = Stand()
    stand.join(1)
    stand.say(1, TokenStored(1))
    assert stand.join(2).participant == "p2"
    assert stand.closed == {}


def test_a_late_end_of_the_first_join_does_not_undo_the_second() -> None:
    """F3, before the first commit: only the end of the newest connection counts."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    stand.say(2, JOIN)
    stand.lose(1)
    stand.commit()
    assert credentials_in(stand.last(2)).participant == "p1"
    assert stand.room.sessions["p1"].connection == 2
    assert stand.sent[1] == []


@pytest.mark.parametrize("outcome", ["committed", "failed"])
def test_two_joins_of_one_instance_that_both_died(outcome: str) -> None:
    """Whatever the store says of them afterwards, nothing is left."""
    stand = Stand(instant=False)
    for connection in (1, 2):
        stand.say(connection, JOIN)
        stand.lose(connection)
    stand.commit() if outcome == "committed" else stand.fail()
    stand.commit()
    assert (stand.room.sessions, stand.room._identities._tokens._sessions) == ({}, {})
    stand.instant = True
    assert stand.join(3).participant == "p2"


def test_two_joins_of_one_instance_that_both_failed() -> None:
    """A store that is down while a client tries twice brings nothing down with it."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    stand.say(2, JOIN)
    stand.fail()
    stand.commit()
    assert stand.closed[2] == CloseCode.TRY_AGAIN_LATER
    assert (stand.room.sessions, stand.room._identities._tokens._sessions) == ({}, {})


def test_a_failed_first_join_does_not_undo_the_second() -> None:
    """The commit of the newest connection decides."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    (first,), stand.waiting = stand.waiting, []
    stand.say(2, JOIN)
    stand.room.commit_failed(first.ticket, stand.now)
    stand.collect()
    stand.commit()
    stand.instant = True
    token = credentials_in(stand.last(2)).token
    stand.lose(2)
    assert stand.resume(3, token).participant == "p1"


def test_a_failed_second_join_keeps_who_was_announced() -> None:
    """Others have been told of the first one: it stays, and can still be asked for."""
    stand = Stand()
    stand.join(1)
    stand.run(2.0)
    stand.lose(1)
    stand.instant = False
    stand.say(2, JOIN)
    stand.fail()
    stand.lose(2)
    stand.commit()
    stand.instant = True
    assert stand.join(3).participant == "p1"
