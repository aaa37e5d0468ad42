"""What only a database behind a connection can do: go away, in the middle of a commit too. Real PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from resilience.errors import FencedError, RecoveryNeededError, StoreError
from resilience.server import database, migrations
from resilience.server.store import RunLease, SqlStore
from tests.resilience.server.stored import ADA, ANSWER, LEASE, ORIGIN, with_quiz
from tests.support.deadlines import HANG_S
from tests.support.postgres import SUPERUSER, Cluster


@pytest.fixture
def store(postgres_url: str) -> Iterator[SqlStore]:
    """A store with the quiz."""
    with closing(with_quiz(SqlStore(postgres_url))) as opened:
        yield opened


def breaking(monkeypatch: pytest.MonkeyPatch, store: SqlStore, cluster: Cluster, *, before: bool) -> None:
    """Cut the connection in the next commit, before the database hears of it or after it has carried it out."""
    dialect = store._database.dialect

    def commit(connection: Any) -> None:  # noqa: ANN401 - the driver's own connection type
        monkeypatch.undo()
        if not before:
            connection.commit()
        assert cluster.cut() == 1
        connection.execute("SELECT 1")

    monkeypatch.setattr(dialect, "do_commit", commit)


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- lost connections -------------------------------------------------------------------------------------------------


def test_a_connection_lost_between_commits_costs_one_commit(store: SqlStore, postgres: Cluster) -> None:
    """That commit says so and wrote nothing; the next one connects again."""
    store.commit([(LEASE, ADA)], ORIGIN)
    assert postgres.cut() == 1
    with pytest.raises(StoreError, match="rejected a commit: ") as lost:
        store.commit([(LEASE, ANSWER)], ORIGIN)
    assert not isinstance(lost.value, FencedError)
    store.commit([(LEASE, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}


def test_a_commit_whose_answer_was_lost_is_known_to_be_durable(
    store: SqlStore, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database had carried it out: it is asked, and the commit returns as if nothing had been."""
    breaking(monkeypatch, store, postgres, before=False)
    store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}


def test_a_commit_that_never_reached_the_database_is_known_not_to_be(
    store: SqlStore, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary error: the same rows can be committed again."""
    breaking(monkeypatch, store, postgres, before=True)
    with pytest.raises(StoreError, match="rejected a commit") as lost:
        store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    assert not isinstance(lost.value, FencedError)
    assert store.scores(LEASE.key) == {}
    store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}


def test_a_commit_of_unknown_outcome_ends_its_claim(
    store: SqlStore, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database stays away: a further write could repeat rows. The server that recovers the run reads the rows."""
    breaking(monkeypatch, store, postgres, before=False)
    with pytest.MonkeyPatch.context() as away:
        away.setattr(database, "OUTCOME_RETRY_DELAYS_S", ())
        with pytest.raises(RecoveryNeededError, match="the outcome of its last commit is unknown"):
            store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    with pytest.raises(RecoveryNeededError, match="recover the run again") as refused:
        store.commit([(LEASE, ADA)], ORIGIN)
    assert refused.value.keys == (LEASE.key,)
    lease = store.acquire_lease(LEASE.key)
    stored = store.latest("quiz", ORIGIN)
    assert stored is not None
    assert stored.answers == (ANSWER,)
    store.commit([(lease, ADA)], ORIGIN)


def test_each_other_call_survives_a_lost_connection_too(store: SqlStore, postgres: Cluster) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.latest("quiz", ORIGIN),
        store.unfinished,
        lambda: store.scores(LEASE.key),
        lambda: store.acquire_lease(LEASE.key),
    ]
    for call in calls:
        assert postgres.cut() == 1
        with pytest.raises(StoreError):
            call()
        call()


def backend(store: SqlStore) -> int:
    """The database's process behind the store's connection."""
    found = store._database.run(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar(), "")
    assert isinstance(found, int)
    return found


def test_a_failover_that_leaves_the_connection_open_costs_one_commit(store: SqlStore, postgres: Cluster) -> None:
    """The old node is read-only by now, a new connection leads to the promoted one."""
    store.commit([(LEASE, ADA)], ORIGIN)
    demoted = backend(store)
    store._database.run(lambda c: c.exec_driver_sql("SET default_transaction_read_only = on"), "")
    with pytest.raises(StoreError, match="in a read-only transaction"):
        store.commit([(LEASE, ANSWER)], ORIGIN)
    store.commit([(LEASE, ANSWER)], ORIGIN)
    assert store.scores(LEASE.key) == {"p1": 700}
    assert backend(store) != demoted


def test_no_connection_outlives_a_failure(store: SqlStore) -> None:
    """Whatever failed: a pooler may have lost its server behind it."""
    store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)
    failed = backend(store)
    with pytest.raises(StoreError, match="duplicate key"):
        store.commit([(LEASE, ANSWER)], ORIGIN)
    assert backend(store) != failed


def test_a_commit_that_another_node_may_have_is_not_looked_up_by_its_number(
    store: SqlStore, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover the promoted node may have given the number to another transaction, which it has committed."""
    breaking(monkeypatch, store, postgres, before=True)
    check = store._check

    def check_on_the_old_node(connection: Connection, leases: set[RunLease]) -> database.Transaction | None:
        transaction = check(connection, leases)
        assert transaction is not None
        started = transaction.server_started - timedelta(days=1)
        (other,) = postgres.execute("SELECT txid_current()")[0]
        assert isinstance(other, int)
        return msgspec.structs.replace(transaction, number=other, server_started=started)

    monkeypatch.setattr(store, "_check", check_on_the_old_node)
    with pytest.raises(RecoveryNeededError, match="unknown"):
        store.commit([(LEASE, ADA), (LEASE, ANSWER)], ORIGIN)


class SaidError(Exception):
    """A driver's error with what PostgreSQL, or a pooler, says of it."""

    def __init__(self, severity: str | None, sqlstate: str | None) -> None:
        super().__init__("said the database")
        self.diag = SimpleNamespace(severity_nonlocalized=severity, sqlstate=sqlstate)


@pytest.mark.parametrize(
    "severity, sqlstate, rolled_back",
    [
        ("ERROR", "23505", True),
        ("ERROR", "25006", True),
        ("FATAL", "57P01", False),
        ("FATAL", "08P01", False),
        ("ERROR", "08006", False),
        ("ERROR", "40003", False),
        (None, None, False),
    ],
)
def test_only_an_error_of_the_database_itself_means_that_a_commit_was_rolled_back(
    severity: str | None, sqlstate: str | None, *, rolled_back: bool
) -> None:
    error = DBAPIError("COMMIT", None, SaidError(severity, sqlstate))
    assert database._is_rolled_back(error) is rolled_back


# --- poolers ----------------------------------------------------------------------------------------------------------


def test_nothing_of_a_session_is_relied_on_between_transactions(store: SqlStore) -> None:
    """A pooler gives each transaction the session that is free: no prepared statement, no setting of the last one."""
    for number in range(12):
        person = msgspec.structs.replace(ADA, participant=f"p{number}", token_hashes=(f"{number}",))
        store.commit([(LEASE, person), (LEASE, msgspec.structs.replace(ANSWER, participant=f"p{number}"))], ORIGIN)
        with store._database._engine.connect() as session:
            bare = session.connection.dbapi_connection
            assert bare is not None
            bare.rollback()  # end the transaction of ours that began with the connection
            bare.autocommit = True
            assert bare.execute("SHOW lock_timeout").fetchone() == ("0",)
            bare.execute("DISCARD ALL")
            bare.autocommit = False
    assert len(store.scores(LEASE.key)) == 12


# --- locks ------------------------------------------------------------------------------------------------------------


def test_a_run_held_by_a_stuck_server_is_waited_for_and_then_given_up(
    store: SqlStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another transaction locks the event's row; the wait is cut short here."""
    plain = postgres_url.replace("+psycopg", "")
    monkeypatch.setattr(database, "POSTGRES_TIMEOUTS", database.POSTGRES_TIMEOUTS.replace("5s", "20ms"))
    with psycopg.connect(plain) as stuck:
        stuck.execute("SELECT 1 FROM events FOR UPDATE")
        with pytest.raises(StoreError, match="lock timeout"):
            store.commit([(LEASE, ADA)], ORIGIN)
        with pytest.raises(StoreError, match="lock timeout"):
            store.acquire_lease(LEASE.key)
    store.commit([(LEASE, ADA)], ORIGIN)


def test_a_recovery_waits_for_the_commit_that_is_under_way(
    store: SqlStore, postgres: Cluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old server's lease was valid, so its rows come first; the recovery then reads them."""
    checked, write = threading.Event(), store._write
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE events%'"

    def write_once_somebody_waits(connection: Connection, batch: Any, origin: float) -> None:  # noqa: ANN401
        checked.set()
        wait_until(lambda: bool(postgres.execute(waiting)))
        write(connection, batch, origin)

    monkeypatch.setattr(store, "_write", write_once_somebody_waits)
    with closing(SqlStore(postgres_url)) as successor, ThreadPoolExecutor(1) as pool:
        commit = pool.submit(store.commit, [(LEASE, ADA)], ORIGIN)
        assert checked.wait(HANG_S)
        successor.acquire_lease(LEASE.key)
        assert successor.scores(LEASE.key) == {"p1": 0}
        commit.result(HANG_S)


def test_a_server_that_stops_in_mid_transaction_is_cut_off_by_the_database(store: SqlStore) -> None:
    value = store._database.run(lambda c: c.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar(), "")
    assert value == "10s"


# --- the start --------------------------------------------------------------------------------------------------------


def test_a_store_waits_while_another_makes_the_tables(postgres: Cluster, postgres_url: str) -> None:
    """Whichever process that other is in: the database itself holds the lock."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [migrations.LOCK])
        start = pool.submit(SqlStore, postgres_url)
        wait_until(lambda: bool(postgres.execute(waiting)))
        other.execute("CREATE TABLE colours (id INTEGER)")
        other.commit()
        with closing(start.result(HANG_S)) as store:
            assert [run.event for run in store.unfinished()] == []


def test_a_wrong_password_is_one_line_without_it(postgres: Cluster) -> None:
    wrong = quote("not it/at:all")
    with pytest.raises(StoreError, match="password authentication failed") as refused:
        SqlStore(f"postgresql://{SUPERUSER}:{wrong}@/postgres?host={postgres.folder}")
    message = str(refused.value)
    assert "\n" not in message
    assert wrong not in message
    assert "not it/at:all" not in message


def test_a_database_that_does_not_exist_is_named(postgres: Cluster) -> None:
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        SqlStore(postgres.url("nowhere"))


def test_the_node_that_takes_writes_is_found_among_several(postgres: Cluster, postgres_url: str) -> None:
    """The address for a failover that docs/operations.md gives: the first node does not answer."""
    several = postgres_url.replace("?host=", "?host=/nowhere&host=") + "&target_session_attrs=read-write"
    with closing(SqlStore(several)) as store:
        assert store.unfinished() == []


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_url_without_a_driver_means_psycopg(postgres_url: str, scheme: str) -> None:
    """Also under the shorter name, which libpq takes and platforms hand out."""
    store = SqlStore(postgres_url.replace("postgresql+psycopg", scheme))
    assert store._database.dialect.driver == "psycopg"
    store.close()
