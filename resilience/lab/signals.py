"""SIGINT and SIGTERM as a request to end a run: the command line's affair only."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .cancellation import Cancellation

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def cancelled_by_signals(cancellation: Cancellation, say: Callable[[str], None]) -> Iterator[None]:
    """Turn signals into requests on ``cancellation`` for as long as the block lasts. From the main thread only.

    A signal without effect, since the run is ending already, is only answered by ``say``, which the handler calls.
    """

    def handle(number: int, _: FrameType | None) -> None:
        if not cancellation.request(signal.Signals(number).name):
            say("the run is ending; it stops its processes and stores its history first")

    handlers = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
