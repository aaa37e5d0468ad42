"""A small quiz to store, and what a database holds as another connection sees it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine, text

from resilience.protocol.effects import SessionRow
from resilience.quiz.game import StoredAnswer
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import arithmetic_questions
from resilience.server.store import RunLease, SqlStore

ORIGIN = 1_700_000_000.0
"""The wall time of these servers' zero: whole and far from 0, so that a forgotten conversion shows."""

PLAN = QuizPlan(arithmetic_questions(1, 12, 10.0), "Sums", Pace(lobby=3.0, leaderboard=2.5))
LEASE = RunLease("quiz#1", 1)
ADA = SessionRow("p1", "Ada", "connected", 1, 1, ("aa",), "tab-1", confirmed=False, last_heard=4.5)
ANSWER = StoredAnswer("p1", "q1", "k1", 2, 3.5, 700)


def with_quiz(store: SqlStore) -> SqlStore:
    """The store once the quiz is in it."""
    store.create_event(LEASE, "quiz", PLAN, ORIGIN, 1.0)
    return store


def found(url: str, query: str) -> list[tuple[Any, ...]]:
    """What another connection sees."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return rows
