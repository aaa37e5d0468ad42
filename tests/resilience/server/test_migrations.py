"""The schema comes from the migrations alone, equals the tables in the code, and an old database keeps its rows."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, cast

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Constraint, Engine, Index, create_engine, inspect, text

from resilience.errors import StoreError
from resilience.protocol.effects import SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.questions import arithmetic_questions
from resilience.server import migrations
from resilience.server.schema import METADATA
from resilience.server.store import MEMORY, RunLease, SqlStore
from tests.resilience.server import first_schema as old
from tests.resilience.server.stored import ADA, LEASE, ORIGIN, found, with_quiz

CREATED = ORIGIN + 100.0
QUESTIONS = arithmetic_questions(3, 2, 10.0)


@pytest.fixture
def engine(shared_url: str) -> Iterator[Engine]:
    """A connection in addition to the store's."""
    made = create_engine(shared_url)
    yield made
    made.dispose()


def fill_first(engine: Engine) -> None:
    """A database as the first version left it: two runs of one event, one of another, a score, tokens, attempts."""
    old.METADATA.create_all(engine)
    runs = [("quiz#aa", "aa", CREATED), ("quiz#bb", "bb", CREATED + 500), ("plain", "cc", CREATED)]
    people = [("p1", "Ada", "h1", "h0", 700), ("p2", "Bob", "h2", None, 0)]
    names = ("participant", "name", "token_hash", "previous_token_hash", "total_score")
    rest = {"join_status": "connected", "connection_no": 2, "generation": 2, "last_heartbeat": CREATED + 9}
    answer = {"participant": "p1", "question": "q1", "key": "k1", "choice": 2, "received_at": 3.5, "points": 700}
    with engine.begin() as connection:
        for key, epoch, created in runs:
            connection.execute(old.EVENTS.insert(), {"id": key, "epoch": epoch, "created_at": created})
            bodies = [(q.id, i, msgspec.json.encode(q).decode()) for i, q in enumerate(QUESTIONS)]
            rows = [{"event": key, "id": name, "position": i, "body": body} for name, i, body in bodies]
            connection.execute(old.QUESTIONS.insert(), rows)
        rows = [{"event": "quiz#aa", **dict(zip(names, person, strict=True)), **rest} for person in people]
        connection.execute(old.PARTICIPANTS.insert(), rows)
        connection.execute(old.ANSWERS.insert(), {"event": "quiz#aa", **answer})
        attempt = {"event": "quiz#aa", "participant": "p1", "outcome": "created", "at": CREATED + 1}
        connection.execute(old.JOIN_ATTEMPTS.insert(), attempt)


def differences(engine: Engine) -> list[Any]:
    """What an automatic migration would still change."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, METADATA))


def names_of(engine: Engine) -> set[str | None]:
    """Every key, unique constraint and index, by table."""
    inspector = inspect(engine)
    found_names: set[str | None] = set()
    for table in METADATA.tables:
        found_names.add(inspector.get_pk_constraint(table)["name"])
        found_names |= {key["name"] for key in inspector.get_foreign_keys(table)}
        found_names |= {unique["name"] for unique in inspector.get_unique_constraints(table)}
        found_names |= {index["name"] for index in inspector.get_indexes(table)}
    return found_names


# --- what is made -----------------------------------------------------------------------------------------------------


def test_the_migrated_schema_is_the_one_in_the_code(shared_url: str, engine: Engine) -> None:
    SqlStore(shared_url).close()
    assert differences(engine) == []
    assert set(inspect(engine).get_table_names()) == {*METADATA.tables, "alembic_version"}


def test_a_difference_would_be_found(shared_url: str, engine: Engine) -> None:
    SqlStore(shared_url).close()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE events ADD COLUMN colour VARCHAR"))
    assert len(differences(engine)) == 1


def test_a_new_and_an_upgraded_database_are_alike(shared_url: str, engine: Engine) -> None:
    """The names of constraints too, which a comparison of schemas leaves out and a later migration needs."""
    fill_first(engine)
    SqlStore(shared_url).close()
    assert differences(engine) == []
    expected = {
        part.name
        for table in METADATA.tables.values()
        for parts in (table.constraints, table.indexes)
        for part in cast("Iterable[Constraint | Index]", parts)
    }
    assert names_of(engine) - {None} == expected - ({"pk_join_attempts"} if engine.dialect.name == "sqlite" else set())


def test_the_newest_script_is_the_one_the_code_asks_for() -> None:
    """One line of descent, ending at HEAD."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [migrations.HEAD]
    assert scripts.get_bases() == ["0001"]


def test_opening_again_changes_nothing(shared_url: str) -> None:
    store = with_quiz(SqlStore(shared_url))
    store.commit([(LEASE, ADA)], ORIGIN)
    before = store.latest("quiz", ORIGIN)
    store.close()
    again = SqlStore(shared_url)
    assert again.latest("quiz", ORIGIN) == before
    assert found(shared_url, "select version_num from alembic_version") == [(migrations.HEAD,)]
    again.close()


REOPEN = """
import sys
from resilience.server.store import SqlStore
SqlStore(sys.argv[1]).close()
print(sorted({"alembic", "psycopg", "sqlalchemy.dialects.postgresql"} & sys.modules.keys()))
"""


def test_a_server_that_starts_on_its_own_database_loads_no_migrations(tmp_path: Path) -> None:
    """They, and what another database needs, took a fifth of the processor time until it listens."""
    url = f"sqlite:///{tmp_path / 'quiz.db'}"
    SqlStore(url).close()
    loaded = subprocess.run([sys.executable, "-c", REOPEN, url], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


def test_stores_that_start_at_once_make_one_set_of_tables(shared_url: str, engine: Engine) -> None:
    """Each finds an empty database, and all end up on the same one."""
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(SqlStore, [shared_url] * 4))
    with_quiz(stores[0])
    assert [[run.event for run in store.unfinished()] for store in stores] == [["quiz"]] * 4
    assert differences(engine) == []
    for store in stores:
        store.close()


@pytest.mark.parametrize("attempt", range(10))
def test_files_that_are_opened_at_once_are_waited_for(file_url: str, attempt: int) -> None:
    """SQLite does not wait when two switch a new file to the write-ahead log: seen once in fifteen starts of four."""
    gate = Barrier(4)

    def start(url: str) -> None:
        gate.wait()
        SqlStore(url).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, [file_url] * 4))


def test_nothing_is_said(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    SqlStore(MEMORY).close()
    out, err = capfd.readouterr()
    assert (out, err, caplog.records) == ("", "", [])


# --- an old database --------------------------------------------------------------------------------------------------


def test_a_database_of_the_first_version_keeps_its_rows(shared_url: str, engine: Engine) -> None:
    """People, tokens, scores, answers (now in wall time), questions and attempts; its runs count as finished."""
    fill_first(engine)
    store = SqlStore(shared_url)
    assert [run.event for run in store.unfinished()] == []
    assert store.scores("quiz#aa") == {"p1": 700, "p2": 0}
    newest = store.latest("quiz", CREATED)
    assert newest is not None
    assert newest.lease == RunLease("quiz#bb", 1)
    assert newest.plan.questions == QUESTIONS
    assert newest.progress == QuizState(Phase.FINISHED, 1, 0, 500.0, 500.0, 500.0)
    people = "select participant, name, join_status, connection_no, token_hash, previous_token_hash, confirmed"
    assert found(shared_url, f"{people} from event_participants order by participant") == [
        ("p1", "Ada", "connected", 2, "h1", "h0", True),
        ("p2", "Bob", "connected", 2, "h2", None, True),
    ]
    answers = found(shared_url, "select event, participant, question, key, choice, received_at, points from answers")
    assert answers == [("quiz#aa", "p1", "q1", "k1", 2, CREATED + 3.5, 700)]
    attempts = found(shared_url, "select event, participant, outcome, at from join_attempts")
    assert attempts == [("quiz#aa", "p1", "created", CREATED + 1)]
    store.close()


def test_an_old_run_is_read_whole(shared_url: str, engine: Engine) -> None:
    """An event whose id had no run in it is one, too."""
    fill_first(engine)
    with engine.begin() as connection:
        for statement in ("DELETE FROM questions WHERE event = 'quiz#bb'", "DELETE FROM events WHERE id = 'quiz#bb'"):
            connection.execute(text(statement))
    store = SqlStore(shared_url)
    stored, plain = store.latest("quiz", CREATED), store.latest("plain", CREATED)
    assert stored is not None
    assert stored.answers == (StoredAnswer("p1", "q1", "k1", 2, 3.5, 700),)
    ada = SessionRow("p1", "Ada", "connected", 2, 2, ("h1", "h0"), "", confirmed=True, last_heard=9.0)
    assert stored.sessions[0] == ada
    assert plain is not None
    assert plain.lease == RunLease("plain", 1)
    store.close()


def test_a_new_run_follows_the_old_ones(shared_url: str, engine: Engine) -> None:
    fill_first(engine)
    store = with_quiz(SqlStore(shared_url))
    store.commit([(LEASE, ADA)], ORIGIN)
    stored = store.latest("quiz", ORIGIN)
    assert stored is not None
    assert stored.lease == LEASE
    assert [run.event for run in store.unfinished()] == ["quiz"]
    store.close()


def test_a_first_start_that_was_cut_short_is_completed(shared_url: str, engine: Engine) -> None:
    """Some of the first version's tables are there, and no row."""
    old.METADATA.create_all(engine, tables=[old.EVENTS, old.QUESTIONS])
    with_quiz(SqlStore(shared_url)).close()
    assert differences(engine) == []


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(shared_url: str, engine: Engine) -> None:
    """All or nothing: here two old rows share a token, which the new schema does not allow."""
    fill_first(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE event_participants SET token_hash = 'same'"))
    with pytest.raises(StoreError):
        SqlStore(shared_url)
    assert set(inspect(engine).get_table_names()) == set(old.METADATA.tables)
    with engine.begin() as connection:
        connection.execute(text("UPDATE event_participants SET token_hash = participant"))
    store = SqlStore(shared_url)
    assert store.scores("quiz#aa") == {"p1": 700, "p2": 0}
    store.close()


# --- databases that are not ours to change ----------------------------------------------------------------------------


def test_a_database_of_a_newer_version_is_refused_in_one_line(shared_url: str, engine: Engine) -> None:
    with_quiz(SqlStore(shared_url)).close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    with pytest.raises(StoreError, match="schema 0099, and this version knows none newer than 0003") as refused:
        SqlStore(shared_url)
    assert "\n" not in str(refused.value)
    assert found(shared_url, "select version_num from alembic_version") == [("0099",)]


def test_a_database_with_two_revisions_is_refused_in_one_line(shared_url: str, engine: Engine) -> None:
    with_quiz(SqlStore(shared_url)).close()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO alembic_version VALUES ('0001')"))
    with pytest.raises(StoreError, match="schema 0001, 0003, and this version knows none newer than 0003"):
        SqlStore(shared_url)


def test_a_foreign_table_of_the_same_name_is_refused_and_left_alone(shared_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (id VARCHAR PRIMARY KEY, colour VARCHAR)"))
    with pytest.raises(StoreError, match="a table 'events' that is not of this program"):
        SqlStore(shared_url)
    assert inspect(engine).get_table_names() == ["events"]


def test_foreign_tables_of_other_names_do_not_matter(shared_url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE colours (id VARCHAR PRIMARY KEY)"))
    with_quiz(SqlStore(shared_url)).close()
    assert {"colours", "events"} <= set(inspect(engine).get_table_names())
