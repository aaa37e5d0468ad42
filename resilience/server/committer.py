"""Group commit: whatever arrives while one commit is under way goes into the next. One writer, off the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from resilience.errors import StoreError
from resilience.protocol.effects import Persist

Settle = Callable[[Sequence[Persist], StoreError | None], None]
"""Told, on the loop, which orders are durable (no error) or were not written."""


class Committer:
    """Feeds ``write`` (called in ``executor`` with a batch) and settles each batch with whoever ordered it."""

    def __init__(self, write: Callable[[Sequence[Persist]], None], settle: Settle, executor: Executor | None) -> None:
        self._write, self._settle, self._executor = write, settle, executor
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Persist] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, order: Persist) -> None:
        """Commit these rows with the next batch."""
        self._waiting.append(order)
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def drained(self) -> None:
        """Wait until everything that was submitted is settled."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                failure: StoreError | None = None
                try:
                    await self._loop.run_in_executor(self._executor, self._write, batch)
                except StoreError as error:
                    failure = error
                except Exception as error:  # noqa: BLE001 - whatever it was, somebody waits for an answer
                    failure = StoreError(f"the database did not take a commit: {type(error).__name__}: {error}")
                self._settle(batch, failure)
        finally:
            self._task = None
