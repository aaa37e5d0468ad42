"""How many joins a second the store commits in a file, compared with bare SQLite and the same rows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import pytest
from rich.console import Console

from resilience.protocol.effects import JoinAttempt, Row, SessionRow
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import arithmetic_questions
from resilience.server.schema import PARTICIPANTS
from resilience.server.store import RunLease, SqlStore

JOINS = 30_000
LEASE = RunLease("quiz#1", 1)
ORIGIN = 1_700_000_000.0
FLOOR = 0.4
"""Of SQLite's own speed; measured 0.74 at 50 joins a commit to 0.83 at 300."""


def joins(first: int, count: int) -> list[tuple[RunLease, Row]]:
    """A row and an attempt each."""
    made: list[tuple[RunLease, Row]] = []
    for i in range(first, first + count):
        row = SessionRow(f"p{i}", f"Name {i}", "connected", 1, 1, (f"{i:064x}",), f"tab-{i:020d}", last_heard=float(i))
        made += [(LEASE, row), (LEASE, JoinAttempt(row.participant, "created", float(i)))]
    return made


def opened(path: Path) -> SqlStore:
    """A store with an event."""
    store = SqlStore(f"sqlite:///{path}")
    store.create_event(LEASE, "quiz", QuizPlan(arithmetic_questions(1, 3, 10.0)), ORIGIN)
    return store


def stored(path: Path) -> tuple[int, int]:
    """Participants and attempts in the database."""
    with closing(sqlite3.connect(path)) as connection:
        people, attempts = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("event_participants", "join_attempts")
        )
    return people, attempts


def through_the_store(path: Path, size: int) -> float:
    """Joins a second."""
    store = opened(path)
    batches = [joins(first, size) for first in range(0, JOINS, size)]
    began = time.perf_counter()
    for batch in batches:
        store.commit(batch, ORIGIN)
    took = time.perf_counter() - began
    store.close()
    assert stored(path) == (JOINS, JOINS)
    return JOINS / took


def by_sqlite_alone(path: Path, size: int) -> float:
    """Joins a second: two statements and a commit for each batch, nothing checked or converted."""
    opened(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    rest = ("connected", 1, 1)
    people = [
        (LEASE.key, f"p{i}", f"Name {i}", f"tab-{i:020d}", False, *rest, f"{i:064x}", None, 0, ORIGIN)
        for i in range(JOINS)
    ]
    attempts = [(LEASE.key, f"p{i}", "created", ORIGIN) for i in range(JOINS)]
    places = ", ".join("?" * len(PARTICIPANTS.columns))
    began = time.perf_counter()
    for first in range(0, JOINS, size):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO event_participants VALUES ({places})", people[first : first + size])  # noqa: S608
        insert = "INSERT INTO join_attempts (event, participant, outcome, at) VALUES (?, ?, ?, ?)"
        connection.executemany(insert, attempts[first : first + size])
        connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    assert stored(path) == (JOINS, JOINS)
    return JOINS / took


@pytest.mark.bench
@pytest.mark.parametrize("size", [50, 150, 300])
def test_joins_a_second(tmp_path: Path, size: int) -> None:
    """The median of five, taken in turn; prints both and their ratio."""
    ways: dict[Callable[[Path, int], float], list[float]] = {through_the_store: [], by_sqlite_alone: []}
    for turn in range(5):
        for way, speeds in ways.items():
            speeds.append(way(tmp_path / f"{way.__name__}-{turn}.db", size))
    ours, bare = (median(speeds) for speeds in ways.values())
    Console().print(f"{size:4} joins a commit: {ours:9,.0f} a second, {ours / bare:.2f} of SQLite alone")
    assert ours / bare > FLOOR
