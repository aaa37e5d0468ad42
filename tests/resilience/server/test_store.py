"""Rows in and out: what a commit leaves, and what a refused one does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from resilience.errors import StoreError
from resilience.protocol.effects import Forget, JoinAttempt, SessionRow
from resilience.quiz.game import StoredAnswer
from resilience.quiz.questions import arithmetic_questions
from resilience.server.store import MEMORY, SqlStore

ADA = SessionRow("p1", "Ada", "connected", 1, 1, ("aa",))
ANSWER = StoredAnswer("p1", "q1", "k1", 2, 3.5, 700)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database in a file."""
    return f"sqlite:///{tmp_path / 'quiz.db'}"


def opened(url: str) -> SqlStore:
    """A store with one event."""
    store = SqlStore(url)
    store.open_event("quiz", "1", arithmetic_questions(1, 3, 10.0), 0.0)
    return store


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """What another connection sees."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


def test_a_commit_is_durable_and_adds_the_points(url: str) -> None:
    """Participant, answer and join attempt are there for another connection; the score is the answer's points."""
    store = opened(url)
    store.commit([("quiz", ADA), ("quiz", ANSWER), ("quiz", JoinAttempt("p1", "created"))], 5.0)
    store.close()
    found = rows(url, "select participant, join_status, total_score, last_heartbeat from event_participants")
    assert found == [("p1", "connected", 700, 5.0)]
    assert rows(url, "select question, choice, points from answers") == [("q1", 2, 700)]
    assert rows(url, "select outcome from join_attempts") == [("created",)]


def test_a_later_row_of_a_participant_keeps_its_score(url: str) -> None:
    """Coming back changes status, number and tokens, never the points."""
    store = opened(url)
    store.commit([("quiz", ADA), ("quiz", ANSWER)], 5.0)
    store.commit([("quiz", SessionRow("p1", "Ada", "connected", 2, 2, ("bb", "aa")))], 6.0)
    assert store.scores("quiz") == {"p1": 700}
    store.close()
    found = rows(url, "select connection_no, token_hash, previous_token_hash from event_participants")
    assert found == [(2, "bb", "aa")]


def test_a_second_answer_to_a_question_is_refused_by_the_database_itself(url: str) -> None:
    """Should the machine ever err, the unique constraint does not: nothing of that commit is written."""
    store = opened(url)
    store.commit([("quiz", ADA), ("quiz", ANSWER)], 5.0)
    again = StoredAnswer("p1", "q1", "k2", 1, 4.0, 900)
    with pytest.raises(StoreError, match="did not take a commit"):
        store.commit([("quiz", again), ("quiz", JoinAttempt("p1", "resumed"))], 6.0)
    assert store.scores("quiz") == {"p1": 700}
    store.commit([("quiz", StoredAnswer("p1", "q2", "k3", 1, 9.0, 100))], 7.0)
    assert store.scores("quiz") == {"p1": 800}
    store.close()
    assert rows(url, "select count(*) from join_attempts") == [(0,)]


def test_a_forgotten_participant_is_gone() -> None:
    """A join that reached nobody leaves no row."""
    store = opened(MEMORY)
    store.commit([("quiz", ADA)], 1.0)
    store.commit([("quiz", Forget("p1"))], 2.0)
    assert store.scores("quiz") == {}
    store.close()


def test_sqlite_runs_with_a_write_ahead_log_and_full_sync(url: str) -> None:
    """What makes an acknowledgement durable is switched on, not hoped for."""
    store = opened(url)
    pragma = store._connection.exec_driver_sql
    assert pragma("PRAGMA journal_mode").scalar() == "wal"
    assert pragma("PRAGMA synchronous").scalar() == 2
    store.close()


def test_a_database_that_cannot_be_opened_is_named() -> None:
    """The path is in the message, and it is no traceback."""
    with pytest.raises(StoreError, match="unable to open database file"):
        SqlStore("sqlite:////nowhere/at/all/quiz.db")
