"""SIGINT, SIGTERM and SIGHUP as the end of a run or of a command: the command line's affair only.

The first signal ends in order, the second at once, and the third has the system's own effect. Each is answered by a
line. A signal that the process was started to ignore, as ``nohup`` does with SIGHUP, stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from resilience.errors import CommandInterruptedError

from .cancellation import Cancellation

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]


@contextmanager
def cancelled_by_signals(cancellation: Cancellation, say: Say) -> Iterator[None]:
    """Turn signals into requests on ``cancellation`` for as long as the block lasts. From the main thread only.

    The first one requests the run's end, the second one aborts it. ``say`` is called by the handler.
    """

    def request(name: str) -> None:
        ends = "the run ends now" if cancellation.request(name) else "the run is ending"
        say(f"{name}: {ends}; it stops its processes and stores its history first. A second signal ends it at once")

    def abort(name: str) -> None:
        cancellation.abort(name)
        say(f"{name}: the run ends at once; its processes are killed, and their last records are lost")

    with _handled_by(request, abort):
        yield


class _Interrupt(KeyboardInterrupt):
    """Raised by a handler in whatever the main thread does; libraries let it pass."""


@contextmanager
def interrupted_by_signals(say: Say, remedy: Callable[[], str]) -> Iterator[None]:
    """Let the first signal end the block with CommandInterruptedError. From the main thread only.

    ``remedy`` says in that error what the user has now, or may do. For work without processes of its own, or none that
    survive an exception. The second signal is only answered by ``say``: what was begun is removed first.
    """

    def interrupt(name: str) -> None:
        raise _Interrupt(name)

    def wait(name: str) -> None:
        say(f"{name}: the command is ending; it removes what it began. A third signal ends it at once")

    try:
        with _handled_by(interrupt, wait):
            yield
    except _Interrupt as interrupted:
        raise CommandInterruptedError(f"interrupted by {interrupted}; {remedy()}") from None


@contextmanager
def _handled_by(*steps: Callable[[str], None]) -> Iterator[None]:
    """Call the next of ``steps`` with the name of each signal that comes; after the last one signals end the process.

    A line that interrupts the writing of another one is lost.
    """
    left = list(steps)

    def handle(number: int, _: FrameType | None) -> None:
        if not left:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        with contextlib.suppress(RuntimeError):
            left.pop(0)(signal.Signals(number).name)

    heeded = [number for number in SIGNALS if signal.getsignal(number) not in {signal.SIG_IGN, None}]
    handlers = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
