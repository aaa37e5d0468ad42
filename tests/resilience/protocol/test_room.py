"""One event on the server: arriving, answering, ending. The test holds the store's hands."""

from __future__ import annotations

import pytest

from resilience.config import QuizConfig, ServerConfig
from resilience.events import EventKind
from resilience.policy.retry import CloseCode
from resilience.protocol import codec
from resilience.protocol.effects import Forget, JoinAttempt
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    Error,
    Join,
    Joined,
    Leave,
    Ping,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    QuestionOpened,
    QuestionRevealed,
    Resume,
    ResumeRejected,
    ScoreChanged,
    TokenStored,
)
from resilience.protocol.states import ConnectionState
from resilience.quiz.phases import Phase
from tests.resilience.protocol.stand import Stand, credentials_in, roster_of

JOIN = Join(event="e", name="ann", instance="ann")
# The default quiz, counted from the first join: q1 open from 6 to 12, revealed until 14, on the board until 16; q2 ...


def resume(token: str) -> Resume:
    """Come back with a token."""
    return Resume(event="e", token=token, instance="i1")


def seqs(stand: Stand, connection: int) -> list[int]:
    """The stream numbers that a connection was sent, from its snapshot's on."""
    found = []
    for message in stand.sent[connection]:
        if isinstance(message, Joined) or hasattr(message, "snapshot"):
            found.append(message.snapshot.seq)
        elif hasattr(message, "seq"):
            found.append(message.seq)
    return found


def in_order(numbers: list[int]) -> bool:
    """Each is the one before plus one."""
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


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
    assert stand.last(1) == Error("protocol", "type", "the first message must be join or resume")
    assert (stand.room.sessions, stand.closed) == ({}, {})


def test_a_connection_arrives_once() -> None:
    """A second join or resume on it is refused; it stays who it is."""
    stand = Stand()
    token = stand.join(1).token
    for message in (JOIN, resume(token)):
        stand.say(1, message)
        assert stand.last(1) == Error("protocol", "type", "this connection has joined already")
    assert len(stand.room.sessions) == 1


def test_a_refused_resume_may_join_on_the_same_connection() -> None:
    """And leaves a line in the join log."""
    stand = Stand()
    stand.say(1, resume("stolen"))
    assert stand.sent[1] == [ResumeRejected("unknown")]
    assert JoinAttempt(None, "refused") in [row for persist in stand.persisted for row in persist.rows]
    assert [r.kind for r in stand.records] == [EventKind.RESUME_REFUSED]
    assert stand.join(1).participant == "p1"


def test_a_join_whose_connection_dies_before_its_commit_leaves_nothing() -> None:
    """No session, no token, no place in the roster or on the board; the store is told to forget it."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    stand.lose(1)
    stand.commit()
    assert Forget("p1") in [row for persist in stand.persisted for row in persist.rows]
    assert stand.room.sessions == {}
    assert stand.room._by_token == {}
    assert stand.sent[1] == []
    stand.instant = True
    stand.join(2, "bob")
    stand.run(5.0)
    stand.join(3, "late")
    assert [player.participant for player in stand.roster(3).players] == ["p2"]
    assert [r.session_id for r in stand.records if r.kind is EventKind.PARTICIPANT_ANNOUNCED] == ["p2"]


def test_a_failed_commit_of_a_join_leaves_nothing() -> None:
    """The client is told to come again in a second, and nobody is shown."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    stand.fail()
    assert stand.closed == {1: CloseCode.TRY_AGAIN_LATER}
    stand.lose(1)
    stand.commit()
    assert stand.room.sessions == {}
    assert stand.room._by_token == {}
    stand.run(100.0)
    assert {r.kind for r in stand.records} == {EventKind.TRANSPORT_LOST}


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
    assert len([r for r in stand.records if r.kind is EventKind.PARTICIPANT_ANNOUNCED]) == 1


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
    assert (stand.room.sessions, stand.room._by_token) == ({}, {})
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
    assert (stand.room.sessions, stand.room._by_token) == ({}, {})


def test_a_failed_first_join_does_not_undo_the_second() -> None:
    """The commit of the newest connection decides."""
    stand = Stand(instant=False)
    stand.say(1, JOIN)
    (first,), stand.waiting = stand.waiting, []
    stand.say(2, JOIN)
    stand.room.commit_failed(first.ticket)
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
    assert len([r for r in stand.records if r.kind is EventKind.PARTICIPANT_ANNOUNCED]) == 1
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
    assert not [r for r in stand.records if r.kind is EventKind.SESSION_DETACHED]


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
    assert not [r for r in stand.records if r.kind is EventKind.RESUME_REFUSED]


def test_a_retired_token_is_refused_and_recorded() -> None:
    """F14: once the fresh token is acknowledged its predecessor is a theft."""
    stand = Stand()
    old = stand.join(1).token
    stand.lose(1)
    fresh = stand.resume(2, old)
    stand.say(2, TokenStored(fresh.generation))
    stand.say(3, resume(old))
    assert stand.last(3) == ResumeRejected("unknown")
    assert [r.kind for r in stand.records][-1] is EventKind.RESUME_REFUSED
    assert stand.room.sessions["p1"].connection == 2


def test_using_a_fresh_token_retires_its_predecessor() -> None:
    """F14: even when the acknowledgement was lost."""
    stand = Stand()
    first = stand.join(1).token
    second = stand.resume(2, first).token
    stand.resume(3, second)
    stand.say(4, resume(first))
    assert stand.last(4) == ResumeRejected("unknown")


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
    expired = [r for r in stand.records if r.kind is EventKind.SESSION_EXPIRED]
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
    assert snapshot.digest() == stand.room.truth("p1")
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
        EventKind.SESSION_LEFT,
        EventKind.TRANSPORT_LOST,
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


# answers --------------------------------------------------------------------------------------------------------------


def test_an_answer_is_acknowledged_after_its_commit() -> None:
    """S8: not a moment before."""
    stand = Stand()
    stand.join(1)
    stand.run(7.0)
    stand.instant = False
    stand.say(1, Answer("q1", 0, "k"))
    assert not isinstance(stand.last(1), AnswerResult)
    stand.commit()
    assert stand.last(1) == AnswerResult("q1", "k", "accepted")


def test_a_resend_gets_the_same_verdict_and_one_row() -> None:
    """F22: the acknowledgement was lost; asked again over a new connection, the answer counts once."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(7.0)
    stand.say(1, Answer("q1", 0, "k"))
    stand.lose(1)
    stand.resume(2, token)
    stand.say(2, Answer("q1", 0, "k"))
    assert stand.last(2) == AnswerResult("q1", "k", "accepted")
    assert len([r for r in stand.records if r.kind is EventKind.ANSWER_COMMITTED]) == 1


@pytest.mark.parametrize("first", ["answer", "resume"])
def test_the_same_answer_in_flight_on_two_connections(first: str) -> None:
    """F24: one row is written and both are told the same, whichever commit is done first."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(7.0)
    stand.instant = False
    stand.say(1, Answer("q1", 0, "k"))
    stand.say(2, resume(token))
    answer, arrival = stand.waiting
    for done in (answer, arrival) if first == "answer" else (arrival, answer):
        if done is answer and first == "resume":
            stand.say(2, Answer("q1", 0, "k"))
        stand.room.committed(done.ticket, stand.now)
        stand.collect()
    stand.say(2, Answer("q1", 0, "k"))
    results = [{m for m in stand.sent[c] if isinstance(m, AnswerResult)} for c in (1, 2)]
    assert results == [{AnswerResult("q1", "k", "accepted")}] * 2
    assert len([r for r in stand.records if r.kind is EventKind.ANSWER_COMMITTED]) == 1


def test_another_answer_in_flight_is_a_duplicate() -> None:
    """The first one received wins, though neither is committed yet."""
    stand = Stand()
    stand.join(1)
    stand.run(7.0)
    stand.instant = False
    stand.say(1, Answer("q1", 0, "k1"))
    stand.say(1, Answer("q1", 1, "k2"))
    stand.commit()
    assert stand.sent[1][-2:] == [AnswerResult("q1", "k1", "accepted"), AnswerResult("q1", "k2", "duplicate")]
    stored = stand.room.game.answer_of("p1", "q1")
    assert stored is not None
    assert stored.choice == 0


def test_an_answer_that_was_not_stored_counts_as_never_given() -> None:
    """The client is told to come again; then the same key is taken anew."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(7.0)
    stand.instant = False
    stand.say(1, Answer("q1", 0, "k"))
    stand.fail()
    assert stand.closed == {1: CloseCode.TRY_AGAIN_LATER}
    assert stand.room.game.scores == {"p1": 0}
    stand.lose(1)
    stand.instant = True
    stand.resume(2, token)
    stand.say(2, Answer("q1", 0, "k"))
    assert stand.last(2) == AnswerResult("q1", "k", "accepted")


def test_an_answer_given_offline_is_judged_by_its_arrival() -> None:
    """F23: too late is said, not passed over in silence."""
    stand = Stand()
    token = stand.join(1).token
    stand.run(7.0)
    stand.lose(1)
    stand.run(12.5)
    stand.resume(2, token)
    stand.say(2, Answer("q1", 0, "k"))
    assert stand.last(2) == AnswerResult("q1", "k", "rejected_late")


@pytest.mark.parametrize(
    "lost_at, verdict",
    [(7.0, "accepted"), (None, "rejected_late")],
)
def test_the_late_window_is_for_those_whose_outage_overlapped_the_close(lost_at: float | None, verdict: str) -> None:
    """S8: with a window of two seconds, an absentee's queued answer counts half a second late; nobody else's does."""
    stand = Stand(server=ServerConfig(late_window=2.0))
    token = stand.join(1).token
    stand.run(7.0)
    if lost_at is not None:
        stand.lose(1)
    stand.run(12.5)
    if lost_at is not None:
        stand.resume(2, token)
    connection = 1 if lost_at is None else 2
    stand.say(connection, Answer("q1", 0, "k"))
    assert [m for m in stand.sent[connection] if isinstance(m, AnswerResult)] == [AnswerResult("q1", "k", verdict)]


def test_scores_are_told_at_the_reveal() -> None:
    """To those who answered, after the reveal, with their whole score."""
    stand = Stand()
    stand.join(1)
    stand.join(2, "bob")
    right = stand.room.game.questions[0].correct
    stand.run(6.0)
    stand.say(1, Answer("q1", right, "k"))
    stand.run(12.0)
    assert isinstance(stand.sent[1][-2], QuestionRevealed)
    assert stand.last(1) == ScoreChanged("q1", 1000, 1000)
    assert isinstance(stand.last(2), QuestionRevealed)


def test_a_commit_that_outlasts_its_question_tells_the_score_itself() -> None:
    """And the leaderboard that the next one is shown has it."""
    stand = Stand()
    stand.join(1)
    token = stand.join(2, "bob").token
    right = stand.room.game.questions[0].correct
    stand.run(6.0)
    stand.instant = False
    stand.say(1, Answer("q1", right, "k"))
    late, stand.waiting = stand.waiting, []
    stand.instant = True
    stand.run(12.1)
    token = stand.resume(3, token).token  # caches the roster without these points
    stand.room.committed(late[0].ticket, stand.now)
    stand.collect()
    assert stand.last(1) == ScoreChanged("q1", 1000, 1000)
    stand.resume(4, token)
    leaders = roster_of(stand.restored(4).snapshot).leaders
    assert (leaders[0].participant, leaders[0].score) == ("p1", 1000)


def test_the_right_answer_does_not_leave_before_the_reveal() -> None:
    """F31: nothing that is sent while the question is open differs by which choice is right."""
    texts = []
    for correct in range(4):
        stand = Stand(quiz=QuizConfig(questions=1))
        (question,) = stand.room.game.questions
        choices = ("a", "b", "c", "d")
        hidden = type(question)(question.id, "?", choices, correct, question.time_s)
        stand.room.game.questions = (hidden,)
        token = stand.join(1).token
        stand.run(8.0)
        stand.say(1, Answer("q1", 0, "k"))
        token = stand.resume(2, token).token
        stand.join(3, "bob")
        stand.run(11.9)
        stand.resume(4, token)
        texts.append([codec.encode(message).decode() for sent in stand.sent.values() for message in sent])
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert not any("correct" in text for text in texts[0])
    assert any("question_opened" in text for text in texts[0])


# the window and the stream --------------------------------------------------------------------------------------------


def test_heartbeats_refresh_the_return_window() -> None:
    """A crowd that has grown is announced with the next ping."""
    stand = Stand(server=ServerConfig(join_capacity=10.0))
    stand.join(1)
    for connection in range(2, 31):
        stand.join(connection, f"c{connection}")
    stand.run(8.0)
    pings = [message for message in stand.sent[1] if isinstance(message, Ping)]
    assert [(ping.spread_ms, ping.step_ms, ping.cap_ms) for ping in pings] == [(3000, 900, 9000)]


def test_everybody_hears_the_same_stream() -> None:
    """Whoever joins when: from its snapshot on, number after number, the same messages."""
    stand = Stand()
    for i in range(12):
        stand.join(i + 1, f"c{i}")
        stand.run(i * 2.0)
    stand.run(28.0)
    assert stand.closed == {}
    streams = [{m.seq: m for m in stand.sent[c] if hasattr(m, "seq")} for c in range(1, 13)]
    for connection, stream in enumerate(streams, 1):
        assert in_order(seqs(stand, connection))
        assert all(stream[seq] == streams[0][seq] for seq in stream)


def test_a_crowd_that_flaps_costs_few_frames() -> None:
    """F32: a hundred flaps in two seconds are at most four presence frames a second, here none at all."""
    stand = Stand()
    tokens = {connection: stand.join(connection, f"c{connection}").token for connection in range(1, 101)}
    stand.join(1000, "watcher")
    stand.run(3.0)
    before = len(stand.sent[1000])
    for connection, token in tokens.items():
        stand.run(3.0 + connection * 0.02)
        stand.lose(connection)
        stand.resume(connection + 100, token)
    stand.run(5.9)
    assert len(stand.sent[1000]) == before


def test_a_participant_above_the_cap_is_counted_not_listed() -> None:
    """S5: beyond the cap the roster is a count and the leaders."""
    stand = Stand(server=ServerConfig(participants_cap=3, leaderboard_size=2))
    for connection in range(1, 6):
        stand.join(connection, f"c{connection}")
    stand.run(2.0)
    stand.join(9, "late")
    roster = stand.roster(9)
    assert (roster.count, roster.players, len(roster.leaders)) == (5, (), 2)


def test_an_identity_that_nobody_confirmed_is_not_kept_for_ever() -> None:
    """After the clean-up the same instance is somebody new, and nothing remembers the first one's instance."""
    stand = Stand()
    stand.join(1)
    stand.room.transport_lost(1, "closed", stand.now)
    stand.run(100)
    assert stand.room._unconfirmed == {}
