"""What the server needs of a database, and its implementation in SQL. Synchronous; called off the event loop.

A ``commit`` is one transaction: all of its rows are durable when it returns, none if it raises. A writer shows a
:class:`RunLease`; the database itself rejects a server that was replaced while it slept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, false, select
from sqlalchemy.exc import IntegrityError

from resilience.errors import FencedError, RecoveryNeededError, StoreError
from resilience.policy.run_owners import OwnedRun
from resilience.protocol.effects import DeleteParticipant, JoinAttempt, Row, SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.plan import QuizPlan
from resilience.server import rows as r
from resilience.server.database import Database, OutcomeUnknownError, Transaction
from resilience.server.migrations import upgrade
from resilience.server.schema import EVENTS, METADATA, PARTICIPANTS, QUESTIONS
from resilience.units import Instant

MEMORY = "sqlite://"
"""A database in memory, which lives as long as its store."""


ANY_RUN = "*"
"""Stands for whatever run of an event is the newest."""


class RunExistsError(StoreError):
    """Another server has created a run of the event meanwhile."""


class RunLease(msgspec.Struct, frozen=True):
    """The right of one server to write for one run of an event.

    ``key`` is ``<event>#<run>``; ``incarnation`` is 1 for the server that created the run and one more at each
    recovery: a write with an older one is rejected.
    """

    key: str
    incarnation: int


class StoredRunHeader(msgspec.Struct, frozen=True):
    """One run of an event without its participants; instants are on the caller's run clock."""

    lease: RunLease
    event: str
    plan: QuizPlan
    progress: QuizState


class StoredEvent(StoredRunHeader, frozen=True):
    """One run of an event as the database has it; instants are on the caller's run clock."""

    sessions: tuple[SessionRow, ...]
    answers: tuple[StoredAnswer, ...]


class Store(Protocol):
    """What the server needs of a database.

    ``owner`` is this server's name among those that share the database; without one it shares it with none.
    ``origin`` is the wall time, seconds since 1970, at which the run clock showed 0: the database keeps wall times.
    Every method raises :class:`~resilience.errors.StoreError` if the database fails.
    """

    @property
    def owner(self) -> str:
        """This server's name at the database."""

    def create_event(  # noqa: PLR0913, PLR0917 - a run and when it begins
        self,
        lease: RunLease,
        event: str,
        plan: QuizPlan,
        origin: float,
        at: Instant = 0.0,
        newest: str | None = ANY_RUN,
    ) -> None:
        """Create a run, in the lobby since ``at``. A run that already exists is an error.

        Raises :class:`RunExistsError` if the event's newest run is not ``newest`` any more (``None``: no run).
        """

    def newest_run(self, event: str, origin: float) -> StoredRunHeader | None:
        """The newest run of an event without its participants; leases nothing."""

    def latest(self, event: str, origin: float) -> StoredEvent | None:
        """The newest run of an event, whole; leases nothing.

        To continue a run, acquire its lease first and read it then: an earlier read may lack the old server's last
        rows.
        """

    def unfinished(self) -> list[OwnedRun]:
        """The newest runs of events that have not finished, with their owners, the longest running first."""

    def renew(self, leases: Sequence[RunLease]) -> list[RunLease]:
        """Tell servers that watch these runs that their owner is alive; returns the leases that are void by now."""

    def release(self, leases: Sequence[RunLease]) -> None:
        """Give these runs up, for whichever server asks for them first."""

    def acquire_lease(self, key: str) -> RunLease:
        """Become the run's server: from now on every older lease is rejected.

        Raises :class:`~resilience.server.database.OutcomeUnknownError` if the lease may have been granted.
        """

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Write the rows in one transaction, in their order; without rows, check that the database takes writes.

        A quiz state of an earlier step than the stored one is left out: no row takes back a step, however late it is
        written.

        Raises :class:`~resilience.errors.StoreError` if nothing was written; a later commit may succeed. Raises
        :class:`~resilience.errors.FencedError` if nothing was written and nothing will be under these leases: the run
        has another server, or, as :class:`~resilience.errors.RecoveryNeededError`, the outcome of an earlier commit is
        unknown. In both cases read the run again, and in the second acquire its lease first.
        """

    def scores(self, key: str) -> dict[str, int]:
        """``total_score`` as stored, by participant, in the order of their ids."""

    def close(self) -> None:
        """Close the database."""


class SqlStore:
    """SQLite (write-ahead log, full sync) or PostgreSQL, by URL; creates or upgrades the tables at once.

    Raises :class:`~resilience.errors.ConfigError` for an invalid URL, and :class:`~resilience.errors.StoreError` for a
    database that cannot be opened or that a newer version has created.
    """

    def __init__(self, url: str, owner: str = "") -> None:
        self._database, self._owner = Database(url), owner
        self._unknown_outcome: set[RunLease] = set()
        name, sql = self._database.dialect.name, self._database.sql
        self._select_lease = sql(r.select_lease(name))
        self._forget = sql(r.FORGET)
        self._upsert_participant = sql(r.upsert_participant(name))
        self._insert_answer = sql(r.INSERT_ANSWER)
        self._add_points = sql(r.ADD_POINTS)
        self._insert_attempt = sql(r.INSERT_ATTEMPT)
        try:
            self._database.run(lambda c: _prepare(c, f"database {self._database}"), f"database {self._database}")
        except StoreError:
            self._database.close()
            raise

    @property
    def owner(self) -> str:
        """This server's name at the database."""
        return self._owner

    def create_event(  # noqa: PLR0913, PLR0917 - a run and when it begins
        self,
        lease: RunLease,
        event: str,
        plan: QuizPlan,
        origin: float,
        at: Instant = 0.0,
        newest: str | None = ANY_RUN,
    ) -> None:
        """Create a run, in the lobby since ``at``, after the run ``newest``."""

        def work(connection: Connection) -> None:
            found = connection.execute(r.newest_run(event)).mappings().one_or_none()
            if newest not in (ANY_RUN, None if found is None else found["id"]):
                raise RunExistsError(f"another server has created event {event}")
            number = 1 if found is None else found["run_no"] + 1
            row = r.event_row(lease.key, event, number, plan, origin, at)
            try:
                connection.execute(
                    EVENTS.insert().values({**row, "incarnation": lease.incarnation, "owner": self._owner})
                )
            except IntegrityError as error:
                if newest is not ANY_RUN:  # both have read, and the other one has written
                    raise RunExistsError(f"another server has created event {event}") from error
                raise
            connection.execute(QUESTIONS.insert(), r.question_rows(lease.key, plan.questions))

        self._database.run(work, f"the database did not create event {event}")

    def newest_run(self, event: str, origin: float) -> StoredRunHeader | None:
        """The newest run of an event without its participants."""

        def work(connection: Connection) -> StoredRunHeader | None:
            run = connection.execute(r.newest_run(event)).mappings().one_or_none()
            if run is None:
                return None
            questions = connection.execute(r.questions_of(run["id"])).mappings().all()
            lease = RunLease(run["id"], run["incarnation"])
            return StoredRunHeader(lease, event, r.to_plan(run, questions), r.to_progress(run, origin))

        return self._database.run(work, f"the database did not read event {event}")

    def latest(self, event: str, origin: float) -> StoredEvent | None:
        """The newest run of an event, whole."""

        def work(connection: Connection) -> StoredEvent | None:
            run = connection.execute(r.newest_run(event)).mappings().one_or_none()
            if run is None:
                return None
            questions, people, answers = (connection.execute(q).mappings().all() for q in r.rows_of(run["id"]))
            return StoredEvent(
                lease=RunLease(run["id"], run["incarnation"]),
                event=event,
                plan=r.to_plan(run, questions),
                progress=r.to_progress(run, origin),
                sessions=tuple(sorted((r.to_session(row, origin) for row in people), key=lambda s: s.participant)),
                answers=tuple(sorted((r.to_answer(row, origin) for row in answers), key=_by_time)),
            )

        return self._database.run(work, f"the database did not read event {event}")

    def unfinished(self) -> list[OwnedRun]:
        """The newest runs that have not finished, with their owners."""
        statement = r.unfinished_runs()
        failed = "the database did not list its events"
        return self._database.run(lambda c: [OwnedRun(*row) for row in c.execute(statement)], failed)

    def renew(self, leases: Sequence[RunLease]) -> list[RunLease]:
        """Tell watching servers that the owner of these runs is alive."""

        def work(connection: Connection) -> list[RunLease]:
            return [lease for lease in leases if not connection.execute(r.renew(lease.key, lease.incarnation)).rowcount]

        return self._database.run(work, "the database did not renew its leases")

    def release(self, leases: Sequence[RunLease]) -> None:
        """Give these runs up."""
        statements = [r.release(lease.key, lease.incarnation) for lease in leases]
        self._database.run(lambda c: [c.execute(one) for one in statements], "the database did not release its leases")

    def acquire_lease(self, key: str) -> RunLease:
        """Become the run's server."""
        statement = r.acquire(key, self._owner)

        def work(connection: Connection) -> RunLease:
            incarnation = connection.scalar(statement.returning(EVENTS.c.incarnation))
            if incarnation is None:
                raise StoreError(f"the database has no run {key} to recover")
            return RunLease(key, incarnation)

        return self._database.run(work, f"the database did not grant the lease of {key}")

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Write the rows in one transaction; a later row of one participant replaces an earlier one."""
        batch = _Batch(rows, origin)
        if void := self._unknown_outcome & batch.leases:
            raise RecoveryNeededError(_keys(void), "the outcome of an earlier commit is unknown; recover the run again")
        transaction: Transaction | None = None

        def work(connection: Connection) -> None:
            nonlocal transaction
            if not rows:
                _check_writable(connection)
            transaction = self._check(connection, batch.leases)
            self._write(connection, batch, origin)

        try:
            self._database.run(work, "the database rejected a commit")
        except OutcomeUnknownError as error:
            self._settle(transaction, batch.leases, error)

    def scores(self, key: str) -> dict[str, int]:
        """``total_score`` as stored, by participant."""
        columns = (PARTICIPANTS.c.participant, PARTICIPANTS.c.total_score)
        statement = select(*columns).where(PARTICIPANTS.c.event == key).order_by(PARTICIPANTS.c.participant)
        failed = f"the database did not read the scores of {key}"
        return self._database.run(lambda c: {who: score for who, score in c.execute(statement)}, failed)  # noqa: C416

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def clear(self) -> None:
        """Delete every row; the tables stay. For laboratories that run many experiments on one database."""
        tables = list(reversed(METADATA.sorted_tables))
        self._database.run(lambda c: [c.execute(table.delete()) for table in tables], "the database was not emptied")
        self._unknown_outcome.clear()

    # inside a commit --------------------------------------------------------------------------------------------------

    def _check(self, connection: Connection, leases: set[RunLease]) -> Transaction | None:
        """Lock every lease until the transaction ends, or raise; returns the transaction, if it can be asked for."""
        transaction, stale = None, set()
        for lease in sorted(leases, key=lambda c: (c.key, c.incarnation)):
            found = connection.exec_driver_sql(self._select_lease, (lease.key,)).one_or_none()
            if found is None or found[0] != lease.incarnation:
                stale.add(lease)
            elif len(found) > 1:
                transaction = Transaction(*found[1:])
        if stale:
            raise FencedError(_keys(stale))
        return transaction

    def _write(self, connection: Connection, batch: _Batch, origin: float) -> None:
        for key, progress in batch.progress.items():
            connection.execute(r.update_progress(key, progress, origin))
        for sql, many in (
            (self._forget, list(batch.gone)),
            (self._upsert_participant, list(batch.participants.values())),
            (self._insert_answer, batch.answers),
            (self._add_points, batch.won),
            (self._insert_attempt, batch.attempts),
        ):
            if many:
                connection.exec_driver_sql(sql, many)

    def _settle(self, transaction: Transaction | None, leases: set[RunLease], error: StoreError) -> None:
        """Find the outcome of a commit whose reply was lost; returns if it is durable."""
        outcome = self._database.outcome(transaction) if transaction else None
        if outcome is None and leases:
            self._unknown_outcome |= leases
            raise RecoveryNeededError(_keys(leases), f"the outcome of its last commit is unknown ({error})") from error
        if not outcome:
            raise StoreError(str(error)) from error


class _Batch:
    """The rows of one commit, by statement, without rows that a later one replaces."""

    def __init__(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        self.leases: set[RunLease] = set()
        self.gone: dict[r.Tuple, None] = {}
        self.participants: dict[r.Tuple, r.Tuple] = {}
        self.answers: list[r.Tuple] = []
        self.won: list[r.Tuple] = []
        self.attempts: list[r.Tuple] = []
        self.progress: dict[str, QuizState] = {}
        for lease, row in rows:
            self.leases.add(lease)
            self._add(lease.key, row, origin)

    def _add(self, key: str, row: Row, origin: float) -> None:
        match row:
            case SessionRow():
                self.participants[key, row.participant] = r.participant(key, row, origin)
            case JoinAttempt():
                self.attempts.append(r.attempt(key, row, origin))
            case StoredAnswer():
                self.answers.append(r.answer(key, row, origin))
                if row.points:
                    self.won.append(r.add_points_params(key, row))
            case QuizState():
                if key not in self.progress or row.step >= self.progress[key].step:
                    self.progress[key] = row
            case DeleteParticipant():
                self.participants.pop((key, row.participant), None)
                self.gone[key, row.participant] = None


def _prepare(connection: Connection, database: str) -> None:
    """Bring the tables up to date and check that they can be written, before the first answer needs them."""
    upgrade(connection, database)
    _check_writable(connection)


def _check_writable(connection: Connection) -> None:
    connection.execute(EVENTS.update().where(false()).values(step=EVENTS.c.step))


def _keys(leases: set[RunLease]) -> tuple[str, ...]:
    return tuple(sorted({lease.key for lease in leases}))


def _by_time(answer: StoredAnswer) -> tuple[Any, ...]:
    return answer.received_at, answer.participant, answer.question
