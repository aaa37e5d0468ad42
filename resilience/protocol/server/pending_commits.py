"""Rows on their way to the store, and what continues once they are durable or have failed. Pure.

One table serves every kind of commit: a join, an answer, a host command. It knows tickets, connections and
continuations, nothing of what the rows mean. An index by connection says in constant time whether one waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Disconnect, Persist, Row, ServerEffect
from resilience.units import Instant


class Continuation(Protocol):
    """What continues when the outcome of a commit is known; one of the two is called, once."""

    def committed(self, now: Instant) -> None:
        """The rows are durable."""

    def commit_failed(self, now: Instant) -> None:
        """The rows were not written and never will be."""


class _Retry(msgspec.Struct, frozen=True):
    retry: Callable[[Instant], None]

    def committed(self, now: Instant) -> None:
        """Nothing waits for it."""

    def commit_failed(self, now: Instant) -> None:
        self.retry(now)


class _PendingCommit(msgspec.Struct):
    connections: list[int]
    continuation: Continuation


class PendingCommits:
    """The commits of one room. ``effects`` is the room's list: each commit is ordered there as a ``Persist``."""

    def __init__(self, effects: list[ServerEffect]) -> None:
        self._effects = effects
        self._ticket = 0
        self._pending: dict[int, _PendingCommit] = {}
        self._waiting: dict[int, int] = {}

    def persist(self, rows: tuple[Row, ...]) -> int:
        """Order a commit that no connection waits for; returns its ticket. Tickets count up by one."""
        self._ticket += 1
        self._effects.append(Persist(self._ticket, rows))
        return self._ticket

    def persist_then(self, rows: tuple[Row, ...], connection: int, continuation: Continuation) -> int:
        """Order a commit that ``connection`` waits for; returns its ticket."""
        ticket = self.persist_with(rows, continuation)
        self.wait_for(ticket, connection)
        return ticket

    def persist_with(self, rows: tuple[Row, ...], continuation: Continuation) -> int:
        """Order a commit that something continues after, though no connection waits for it; returns its ticket."""
        ticket = self.persist(rows)
        self._pending[ticket] = _PendingCommit([], continuation)
        return ticket

    def persist_or_retry(self, rows: tuple[Row, ...], retry: Callable[[Instant], None]) -> int:
        """Order a commit that no connection waits for; ``retry`` is called if the rows were not written.

        The rows to write by then may be others: ``retry`` notes what to store, not how it was.
        """
        return self.persist_with(rows, _Retry(retry))

    def wait_for(self, ticket: int, connection: int) -> None:
        """Register one more connection that waits for a pending commit."""
        self._pending[ticket].connections.append(connection)
        self._waiting[connection] = self._waiting.get(connection, 0) + 1

    def committed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket are durable."""
        pending = self._pop(ticket)
        if pending is not None:
            pending.continuation.committed(now)

    def commit_failed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket were not written and never will be."""
        pending = self._pop(ticket)
        if pending is not None:
            pending.continuation.commit_failed(now)

    def fail_unwaited(self, now: Instant) -> None:
        """No outcome will come any more: every commit that no connection waits for counts as failed."""
        for ticket in [ticket for ticket, pending in self._pending.items() if not pending.connections]:
            self.commit_failed(ticket, now)

    def is_waiting(self, connection: int) -> bool:
        """Whether this connection waits for the outcome of a commit."""
        return connection in self._waiting

    def _pop(self, ticket: int) -> _PendingCommit | None:
        pending = self._pending.pop(ticket, None)
        for connection in () if pending is None else pending.connections:
            if self._waiting[connection] == 1:
                del self._waiting[connection]
            else:
                self._waiting[connection] -= 1
        return pending


def try_again_later(connection: int, why: str) -> Disconnect:
    """Close a connection whose request was not stored; its client retries after one second."""
    return Disconnect(connection, CloseCode.TRY_AGAIN_LATER, f"retry_after=1.0 {why}")
