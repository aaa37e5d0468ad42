"""One connection to SQLite or PostgreSQL: opened by URL, reopened after a loss, errors in one line.

Knows transactions, not tables. A password in the URL never appears in a message.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SAWarning, SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql import Executable

from resilience.errors import ConfigError, StoreError
from resilience.server.redaction import UrlRedactor
from resilience.units import Seconds

T = TypeVar("T")

POSTGRESQL = "postgresql"
DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    POSTGRESQL: "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""The accepted schemes before ``://``, and the driver of each."""

RULE = "must be a database URL such as sqlite:///quiz.db or postgresql+psycopg://user@host/name"

BUSY_S: Seconds = 5.0
"""How long SQLite waits for another writer."""

PRAGMAS = (f"busy_timeout={BUSY_S * 1000:.0f}", "synchronous=FULL", "foreign_keys=ON")
"""SQLite: wait for another writer; a committed row is on the disk."""

POSTGRES_TIMEOUTS = ("lock_timeout = '5s'", "idle_in_transaction_session_timeout = '10s'")
"""PostgreSQL: wait for a lock no longer than SQLite does; a server that stopped in mid-transaction blocks no other."""

SOCKET = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""When libpq gives up a silent PostgreSQL: seconds, the last in milliseconds. The URL's own options take precedence."""

OUTCOME_RETRY_DELAYS_S: Sequence[Seconds] = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0)
"""Pauses before each query for the outcome of a transaction."""


class OutcomeUnknownError(StoreError):
    """The connection was lost during the commit, so its outcome is unknown."""


class Database:
    """The database that a URL names; ``run`` executes work in one transaction, from any thread, one at a time."""

    def __init__(self, url: str) -> None:
        self._mask = UrlRedactor(url)
        self._url, self._engine = _engine(url, self._mask)
        self._lock = threading.Lock()
        self.dialect = self._engine.dialect

    def __str__(self) -> str:
        return self._mask(self._url.render_as_string(hide_password=True))

    def sql(self, statement: Executable) -> str:
        """The statement in the driver's dialect, with parameters by position."""
        return str(statement.compile(dialect=self.dialect))  # type: ignore[attr-defined]

    def run(self, work: Callable[[Connection], T], failed: str) -> T:
        """Execute ``work`` in one transaction.

        Raises :class:`StoreError`, with a message that starts with ``failed``, if nothing was written;
        :class:`OutcomeUnknownError` if the connection was lost during the commit itself.
        """
        committing = False
        try:
            with self._lock, self._engine.connect() as connection:
                result = work(connection)
                committing = True
                _commit(connection)
                return result
        except SQLAlchemyError as error:
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            kind = OutcomeUnknownError if committing and lost else StoreError
            raise kind(f"{failed}: {self._short(error)}") from error

    def outcome(self, transaction: int) -> bool | None:
        """Whether a PostgreSQL transaction was committed, queried until the result is final; ``None`` if unknown."""
        for pause in OUTCOME_RETRY_DELAYS_S:
            time.sleep(pause)
            with suppress(StoreError):
                status = self.run(lambda c: c.scalar(select(func.txid_status(transaction))), "outcome of a commit")
                if status in ("committed", "aborted"):
                    return bool(status == "committed")
        return None

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _short(self, error: SQLAlchemyError) -> str:
        lines = str(getattr(error, "orig", None) or error).split("\n")
        text = " ".join(lines) if lines[0].endswith(":") else lines[0]
        path = Path(self._url.database or "")
        if "unable to open database file" in text and not path.parent.is_dir():
            text += f" (there is no folder {path.parent})"
        return self._mask(" ".join(text.split()))


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except SQLAlchemyError:
        if not connection.invalidated:
            connection.connection.rollback()  # for SQLAlchemy a transaction is over even if its commit failed
        raise


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
    event.listen(engine, "connect", _sqlite_connected if engine.dialect.name == "sqlite" else _postgresql_connected)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "begin", _begin_immediate)
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
    return {**options, "connect_args": sockets, "paramstyle": "format"}


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


def _postgresql_connected(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection type
    for wait in POSTGRES_TIMEOUTS:
        connection.execute(f"SET {wait}")
    connection.commit()
