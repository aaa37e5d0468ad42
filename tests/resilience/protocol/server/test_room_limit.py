"""Identities stay bounded: who is forgotten, who never is, what a full event says, what counting costs."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from resilience.config import QuizConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import DeleteParticipant, SessionRow
from resilience.protocol.messages import Answer, Join, Joined, Leave, Probe, ResumeRejected, StateRestored, TokenStored
from resilience.protocol.server.tokens import token_hash
from tests.support.machines import RoomHarness, resume

OPEN = QuizConfig(questions=2, lobby=1, question_time=600)
"""A question that is open from 1 s on."""


def limited(most: int) -> RoomHarness:
    """A room of at most so many participants."""
    return RoomHarness(server=ServerConfig(max_participants=most), quiz=OPEN)


def deleted(harness: RoomHarness) -> list[str]:
    """The participants whose rows were ordered to be deleted."""
    rows = (row for persist in harness.persisted for row in persist.rows)
    return [row.participant for row in rows if isinstance(row, DeleteParticipant)]


# leaving --------------------------------------------------------------------------------------------------------------


def test_who_leaves_without_an_answer_is_forgotten() -> None:
    """Memory and row: the token opens nothing any more, and the name is on no list."""
    harness = RoomHarness(quiz=OPEN)
    token = harness.join(1).token
    harness.join(2, "bob")
    harness.say(1, Leave())
    assert (list(harness.room.sessions), list(harness.room.game.scores), deleted(harness)) == (["p2"], ["p2"], ["p1"])
    harness.lose(1)
    harness.say(3, resume(token))
    assert harness.last(3) == ResumeRejected("unknown")
    harness.run(40.0)
    assert harness.room.states() == {"connected": 0, "temporarily_disconnected": 1, "disconnected": 0}


@pytest.mark.parametrize("stored", [True, False])
def test_who_leaves_with_an_answer_is_kept(stored: bool) -> None:
    """Stored or still being stored: it returns with its answer and its score."""
    harness = RoomHarness(quiz=OPEN)
    token = harness.join(1).token
    harness.run(2.0)
    right = harness.room.game.questions[0].correct
    harness.instant = stored
    harness.say(1, Answer("q1", right, "k"))
    harness.say(1, Leave())
    harness.instant = True
    harness.commit()
    assert deleted(harness) == []
    harness.resume(2, token)
    restored = harness.restored(2)
    assert (restored.rejoined, restored.snapshot.answer, harness.room.game.scores["p1"] > 0) == (True, right, True)


def test_who_is_cleaned_up_without_an_answer_is_kept() -> None:
    """A phone that slept for five minutes in the lobby is the same participant."""
    harness = RoomHarness(quiz=OPEN)
    token = harness.join(1).token
    harness.lose(1)
    harness.run(300.0)
    assert harness.resume(2, token).participant == "p1"


# the limit ------------------------------------------------------------------------------------------------------------


def test_a_full_event_refuses_joins_and_no_return() -> None:
    """By a close that is never retried; a lost reply and a resume make no identity, so they pass."""
    harness = limited(2)
    tokens = [harness.join(number, f"n{number}").token for number in (1, 2)]
    harness.say(3, Join(event="e", name="cid", instance="cid"))
    assert harness.closed == {3: CloseCode.EVENT_FULL}
    refused = [r.cause for r in harness.records if r.kind is LogEventKind.CONNECTION_REFUSED]
    assert refused == ["event_full"]
    harness.say(4, Join(event="e", name="n1", instance="n1"))
    assert harness.closed[1] == CloseCode.SUPERSEDED
    harness.lose(2)
    harness.run(100.0)
    harness.resume(5, tokens[1])
    assert isinstance(harness.sent[5][0], StateRestored)
    assert len(harness.room.sessions) == 2


def test_a_leave_makes_a_place() -> None:
    harness = limited(1)
    for number in range(1, 50):
        assert harness.join(number, f"n{number}").participant == f"p{number}"
        harness.say(number, Leave())
        harness.lose(number)
        harness.run(harness.now + 0.6)
    harness.run(harness.now + 100.0)
    room = harness.room
    attendance, presence = room._attendance, room._attendance._presence
    assert not any((room.sessions, room.game.scores, attendance._by_connection, attendance._gone))
    assert not any((attendance._population, attendance._states._counted, attendance._heartbeats._heartbeats))
    assert not any((presence._shown, presence._announced, presence._waiting))
    assert not any((attendance._tokens._states, attendance._tokens._owners))


def test_at_the_limit_the_longest_gone_without_an_answer_makes_a_place() -> None:
    """Never one that is here, expected back, or has answered."""
    harness = limited(4)
    for number, name in enumerate(("ann", "bob", "cid", "dan"), 1):
        harness.join(number, name)
        harness.say(number, TokenStored(1))
    harness.run(2.0)
    harness.say(1, Answer("q1", 0, "k"))
    for number in (1, 2, 3):
        harness.lose(number)
        harness.run(harness.now + 1.0)
    harness.say(5, Join(event="e", name="eve", instance="eve"))
    assert harness.closed.get(5) == CloseCode.EVENT_FULL, "all of them are expected back"
    for now in (25.0, 50.0, 75.0):
        harness.run(now)
        harness.say(4, Probe(1))
    harness.join(6, "fay")
    assert deleted(harness) == ["p2"]
    harness.join(7, "gil")
    assert deleted(harness) == ["p2", "p3"]
    harness.run(200.0)  # dan, fay and gil are silent, and gone
    harness.join(8, "hal")
    assert "p1" in harness.room.sessions
    assert len(deleted(harness)) == 3


def test_a_restart_keeps_who_is_gone_in_mind() -> None:
    """Rows of an earlier server: the disconnected one makes a place, the other is expected back."""
    harness = limited(2)
    rows = [
        SessionRow(who, who, status, 1, 1, (token_hash(who),), who, confirmed=True)
        for who, status in (("p8", "connected"), ("p9", "disconnected"))
    ]
    harness.room.restore(rows, 0.0)
    harness.collect()
    harness.join(1, "ann")
    assert deleted(harness) == ["p9"]
    harness.say(2, Join(event="e", name="bob", instance="bob"))
    assert harness.closed == {2: CloseCode.EVENT_FULL}


# counting -------------------------------------------------------------------------------------------------------------


def act(harness: RoomHarness, tokens: dict[int, str], connection: int, draw: random.Random) -> None:
    """One random step of a crowd; ``tokens`` holds the newest token by connection."""
    what = draw.choice(["join", "leave", "lose", "return", "answer", "wait"]) if tokens else "join"
    someone = draw.choice(list(tokens)) if tokens else 0
    match what:
        case "join":
            harness.say(connection, Join(event="e", name="n", instance=str(connection)))
        case "leave":
            harness.say(someone, Leave())
        case "lose":
            harness.lose(someone)
        case "return":
            harness.say(connection, resume(tokens.pop(someone)))
        case "answer":
            harness.say(someone, Answer("q1", draw.randrange(4), "k"))
        case _:
            harness.run(harness.now + draw.choice([0.5, 5.0, 40.0]))
    welcome = next(iter(harness.sent[connection]), None)
    if isinstance(welcome, Joined | StateRestored):
        tokens[connection] = welcome.credentials.token


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_leaders_equal_a_recount(seed: int) -> None:
    """They are kept up to date instead of being computed from every participant at each look."""
    draw, harness = random.Random(seed), limited(8)
    tokens: dict[int, str] = {}
    for connection in range(1, 150):
        act(harness, tokens, connection, draw)
        sessions, game = harness.room.sessions, harness.room.game
        counted = {state: count for state, count in harness.room.states().items() if count}
        assert counted == Counter(session.state for session in sessions.values())
        shown = [(standing.participant, standing.score) for standing in harness.room._stream.leaders()]
        assert shown == game.leaders(10)
        assert set(game.scores) == set(sessions)
        assert len(sessions) <= 8
