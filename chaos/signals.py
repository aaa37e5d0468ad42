"""SIGINT and SIGTERM as one orderly cancellation: the first cancels the run, later ones cannot break its clean-up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalCancellation:
    """Which signal ended the run, if one did."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._masked = False
        self.by: str | None = None

    def mask(self) -> None:
        """From now on the task is cleaning up: no signal stops it any more."""
        self._masked = True

    def arrive(self, number: signal.Signals) -> None:
        """Cancel the task, once and not while it cleans up."""
        if self.by is None and not self._masked:
            self.by = number.name
            self._task.cancel()


@contextmanager
def interruptible() -> Iterator[SignalCancellation]:
    """Let signals cancel the current task for as long as the block lasts. From the main thread only."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be interrupted")
    signals = SignalCancellation(task)
    for number in _SIGNALS:
        loop.add_signal_handler(number, signals.arrive, number)
    try:
        yield signals
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
