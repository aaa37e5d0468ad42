"""Group commit: whatever arrives while one commit is under way goes into the next. One writer, off the loop.

Orders of all events share a transaction. A run that may no longer be written for is left out and told so; the others
are written without it.
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
"""Told, on the loop, which orders are durable (no error) or were not written."""


class CommitRequest(msgspec.Struct, frozen=True):
    """Rows to commit under a lease, and whom to tell."""

    lease: RunLease
    persist: Persist
    settle: CommitCallback


class Committer:
    """Feeds ``write`` (called in ``executor`` with a batch) and settles each batch with whoever ordered it.

    ``observe`` gets rows and seconds of each commit. ``trouble`` is why the last one failed, if it did.
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
        """Wait until everything that was submitted is settled."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def abandon(self) -> None:
        """Write and tell nothing more; what is under way in the executor is not stopped."""
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
        except Exception as error:  # noqa: BLE001 - whatever it was, somebody waits for an answer
            return StoreError(f"the database did not take a commit: {type(error).__name__}: {error}")
        return None


def _settle(batch: Sequence[CommitRequest], failure: StoreError | None) -> None:
    by_owner: dict[CommitCallback, list[Persist]] = {}
    for order in batch:
        by_owner.setdefault(order.settle, []).append(order.persist)
    for settle, orders in by_owner.items():
        settle(orders, failure)
