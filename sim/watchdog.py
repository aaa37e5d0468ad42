"""Ends a simulation in which virtual time stands still: code under test that spins, or blocks its thread.

The simulation runs in a thread of its own, and the caller's thread watches. A loop in Python code is ended by an
exception; a thread that is blocked for good is left behind, as it cannot hold up the process's end. Knows a clock's
reading and nothing of loops, lanes or servers.
"""

from __future__ import annotations

import contextvars
import ctypes
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from resilience.errors import SystemFailedError
from resilience.lab.cancellation import Cancellation
from resilience.units import Instant, Seconds

T = TypeVar("T")

STALL_S: Seconds = 30.0
"""Virtual time that stands still for so long of real time will not move again; an instant takes milliseconds."""

STALL_PER_CLIENT_S: Seconds = 0.002
"""Added for each client: all are made, and all that they were shown is written, at one instant of virtual time."""

WATCH_INTERVAL_S: Seconds = 0.25
ENDING_TRIES = 20
"""How often, once in each interval, the stalled thread is asked to end before it is left behind."""


class SimulationStoppedError(SystemExit):
    """Raised inside a stalled simulation. No ``except Exception`` and no event loop holds it up."""


class StallMeter:
    """Counts for how long a clock has shown the same time. Pure."""

    def __init__(self, limit: Seconds) -> None:
        self.limit, self.counted = limit, 0.0
        self._shown: Instant | None = None

    def note(self, shown: Instant | None, step: Seconds) -> bool:
        """Whether the clock, which shows this time ``step`` seconds after the last note, has stood still for too long.

        A step counts as two intervals at most: a suspended process observes nothing.
        """
        self.counted = self.counted + min(step, 2 * WATCH_INTERVAL_S) if shown == self._shown else 0.0
        self._shown = shown
        return self.counted >= self.limit


class Watchdog:
    """Runs one simulation at a time. ``now``: its virtual clock, once it has one; ``limit`` as of the meter."""

    def __init__(self, limit: Seconds = STALL_S) -> None:
        self._limit = limit
        self.meter = StallMeter(limit)
        self.now: Callable[[], Instant] | None = None

    def expect_clients(self, clients: int) -> None:
        """Allow for the size of the run."""
        self.meter.limit = self._limit + STALL_PER_CLIENT_S * clients

    def run(self, work: Callable[[], T], cancellation: Cancellation) -> T:
        """Run ``work`` to its end and return or raise what it does.

        :class:`~resilience.errors.SystemFailedError`, with the stack, when virtual time stands still for too long. An
        interrupt of the caller's thread, which only the main thread meets, is a request on ``cancellation`` and is
        raised once the simulation has ended. Any thread may call this, a simulation's included.
        """
        self.meter, self.now = StallMeter(self._limit), None
        simulation = _Simulation(work)
        try:
            simulation.thread.start()
            while not simulation.has_ended(WATCH_INTERVAL_S):
                if self.meter.note(self._shown(), WATCH_INTERVAL_S):
                    raise self._stop(simulation)
        except KeyboardInterrupt:
            cancellation.request("SIGINT")
            simulation.has_ended(self.meter.limit)
            raise
        return simulation.result()

    def _shown(self) -> Instant | None:
        return None if self.now is None else self.now()

    def _stop(self, simulation: _Simulation[T]) -> SystemFailedError:
        shown, stack = self._shown() or 0.0, simulation.stack()
        for _ in range(ENDING_TRIES):
            simulation.interrupt()
            if simulation.has_ended(WATCH_INTERVAL_S):
                break
        lasted = f"no virtual time passed for {self.meter.counted:.0f} s of real time"
        return SystemFailedError(f"the server stopped: {lasted}, at {shown:.1f} s of the run", evidence=stack)


class _Simulation(Generic[T]):
    """One simulation in its thread, in a copy of the caller's context."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        target = contextvars.copy_context().run
        self.thread = threading.Thread(target=target, args=(self._run,), name="simulation", daemon=True)

    def has_ended(self, within: Seconds) -> bool:
        """Whether it ends within so many seconds."""
        self.thread.join(within)
        return not self.thread.is_alive()

    def result(self) -> T:
        """What the work returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]

    def stack(self) -> str:
        """Where its thread is now."""
        frame = sys._current_frames().get(self.thread.ident or 0)  # noqa: SLF001 - documented, for debugging
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def interrupt(self) -> None:
        """Raise :class:`SimulationStoppedError` in it, as soon as it runs Python code."""
        ident, raised = ctypes.c_ulong(self.thread.ident or 0), ctypes.py_object(SimulationStoppedError)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, raised)

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self._error = error
