"""Group commit: everything that arrives during one commit goes into the next. One writer, off the loop.

Requests of all events share a transaction. Requests of a run that this server no longer owns are left out and reported
as fenced; the others are committed without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import msgspec

from resilience.errors import FencedError, StoreError
from resilience.protocol.effects import Persist
from resilience.server.store import RunLease
from resilience.units import Seconds

CommitCallback = Callable[[Sequence[Persist], StoreError | None], None]
"""Receives, on the loop, the requests that are durable (no error) or were not written."""


class CommitRequest(msgspec.Struct, frozen=True):
    """Rows to commit under a lease, and the callback for the result."""

    lease: RunLease
    persist: Persist
    settle: CommitCallback


class Committer:
    """Runs ``write`` in ``executor`` with one batch at a time and reports each batch's result to its requests.

    ``observe`` receives rows and seconds of each commit. ``trouble`` is why the last commit failed, if it did.
    """

    def __init__(
        self,
        write: Callable[[Sequence[CommitRequest]], None],
        executor: Executor | None,
        observe: Callable[[int, Seconds], None] | None = None,
    ) -> None:
        self._write, self._executor, self._observe = write, executor, observe
        self._loop = asyncio.get_running_loop()
        self._waiting: list[CommitRequest] = []
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self.trouble: StoreError | None = None

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

    def abandon(self) -> None:
        """Write and report nothing more; a commit in the executor is not stopped."""
        self._is_over = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
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
        self.trouble = failure
        _settle(batch, failure)

    async def _written(self, batch: Sequence[CommitRequest]) -> StoreError | None:
        try:
            await self._loop.run_in_executor(self._executor, self._write, batch)
        except StoreError as error:
            return error
        except Exception as error:  # noqa: BLE001 - any failure must reach the requests
            return StoreError(f"the database rejected a commit: {type(error).__name__}: {error}")
        return None


def _settle(batch: Sequence[CommitRequest], failure: StoreError | None) -> None:
    by_owner: dict[CommitCallback, list[Persist]] = {}
    for order in batch:
        by_owner.setdefault(order.settle, []).append(order.persist)
    for settle, orders in by_owner.items():
        settle(orders, failure)
