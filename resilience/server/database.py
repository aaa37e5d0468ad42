"""One connection to SQLite or PostgreSQL: opened by URL, replaced after a failure, errors in one line.

Knows transactions, not tables. A password in the URL never appears in a message. A connection to PostgreSQL on which
anything failed is closed: it may lead to a node that is read-only by now, or through a pooler that has lost its
server. SQLite's stays: it is the open file, and no other process stands behind it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine, case, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SAWarning, SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql import Executable

from resilience.errors import ConfigError, ResilienceError, StoreError
from resilience.server.database_file import DatabaseFile
from resilience.server.redaction import UrlRedactor
from resilience.units import Seconds

T = TypeVar("T")

POSTGRESQL = "postgresql"
DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    POSTGRESQL: "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The accepted schemes before ``://``, and the driver of each."""

RULE = "must be a database URL such as sqlite:///quiz.db or postgresql+psycopg://user@host/name"

BUSY_S: Seconds = 5.0
"""How long SQLite waits for another writer."""

PRAGMAS = (f"busy_timeout={BUSY_S * 1000:.0f}", "synchronous=FULL", "foreign_keys=ON")
"""SQLite: wait for another writer; a committed row is on the disk."""

POSTGRES_TIMEOUTS = (
    "SELECT set_config('lock_timeout', '5s', true), set_config('idle_in_transaction_session_timeout', '10s', true)"
)
"""PostgreSQL: wait for a lock no longer than SQLite does; a server that stopped in mid-transaction blocks no other.

Set in each transaction: a pooler such as pgbouncer may give every transaction another session.
"""

POOLER_SAFE = {"prepare_threshold": None}
"""psycopg prepares no statement: a pooler may give the next transaction a session that does not know it."""

SOCKET = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""When libpq gives up a silent PostgreSQL: seconds, the last in milliseconds. The URL's own options take precedence."""

OUTCOME_RETRY_DELAYS_S: Sequence[Seconds] = (0.0, 0.1, 0.2, 0.5)
"""Pauses before each query for the outcome of a transaction; no other commit can begin meanwhile."""


class OutcomeUnknownError(StoreError):
    """The reply to a commit was lost, or its file was: whether it is durable is unknown."""


class Transaction(msgspec.Struct, frozen=True):
    """A PostgreSQL transaction: its number, and the start of the server process that gave it.

    After a failover the number may be another transaction's.
    """

    number: int
    server_started: datetime


class Database:
    """The database that a URL names; ``run`` executes work in one transaction, from any thread, one at a time."""

    def __init__(self, url: str) -> None:
        self._mask = UrlRedactor(url)
        self._url, self._engine = _engine(url, self._mask)
        self._lock = threading.Lock()
        self._file: DatabaseFile | None = None
        self.dialect = self._engine.dialect
        if self.dialect.name == "sqlite":
            event.listen(self._engine, "connect", self._file_opened)

    def __str__(self) -> str:
        return self._mask(self._url.render_as_string(hide_password=True))

    def sql(self, statement: Executable) -> str:
        """The statement in the driver's dialect, with parameters by position."""
        return str(statement.compile(dialect=self.dialect))  # type: ignore[attr-defined]

    def run(self, work: Callable[[Connection], T], failed: str) -> T:
        """Execute ``work`` in one transaction.

        Raises :class:`StoreError`, with a message that starts with ``failed``, if nothing was written;
        :class:`OutcomeUnknownError` if the connection or the database's file was lost during the commit itself.
        """
        committing = False
        try:
            with self._lock, self._connection(failed) as connection:
                result = work(connection)
                committing = True
                connection.commit()
        except SQLAlchemyError as error:
            kind = OutcomeUnknownError if committing and not _is_rolled_back(error) else StoreError
            raise kind(f"{failed}: {self._short(error)}") from error
        except ResilienceError:
            raise
        except Exception as error:
            raise StoreError(f"{failed}: {type(error).__name__}: {self._mask(str(error))}") from error
        if fault := self._file_fault():
            raise OutcomeUnknownError(f"{failed}: {fault}")
        return result

    def outcome(self, transaction: Transaction) -> bool | None:
        """Whether a PostgreSQL transaction was committed, queried until the result is final; ``None`` if unknown."""
        is_same_server = func.pg_postmaster_start_time() == transaction.server_started
        query = select(is_same_server, case((is_same_server, func.txid_status(transaction.number))))
        for pause in OUTCOME_RETRY_DELAYS_S:
            time.sleep(pause)
            with suppress(StoreError):
                same, status = self.run(lambda c: c.execute(query).one(), "outcome of a commit")
                if not same:
                    return None
                if status in ("committed", "aborted"):
                    return bool(status == "committed")
        return None

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()
        self._file = None

    @contextmanager
    def _connection(self, failed: str) -> Iterator[Connection]:
        """The connection; after a failure it has no transaction under way, and PostgreSQL's is closed."""
        if fault := self._file_fault():
            raise StoreError(f"{failed}: {fault}")
        with self._engine.connect() as connection:
            try:
                yield connection
            except SQLAlchemyError:
                if self.dialect.name == POSTGRESQL:
                    connection.invalidate()
                elif not connection.invalidated:
                    connection.connection.rollback()  # for SQLAlchemy a transaction is over even if its commit failed
                raise

    def _file_opened(self, connection: sqlite3.Connection, _: object) -> None:
        _, _, path = connection.execute("PRAGMA database_list").fetchone()
        self._file = DatabaseFile(Path(path)) if path else None

    def _file_fault(self) -> str | None:
        return None if self._file is None else self._file.fault()

    def _short(self, error: SQLAlchemyError) -> str:
        lines = str(getattr(error, "orig", None) or error).split("\n")
        text = " ".join(lines) if lines[0].endswith(":") else lines[0]
        path = Path(self._url.database or "")
        if "unable to open database file" in text and not path.parent.is_dir():
            text += f" (there is no folder {path.parent})"
        return self._mask(" ".join(text.split()))


def _is_rolled_back(error: SQLAlchemyError) -> bool:
    """Whether the database itself said that it did not carry out the commit at which this error was raised.

    PostgreSQL says ``ERROR``; after ``FATAL``, and without a reply, the commit may be durable. A pooler that lost its
    server says so in class 08 (connection exceptions).
    """
    original = getattr(error, "orig", None)
    diagnosis = getattr(original, "diag", None)
    if diagnosis is None:
        return not (isinstance(error, DBAPIError) and error.connection_invalidated)
    state = diagnosis.sqlstate or ""
    return diagnosis.severity_nonlocalized == "ERROR" and not state.startswith("08") and state != "40003"


def _engine(url: str, mask: UrlRedactor) -> tuple[URL, Engine]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SAWarning)  # of options that the driver would ignore
            parsed = _parsed(url)
            engine = create_engine(parsed, **_options(parsed))
    except ModuleNotFoundError as error:
        raise ConfigError("db", mask(url), "needs psycopg: pip install 'quiz-resilience[postgres]'") from error
    except (ArgumentError, NoSuchModuleError, SAWarning, ValueError) as error:
        told = mask(str(error)).splitlines()[0].partition(" (Background")[0]
        raise ConfigError("db", mask(url), f"{RULE} ({told})") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _begin_immediate)
    else:
        event.listen(engine, "begin", _limit_waits)
    return parsed, engine


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ValueError:  # its text holds a piece of the URL, which may be one of a password
        raise ArgumentError("the port is not a number; in a password, : / @ ? are written %3A %2F %40 %3F") from None
    if "@" in (parsed.host or ""):
        raise ArgumentError("the host holds an @; in a password, @ is written %40")
    driver = DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ArgumentError(f"{parsed.drivername} is not one of {', '.join(DRIVERS)}")
    return parsed.set(drivername=driver)


def _options(url: URL) -> dict[str, Any]:
    """One connection that stays open, shared by all threads: a database in memory lives as long as it does."""
    options: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    if url.get_backend_name() == "sqlite":
        return {**options, "connect_args": {"check_same_thread": False}}
    sockets = {name: value for name, value in SOCKET.items() if name not in url.query}
    return {**options, "connect_args": {**POOLER_SAFE, **sockets}, "paramstyle": "format"}


def _sqlite_connected(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver would begin too late for a check inside the transaction
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    deadline = time.monotonic() + BUSY_S
    while not _enable_wal(connection):
        if time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")
        time.sleep(0.02)


def _enable_wal(connection: sqlite3.Connection) -> bool:
    """Switch to the write-ahead log; SQLite itself does not wait for another process that is switching."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _limit_waits(connection: Connection) -> None:
    connection.exec_driver_sql(POSTGRES_TIMEOUTS)
