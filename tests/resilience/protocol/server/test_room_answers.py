"""The room as people answer: verdicts, commits, secrets kept until the reveal."""

from __future__ import annotations

import pytest

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol import codec
from resilience.protocol.compression import roster_of
from resilience.protocol.messages import (
    Answer,
    AnswerResult,
    Ping,
    Pong,
    QuestionRevealed,
    ScoreChanged,
)
from tests.support.machines import RoomHarness, in_order, resume, seqs

# answers --------------------------------------------------------------------------------------------------------------


def test_an_answer_is_acknowledged_after_its_commit() -> None:
    """S8: not a moment before."""
    harness = RoomHarness()
    harness.join(1)
    harness.run(7.0)
    harness.instant = False
    harness.say(1, Answer("q1", 0, "k"))
    assert not isinstance(harness.last(1), AnswerResult)
    harness.commit()
    assert harness.last(1) == AnswerResult("q1", "k", "accepted")


def test_a_resend_gets_the_same_verdict_and_one_row() -> None:
    """F22: the acknowledgement was lost; asked again over a new connection, the answer counts once."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(7.0)
    harness.say(1, Answer("q1", 0, "k"))
    harness.lose(1)
    harness.resume(2, token)
    harness.say(2, Answer("q1", 0, "k"))
    assert harness.last(2) == AnswerResult("q1", "k", "accepted")
    assert len([r for r in harness.records if r.kind is LogEventKind.ANSWER_COMMITTED]) == 1


@pytest.mark.parametrize("first", ["answer", "resume"])
def test_the_same_answer_in_flight_on_two_connections(first: str) -> None:
    """F24: one row is written and both connections receive the same verdict, whichever commit is done first."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(7.0)
    harness.instant = False
    harness.say(1, Answer("q1", 0, "k"))
    harness.say(2, resume(token))
    answer, arrival = harness.waiting
    for done in (answer, arrival) if first == "answer" else (arrival, answer):
        if done is answer and first == "resume":
            harness.say(2, Answer("q1", 0, "k"))
        harness.room.committed(done.ticket, harness.now)
        harness.collect()
    harness.say(2, Answer("q1", 0, "k"))
    results = [{m for m in harness.sent[c] if isinstance(m, AnswerResult)} for c in (1, 2)]
    assert results == [{AnswerResult("q1", "k", "accepted")}] * 2
    assert len([r for r in harness.records if r.kind is LogEventKind.ANSWER_COMMITTED]) == 1


def test_another_answer_in_flight_is_a_duplicate() -> None:
    """The first one received wins, though neither is committed yet."""
    harness = RoomHarness()
    harness.join(1)
    harness.run(7.0)
    harness.instant = False
    harness.say(1, Answer("q1", 0, "k1"))
    harness.say(1, Answer("q1", 1, "k2"))
    harness.commit()
    assert harness.sent[1][-2:] == [AnswerResult("q1", "k1", "accepted"), AnswerResult("q1", "k2", "duplicate")]
    stored = harness.room.game.answer_of("p1", "q1")
    assert stored is not None
    assert stored.choice == 0


def test_an_answer_that_was_not_stored_counts_as_never_given() -> None:
    """The client receives a retry time; then the same key is accepted."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(7.0)
    harness.instant = False
    harness.say(1, Answer("q1", 0, "k"))
    harness.fail()
    assert harness.closed == {1: CloseCode.TRY_AGAIN_LATER}
    assert harness.room.game.scores == {"p1": 0}
    harness.lose(1)
    harness.instant = True
    harness.resume(2, token)
    harness.say(2, Answer("q1", 0, "k"))
    assert harness.last(2) == AnswerResult("q1", "k", "accepted")


def test_an_answer_given_offline_is_judged_by_its_arrival() -> None:
    """F23: too late is said, not passed over in silence."""
    harness = RoomHarness()
    token = harness.join(1).token
    harness.run(7.0)
    harness.lose(1)
    harness.run(12.5)
    harness.resume(2, token)
    harness.say(2, Answer("q1", 0, "k"))
    assert harness.last(2) == AnswerResult("q1", "k", "rejected_late")


@pytest.mark.parametrize(
    "lost_at, verdict",
    [(7.0, "accepted"), (None, "rejected_late")],
)
def test_the_late_window_is_for_those_whose_outage_overlapped_the_close(lost_at: float | None, verdict: str) -> None:
    """S8: with a window of two seconds, only an absentee's queued answer counts half a second after the close."""
    harness = RoomHarness(server=ServerConfig(late_window=2.0))
    token = harness.join(1).token
    harness.run(7.0)
    if lost_at is not None:
        harness.lose(1)
    harness.run(12.5)
    if lost_at is not None:
        harness.resume(2, token)
    connection = 1 if lost_at is None else 2
    harness.say(connection, Answer("q1", 0, "k"))
    assert [m for m in harness.sent[connection] if isinstance(m, AnswerResult)] == [AnswerResult("q1", "k", verdict)]


@pytest.mark.parametrize(
    "silent_from, verdict",
    [
        (12.2, "rejected_late"),  # healthy: it has just been shown the right answer
        (8.0, "rejected_late"),  # silent, but asked for no sign of life
        (3.0, "accepted"),  # the ping at 7.5 s is unanswered
    ],
)
def test_a_take_over_is_an_absence_only_if_a_ping_before_the_close_is_unanswered(
    silent_from: float, verdict: str
) -> None:
    """F41: a second socket of a connected participant opens no late window."""
    harness = RoomHarness(server=ServerConfig(late_window=2.0), first_ping=0.5)
    token = harness.join(1).token
    for now in (1.0, 3.0, 7.6, 8.0, 12.2):
        harness.run(now)
        if now <= silent_from:
            harness.say(1, Pong(1))
    harness.resume(2, token)
    harness.say(2, Answer("q1", 0, "k"))
    assert [m.verdict for m in harness.sent[2] if isinstance(m, AnswerResult)] == [verdict]


def test_a_second_return_keeps_the_proof_of_the_outage() -> None:
    """The reply to the first return is lost; the next connection takes over one that nothing is wrong with."""
    harness = RoomHarness(server=ServerConfig(late_window=2.0))
    token = harness.join(1).token
    harness.run(7.0)
    harness.lose(1)
    harness.run(12.3)
    harness.resume(2, token)
    harness.run(12.5)
    harness.resume(3, token)
    harness.say(3, Answer("q1", 0, "k"))
    assert [m.verdict for m in harness.sent[3] if isinstance(m, AnswerResult)] == ["accepted"]


def test_scores_are_sent_at_the_reveal() -> None:
    """To those who answered, after the reveal, with their whole score."""
    harness = RoomHarness()
    harness.join(1)
    harness.join(2, "bob")
    right = harness.room.game.questions[0].correct
    harness.run(6.0)
    harness.say(1, Answer("q1", right, "k"))
    harness.run(12.0)
    assert isinstance(harness.sent[1][-2], QuestionRevealed)
    assert harness.last(1) == ScoreChanged("q1", 1000, 1000)
    assert isinstance(harness.last(2), QuestionRevealed)


def test_a_commit_that_outlasts_its_question_tells_the_score_itself() -> None:
    """And the leaderboard that the next one is shown has it."""
    harness = RoomHarness()
    harness.join(1)
    token = harness.join(2, "bob").token
    right = harness.room.game.questions[0].correct
    harness.run(6.0)
    harness.instant = False
    harness.say(1, Answer("q1", right, "k"))
    late, harness.waiting = harness.waiting, []
    harness.instant = True
    harness.run(12.1)
    token = harness.resume(3, token).token  # caches the roster without these points
    harness.room.committed(late[0].ticket, harness.now)
    harness.collect()
    assert harness.last(1) == ScoreChanged("q1", 1000, 1000)
    harness.resume(4, token)
    leaders = roster_of(harness.restored(4).snapshot).leaders
    assert (leaders[0].participant, leaders[0].score) == ("p1", 1000)


def test_the_right_answer_does_not_leave_before_the_reveal() -> None:
    """F31: nothing that is sent while the question is open differs by which choice is right."""
    texts = []
    for correct in range(4):
        harness = RoomHarness(quiz=QuizConfig(questions=1))
        (question,) = harness.room.game.questions
        choices = ("a", "b", "c", "d")
        hidden = type(question)(question.id, "?", choices, correct, question.time_s)
        harness.room.game.questions = (hidden,)
        token = harness.join(1).token
        harness.run(8.0)
        harness.say(1, Answer("q1", 0, "k"))
        token = harness.resume(2, token).token
        harness.join(3, "bob")
        harness.run(11.9)
        harness.resume(4, token)
        texts.append([codec.encode(message).decode() for sent in harness.sent.values() for message in sent])
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert not any("correct" in text for text in texts[0])
    assert any("question_opened" in text for text in texts[0])


# the window and the stream --------------------------------------------------------------------------------------------


def test_heartbeats_refresh_the_return_window() -> None:
    """A crowd that has grown is announced with the next ping."""
    harness = RoomHarness(server=ServerConfig(join_capacity=10.0))
    harness.join(1)
    for connection in range(2, 31):
        harness.join(connection, f"c{connection}")
    harness.run(8.0)
    pings = [message for message in harness.sent[1] if isinstance(message, Ping)]
    assert [(ping.spread_ms, ping.step_ms, ping.cap_ms) for ping in pings] == [(3000, 450, 4500)]


def test_all_participants_receive_the_same_stream() -> None:
    """From its snapshot on, each participant receives the same messages without a gap, whenever it joined."""
    harness = RoomHarness()
    for i in range(12):
        harness.join(i + 1, f"c{i}")
        harness.run(i * 2.0)
    harness.run(28.0)
    assert harness.closed == {}
    streams = [{m.seq: m for m in harness.sent[c] if hasattr(m, "seq")} for c in range(1, 13)]
    for connection, stream in enumerate(streams, 1):
        assert in_order(seqs(harness, connection))
        assert all(stream[seq] == streams[0][seq] for seq in stream)


def test_a_herd_that_flaps_costs_few_frames() -> None:
    """F32: a hundred flaps in two seconds are at most four presence frames a second, here none at all."""
    harness = RoomHarness()
    tokens = {connection: harness.join(connection, f"c{connection}").token for connection in range(1, 101)}
    harness.join(1000, "watcher")
    harness.run(3.0)
    before = len(harness.sent[1000])
    for connection, token in tokens.items():
        harness.run(3.0 + connection * 0.02)
        harness.lose(connection)
        harness.resume(connection + 100, token)
    harness.run(5.9)
    assert len(harness.sent[1000]) == before


def test_a_participant_above_the_cap_is_counted_not_listed() -> None:
    """S5: beyond the cap the roster is a count and the leaders."""
    harness = RoomHarness(server=ServerConfig(participants_cap=3, leaderboard_size=2))
    for connection in range(1, 6):
        harness.join(connection, f"c{connection}")
    harness.run(2.0)
    harness.join(9, "late")
    roster = harness.roster(9)
    assert (roster.count, roster.players, len(roster.leaders)) == (5, (), 2)


def test_an_unconfirmed_identity_is_not_kept_after_the_clean_up() -> None:
    """The same instance joins as a new participant, and the room holds no instance of the first one."""
    harness = RoomHarness()
    harness.join(1)
    harness.room.transport_lost(1, "closed", harness.now)
    harness.run(100)
    assert harness.room._attendance._identities._unconfirmed == {}
