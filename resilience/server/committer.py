"""Group commit: everything that arrives during one commit goes into the next. One writer, off the loop.

Requests of all events share a transaction. Requests of a run that this server no longer owns are left out and reported
as fenced; the others are committed without them. After a failure the database is asked again and again, also without
requests: a server that says that it is not ready may get none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import msgspec

from resilience.errors import FencedError, StoreError
from resilience.policy.database_retry import database_retry_delay
from resilience.protocol.effects import Persist
from resilience.random_streams import random_for
from resilience.server.store import RunLease
from resilience.units import Instant, Seconds

CommitCallback = Callable[[Sequence[Persist], StoreError | None], None]
"""Receives, on the loop, the requests that are durable (no error) or were not written."""


class CommitRequest(msgspec.Struct, frozen=True):
    """Rows to commit under a lease, and the callback for the result."""

    lease: RunLease
    persist: Persist
    settle: CommitCallback


class Committer:
    """Runs ``write`` in ``executor`` with one batch at a time and reports each batch's result to its requests.

    ``write`` of an empty batch checks that the database takes writes. ``observe`` receives rows and seconds of each
    commit. ``trouble`` is why the last commit failed, if it did. ``name`` keys the spread of the retries.
    """

    def __init__(
        self,
        write: Callable[[Sequence[CommitRequest]], None],
        executor: Executor | None,
        observe: Callable[[int, Seconds], None] | None = None,
        *,
        name: str = "",
    ) -> None:
        self._write, self._executor, self._observe = write, executor, observe
        self._loop = asyncio.get_running_loop()
        self._waiting: list[CommitRequest] = []
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self._draw, self._failures = random_for(1, name), 0
        self._retry: asyncio.TimerHandle | None = None
        self._began: Instant | None = None
        self.trouble: StoreError | None = None

    def under_way_for(self) -> Seconds:
        """Seconds since the commit under way began; 0 without one."""
        return 0.0 if self._began is None else self._loop.time() - self._began

    def submit(self, order: CommitRequest) -> None:
        """Commit these rows with the next batch."""
        if self._is_over:
            return
        self._waiting.append(order)
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def flush(self) -> None:
        """Wait until every submitted request has its result."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def stop_retrying(self) -> None:
        """Ask a database that failed only when there is something to commit."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def abandon(self) -> None:
        """Write and report nothing more; a commit in the executor is not stopped."""
        self._is_over = True
        self.stop_retrying()
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self, *, check: bool = False) -> None:
        """Commit what waits; with ``check`` ask first whether the database takes writes."""
        try:
            if check:
                self._note(await self._written(()))
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._commit(batch)
        finally:
            self._task = None

    async def _commit(self, batch: Sequence[CommitRequest]) -> None:
        began = self._loop.time()
        failure = await self._written(batch)
        if self._observe is not None:
            self._observe(sum(len(order.persist.rows) for order in batch), self._loop.time() - began)
        if isinstance(failure, FencedError):
            keys = failure.keys
            _settle([order for order in batch if order.lease.key in keys], failure)
            kept = [order for order in batch if order.lease.key not in keys]
            if kept and len(kept) < len(batch):
                await self._commit(kept)
            return
        self._note(failure)
        _settle(batch, failure)

    def _note(self, failure: StoreError | None) -> None:
        """Remember the outcome of a commit; after a failure ask again later, unless a commit does so before."""
        self.trouble = failure
        self.stop_retrying()
        if failure is None:
            self._failures = 0
        elif not self._is_over:
            delay = database_retry_delay(self._failures, self._draw("commit", 0, self._failures))
            self._failures += 1
            self._retry = self._loop.call_later(delay, self._ask_again)

    def _ask_again(self) -> None:
        self._retry = None
        if self._task is None:
            self._task = self._loop.create_task(self._run(check=True))

    async def _written(self, batch: Sequence[CommitRequest]) -> StoreError | None:
        self._began = self._loop.time()
        try:
            await self._loop.run_in_executor(self._executor, self._write, batch)
        except StoreError as error:
            return error
        except Exception as error:  # noqa: BLE001 - any failure must reach the requests
            return StoreError(f"the database rejected a commit: {type(error).__name__}: {error}")
        finally:
            self._began = None
        return None


def _settle(batch: Sequence[CommitRequest], failure: StoreError | None) -> None:
    by_owner: dict[CommitCallback, list[Persist]] = {}
    for order in batch:
        by_owner.setdefault(order.settle, []).append(order.persist)
    for settle, orders in by_owner.items():
        settle(orders, failure)
