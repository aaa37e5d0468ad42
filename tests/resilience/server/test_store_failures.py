"""What a store says, and does next, when the database cannot be had, is full, held by others or none. Real SQLite."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection

from resilience.errors import ConfigError, FencedError, RecoveryNeededError, StoreError
from resilience.protocol.effects import SessionRow
from resilience.server import database
from resilience.server.store import MEMORY, SqlStore
from tests.resilience.server.stored import ADA, ANSWER, LEASE, ORIGIN, found, with_quiz


def refusal(url: str) -> str:
    """The one line that a store which cannot be opened says."""
    with pytest.raises(StoreError) as refused:
        SqlStore(url)
    message = str(refused.value)
    assert "\n" not in message
    return message


# --- at the start -----------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    message = refusal(f"sqlite:///{missing}/quiz.db")
    assert message.endswith(f"unable to open database file (there is no folder {missing})")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    assert refusal(f"sqlite:///{tmp_path}").endswith("unable to open database file")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but a person's notes\n" * 100)
    before = path.read_bytes()
    assert refusal(f"sqlite:///{path}") == f"database sqlite+pysqlite:///{path}: file is not a database"
    assert path.read_bytes() == before


def test_a_database_whose_pages_are_garbage_fails_commits_with_an_error(tmp_path: Path) -> None:
    """A file that opens but is damaged further in."""
    path = tmp_path / "quiz.db"
    store = with_quiz(SqlStore(f"sqlite:///{path}"))
    store.commit([(LEASE, SessionRow(f"p{i}", "x" * 60, "connected", 1, 1, (str(i),))) for i in range(500)], ORIGIN)
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    damaged = SqlStore(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="malformed"):
        damaged.latest("quiz", ORIGIN)
    damaged.close()


def test_a_file_that_cannot_be_written_is_refused_at_the_start(file_url: str, tmp_path: Path) -> None:
    """Not at the first answer. Opened read-only by URI, as file modes do not bind root."""
    with_quiz(SqlStore(file_url)).close()
    message = refusal(f"sqlite:///file:{tmp_path / 'quiz.db'}?mode=ro&uri=true")
    assert message.endswith("attempt to write a readonly database")


@pytest.mark.parametrize(
    "url",
    ["bogus", "sqlite://quiz.db", "mysql://localhost/quiz", "postgresql+asyncpg://h/quiz", "", "sqlite:///quiz.db?x=1"],
)
def test_what_is_no_url_of_ours_names_the_rule(url: str) -> None:
    with pytest.raises(ConfigError, match=r"sqlite:///quiz.db or postgresql\+psycopg://") as refused:
        SqlStore(url)
    assert (refused.value.key, refused.value.value) == ("db", url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cr%40t@127.0.0.1:1/quiz",
        "postgresql+psycopg://ada@127.0.0.1:1/quiz?password=s3cr%40t",
        "postgresql://ada:s3cr%40t@127.0.0.1:1/quiz?sslpassword=s3cr%40t",
        "postgresql://ada:s3cr%40t@127.0.0.1:port/quiz",
        "mysql://ada:s3cr%40t@127.0.0.1/quiz",
        "ada:s3cr%40t@127.0.0.1",
        "postgresql://ada:s3cr%40t@127.0.0.1:1/quiz?nonsense=1",
        "postgresql://ada:p/s3cr%40t@127.0.0.1:1/quiz",
        "sqlite://ada:s3cr%40t@/quiz.db",
    ],
)
def test_no_password_gets_into_an_error(url: str) -> None:
    with pytest.raises((StoreError, ConfigError)) as refused:
        SqlStore(url)
    message = f"{refused.value} {getattr(refused.value, 'value', '')}"
    assert "s3cr" not in message
    assert "\n" not in message


def test_a_postgresql_that_is_not_there_is_one_line() -> None:
    message = refusal("postgresql://ada@127.0.0.1:1/quiz")
    assert message.startswith("database postgresql+psycopg://ada@127.0.0.1:1/quiz: ")
    assert "refused" in message


# --- in the middle ----------------------------------------------------------------------------------------------------


def test_what_makes_a_commit_durable_is_switched_on(file_url: str) -> None:
    store = SqlStore(file_url)
    asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    values = store._database.run(lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked], "")
    assert values == ["wal", 2, 1, 5000]
    store.close()


def test_a_full_disk_fails_a_commit_and_nothing_of_it_is_written(file_url: str) -> None:
    """SQLite's own limit of pages gives the very error; when there is room again the same commit succeeds."""
    store = with_quiz(SqlStore(file_url))
    many = [(LEASE, SessionRow(f"p{i}", "x" * 60, "connected", 1, 1, (str(i),))) for i in range(2000)]
    limit = store._database.run(lambda c: c.exec_driver_sql("PRAGMA max_page_count=40").scalar(), "")
    assert limit == 40
    with pytest.raises(StoreError, match="rejected a commit: database or disk is full"):
        store.commit(many, ORIGIN)
    assert store.scores(LEASE.key) == {}
    store.commit([(LEASE, ADA)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 0}
    store._database.run(lambda c: c.exec_driver_sql("PRAGMA max_page_count=4000").scalar(), "")
    store.commit(many, ORIGIN)
    assert len(store.scores(LEASE.key)) == 2000
    store.close()


def test_a_database_held_by_another_writer_is_waited_for_and_then_given_up(file_url: str, tmp_path: Path) -> None:
    """The wait is the driver's busy timeout, cut short here."""
    store = with_quiz(SqlStore(file_url))
    store._database.run(lambda c: c.exec_driver_sql("PRAGMA busy_timeout=20").scalar(), "")
    other = sqlite3.connect(tmp_path / "quiz.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="rejected a commit: database is locked"):
        store.commit([(LEASE, ADA)], ORIGIN)
    other.execute("COMMIT")
    other.close()
    store.commit([(LEASE, ADA)], ORIGIN)
    store.close()


def test_another_writer_that_is_soon_done_is_waited_for(file_url: str, tmp_path: Path) -> None:
    store = with_quiz(SqlStore(file_url))
    other = sqlite3.connect(tmp_path / "quiz.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()
    store.commit([(LEASE, ADA)], ORIGIN)
    release.join()
    other.close()
    assert store.scores(LEASE.key) == {"p1": 0}
    store.close()


def test_a_commit_that_fails_at_its_very_end_leaves_nothing(file_url: str) -> None:
    """All statements went through, the commit itself did not (a foreign key, checked late): the next starts afresh."""
    store = with_quiz(SqlStore(file_url))

    def orphan(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        connection.exec_driver_sql("INSERT INTO answers VALUES ('nowhere', 'p1', 'q1', 'k1', 0, 0, 0)")

    with pytest.raises(StoreError, match="FOREIGN KEY"):
        store._database.run(orphan, "orphan")
    store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}
    assert found(file_url, "select event from answers") == [(LEASE.key,)]
    store.close()


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["quiz.db", "quiz.db-wal"])
def test_a_file_that_is_moved_away_takes_no_commit_until_it_is_back(file_url: str, tmp_path: Path, name: str) -> None:
    """The open connection would write to it, and a crash would lose that; it is not made again either."""
    store = with_quiz(SqlStore(file_url))
    (tmp_path / name).rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(StoreError, match=f"rejected a commit: .*{name} was deleted while it was open") as failed:
            store.commit([(LEASE, ADA)], ORIGIN)
        assert not isinstance(failed.value, FencedError)
    with pytest.raises(StoreError, match="put it back, or restart the server"):
        store.latest("quiz", ORIGIN)
    assert not (tmp_path / name).exists()
    (tmp_path / "elsewhere").rename(tmp_path / name)
    store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}
    store.close()


def test_a_file_that_was_replaced_takes_no_commit(file_url: str, tmp_path: Path) -> None:
    """A copy has the rows, but the open connection does not write to it."""
    store = with_quiz(SqlStore(file_url))
    path = tmp_path / "quiz.db"
    copy = path.read_bytes()
    path.unlink()
    path.write_bytes(copy)
    with pytest.raises(StoreError, match=f"{path} was replaced while it was open"):
        store.commit([(LEASE, ADA)], ORIGIN)
    store.close()


def test_a_file_that_goes_during_a_commit_leaves_its_outcome_unknown(
    file_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are in a file that its path does not name: nothing is acknowledged, and the run is read again."""
    store = with_quiz(SqlStore(file_url))
    path, away = tmp_path / "quiz.db", tmp_path / "elsewhere"
    commit = store._database.dialect.do_commit

    def commit_and_move(connection: Any) -> None:  # noqa: ANN401 - the driver's own connection type
        commit(connection)
        path.rename(away)

    monkeypatch.setattr(store._database.dialect, "do_commit", commit_and_move)
    with pytest.raises(RecoveryNeededError, match=r"quiz.db was deleted"):
        store.commit([(LEASE, ADA)], ORIGIN)
    monkeypatch.undo()
    away.rename(path)
    with pytest.raises(RecoveryNeededError):
        store.commit([(LEASE, ADA)], ORIGIN)
    lease = store.acquire_lease(LEASE.key)
    store.commit([(lease, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}
    store.close()


def test_without_rows_a_commit_checks_that_the_database_takes_writes(file_url: str, tmp_path: Path) -> None:
    store = with_quiz(SqlStore(file_url))
    store.commit([], ORIGIN)
    (tmp_path / "quiz.db").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="was deleted"):
        store.commit([], ORIGIN)
    store.close()


# --- rows that no database takes --------------------------------------------------------------------------------------


def test_a_text_that_the_driver_cannot_encode_is_an_error_of_the_store(file_url: str) -> None:
    """Not one of the driver: every call of the store fails in one way, and the next one succeeds."""
    store = with_quiz(SqlStore(file_url))
    with pytest.raises(StoreError, match="rejected a commit: UnicodeEncodeError"):
        store.commit([(LEASE, msgspec.structs.replace(ADA, name="\ud800"))], ORIGIN)
    store.commit([(LEASE, ADA)], ORIGIN)
    store.close()


def test_in_memory_a_failure_loses_nothing_that_was_stored() -> None:
    """The one connection is the database: it must stay."""
    store = with_quiz(SqlStore(MEMORY))
    store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    for _ in range(3):
        with pytest.raises(StoreError):
            store.commit([(LEASE, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}
    store.close()


def test_two_databases_in_memory_are_two() -> None:
    first, second = with_quiz(SqlStore(MEMORY)), SqlStore(MEMORY)
    assert second.latest("quiz", ORIGIN) is None
    first.close()
    second.close()


def test_the_rule_shows_urls_that_are_accepted() -> None:
    """What the message recommends is not itself refused for its form."""
    for url in (word for word in database.RULE.split() if "://" in word):
        assert database._parsed(url).drivername in database.DRIVERS.values()
