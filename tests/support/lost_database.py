"""A database that goes away, at the reply to a commit or between two, and comes back: SQLite in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from resilience.errors import StoreError
from resilience.protocol.effects import Row
from resilience.quiz.game import StoredAnswer
from resilience.server.database import Database, OutcomeUnknownError
from resilience.server.store import MEMORY, RunLease, SqlStore

T = TypeVar("T")


class LosableDatabase(Database):
    """Fails every transaction while ``is_away``. The reply to the next one can be lost, whether it lands or not."""

    is_away = False
    calls = 0
    lands: bool | None = None

    def run(self, work: Callable[[Connection], T], failed: str) -> T:
        """Execute ``work``, or fail as a lost connection does."""
        self.calls += 1
        if self.is_away:
            raise StoreError(f"{failed}: connection refused")
        if self.lands is None:
            return super().run(work, failed)
        lands, self.lands = self.lands, None
        if lands:
            super().run(work, failed)
        raise OutcomeUnknownError(f"{failed}: terminating connection due to administrator command")


class LosableStore(SqlStore):
    """A store whose database a test takes away and brings back."""

    def __init__(self) -> None:
        super().__init__(MEMORY)
        database = self._database
        database.__class__ = LosableDatabase
        assert isinstance(database, LosableDatabase)
        self.database = database
        self._at_answer: bool | None = None

    def lose_at_the_next_answer(self, *, lands: bool) -> None:
        """The database goes away in the commit of the next answer, which it has carried out or not."""
        self._at_answer = lands

    def commit(self, rows: Sequence[tuple[RunLease, Row]], origin: float) -> None:
        """Commit, or lose the reply and the database."""
        if self._at_answer is None or not any(isinstance(row, StoredAnswer) for _, row in rows):
            super().commit(rows, origin)
            return
        self.database.lands, self._at_answer = self._at_answer, None
        try:
            super().commit(rows, origin)
        finally:
            self.database.is_away = True
