"""Rows in and out of the database, synchronously; called only by the one writer, off the event loop.

A ``commit`` is one transaction: all of its rows are durable when it returns, none when it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Engine, bindparam, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from resilience.errors import ConfigError, StoreError
from resilience.protocol.effects import Forget, JoinAttempt, Row, SessionRow
from resilience.quiz.game import StoredAnswer
from resilience.quiz.questions import Question
from resilience.server.schema import ANSWERS, EVENTS, JOIN_ATTEMPTS, METADATA, PARTICIPANTS, QUESTIONS

MEMORY = "sqlite://"
"""A database that lives and dies with its process."""


class Store(Protocol):
    """What the server needs of a database."""

    def open_event(self, event_id: str, epoch: str, questions: Sequence[Question], now: float) -> None:
        """Make the event's rows; ``now`` is seconds since 1970."""

    def commit(self, rows: Sequence[tuple[str, Row]], now: float) -> None:
        """Write (event, row) pairs in one transaction; :class:`~resilience.errors.StoreError`: none was written."""

    def scores(self, event_id: str) -> dict[str, int]:
        """``total_score`` as stored, by participant."""

    def close(self) -> None:
        """Let go of the database."""


class SqlStore:
    """SQLite (write-ahead log, full sync) or PostgreSQL, by URL."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        self._upsert_participant = _upsert(insert)
        self._insert_answer = ANSWERS.insert()
        self._insert_attempt = JOIN_ATTEMPTS.insert()
        self._add_points = (
            PARTICIPANTS.update()
            .where(PARTICIPANTS.c.event == bindparam("e"), PARTICIPANTS.c.participant == bindparam("p"))
            .values(total_score=PARTICIPANTS.c.total_score + bindparam("won"))
        )
        self._forget = PARTICIPANTS.delete().where(
            PARTICIPANTS.c.event == bindparam("e"), PARTICIPANTS.c.participant == bindparam("p")
        )
        try:
            METADATA.create_all(self._engine)
            self._connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise StoreError(f"database {self._engine.url}: {_short(error)}") from error

    def open_event(self, event_id: str, epoch: str, questions: Sequence[Question], now: float) -> None:
        """Make the event's rows."""
        with self._transaction() as connection:
            connection.execute(EVENTS.insert(), {"id": event_id, "epoch": epoch, "created_at": now})
            rows = [
                {"event": event_id, "id": q.id, "position": i, "body": msgspec.json.encode(q).decode()}
                for i, q in enumerate(questions)
            ]
            if rows:
                connection.execute(QUESTIONS.insert(), rows)

    def commit(self, rows: Sequence[tuple[str, Row]], now: float) -> None:
        """Write all rows in one transaction, later rows of one participant over earlier ones."""
        sessions: dict[tuple[str, str], dict[str, Any]] = {}
        answers, attempts, gone = [], [], []
        for event_id, row in rows:
            match row:
                case SessionRow():
                    sessions[event_id, row.participant] = _participant(event_id, row, now)
                case StoredAnswer():
                    answers.append(_answer(event_id, row))
                case JoinAttempt():
                    attempts.append({"event": event_id, **msgspec.structs.asdict(row), "at": now})
                case Forget():
                    gone.append({"e": event_id, "p": row.participant})
        with self._transaction() as connection:
            _run(connection, self._upsert_participant, list(sessions.values()))
            _run(connection, self._insert_answer, answers)
            won = [{"e": a["event"], "p": a["participant"], "won": a["points"]} for a in answers if a["points"]]
            _run(connection, self._add_points, won)
            _run(connection, self._insert_attempt, attempts)
            _run(connection, self._forget, gone)

    def scores(self, event_id: str) -> dict[str, int]:
        """``total_score`` as stored, by participant."""
        columns = (PARTICIPANTS.c.participant, PARTICIPANTS.c.total_score)
        with self._transaction() as connection:
            found = connection.execute(select(*columns).where(PARTICIPANTS.c.event == event_id))
            return {row[0]: row[1] for row in found}

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        self._engine.dispose()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    """One transaction on the writer's connection; database errors become :class:`StoreError`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                self._connection.commit()
            except SQLAlchemyError as failure:
                error = failure
        if error is not None:
            with suppress(SQLAlchemyError):  # a connection that is gone has nothing to roll back
                self._connection.rollback()
        if isinstance(error, SQLAlchemyError):
            raise StoreError(f"the database did not take a commit: {_short(error)}") from error


def _run(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401 - any statement
    if rows:
        connection.execute(statement, rows)


def _upsert(insert: Callable[..., Any]) -> Any:  # noqa: ANN401 - the dialects' inserts share no base
    statement = insert(PARTICIPANTS)
    kept = ("event", "participant", "name", "total_score")
    fresh = {c.name: statement.excluded[c.name] for c in PARTICIPANTS.columns if c.name not in kept}
    return statement.on_conflict_do_update(index_elements=["event", "participant"], set_=fresh)


def _participant(event_id: str, row: SessionRow, now: float) -> dict[str, Any]:
    return {
        "event": event_id,
        "participant": row.participant,
        "name": row.name,
        "join_status": row.join_status,
        "connection_no": row.connection_no,
        "generation": row.generation,
        "token_hash": row.token_hashes[0],
        "previous_token_hash": row.token_hashes[1] if len(row.token_hashes) > 1 else None,
        "total_score": 0,
        "last_heartbeat": now,
    }


def _answer(event_id: str, row: StoredAnswer) -> dict[str, Any]:
    return {"event": event_id, **msgspec.structs.asdict(row)}


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        in_memory = parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")
        options: dict[str, Any] = {}
        if in_memory:  # one connection, for whichever thread is the writer
            options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        engine = create_engine(parsed, **options)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        rule = "must be a database URL such as sqlite:///quiz.db or postgresql+psycopg://user@host/name"
        raise ConfigError("db", url, f"{rule} ({error})") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_pragmas)
    return engine


def _sqlite_pragmas(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection type
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _short(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
