"""A request to end a run early, from any thread or signal handler. Knows nothing of signals, loops or lanes.

The first request ends a run in order. An abort ends it at once: a lane kills what the ending would wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


def _do_nothing() -> None:
    """Kill nothing: a lane without processes waits for none."""


class Cancellation:
    """Requested at most once and aborted at most once; a lane binds what carries both out.

    ``reason`` is that of the request, ``aborted`` that of the abort.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may interrupt a holder in its own thread
        self._cancel: Callable[[], None] | None = None
        self._kill: Callable[[], None] = _do_nothing
        self._masked = False
        self.reason: str | None = None
        self.aborted: str | None = None

    def request(self, reason: str) -> bool:
        """Ask for the run's end; returns whether that has an effect: it has none once the run is ending by itself."""
        with self._lock:
            if self._masked or self.reason is not None:
                return False
            self.reason = reason
            cancel = self._cancel
        if cancel is not None:
            cancel()
        return True

    def abort(self, reason: str) -> None:
        """End the run at once, also while it is ending: whatever it waits for is killed. Later aborts do nothing."""
        self.request(reason)
        with self._lock:
            if self.aborted is not None:
                return
            self.aborted = reason
            kill = self._kill
        kill()

    def bind(self, cancel: Callable[[], None]) -> None:
        """Have this called on a request, at once if it was made already. It is called from the requester's thread."""
        with self._lock:
            self._cancel = cancel
            requested = self.reason is not None
        if requested:
            cancel()

    def bind_abort(self, kill: Callable[[], None]) -> None:
        """Have this called on an abort, at once if there was one already. It is called from the requester's thread."""
        with self._lock:
            self._kill = kill
            aborted = self.aborted is not None
        if aborted:
            kill()

    @property
    def masked(self) -> bool:
        """Whether the run cleans up, so that a request that is still on its way must not interrupt it."""
        return self._masked

    def mask(self) -> None:
        """From now on the run cleans up: requests have no effect any more."""
        with self._lock:
            self._masked = True
