"""A standing probe of the server, straight to it, for the whole run: since when it does not answer, and for how long.

:class:`SilenceMeter` decides, from single observations and their times; :class:`ServerWatch` makes them and records. A
silence that a fault explains is recorded as planned. Any other that lasts :data:`HANG_S` is the server's failure. Time
in which the observer itself stood still counts for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from resilience.errors import SystemFailedError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.units import Instant, Seconds

from .canary import ProbeResult
from .recorder import RunRecorder

PROBE_INTERVAL_S: Seconds = 0.5
"""Pause between two probes, and between two readings of one that is not answered yet."""

SHOWN_S: Seconds = 1.0
"""A probe that is not answered for so long is a silence worth a record; a busy server takes less."""

HANG_S: Seconds = 10.0
"""A server that answered nothing for so long has stopped. Ten times what a server under load was seen to take."""

RESTART_S: Seconds = 20.0
"""A restart explains a silence for so long; it takes 1.5 s on an idle machine and 5 s on a busy one."""

Probe = Callable[[], Coroutine[Any, Any, ProbeResult]]


class SilenceMeter:
    """Measures the server's silences. ``since``: when the first probe that got no answer was sent."""

    def __init__(self, limit: Seconds = HANG_S) -> None:
        self._limit = limit
        self._counted: Seconds = 0.0
        self.since: Instant | None = None
        self.is_shown = False
        self.is_planned = False
        self._ended_at: Instant | None = None

    def wait(self, asked_at: Instant, step: Seconds, *, planned: bool) -> bool:
        """No answer yet to a probe of ``asked_at``; ``step`` seconds have passed since the last observation.

        Returns whether the silence is to be recorded now. What a fault explains is not counted, nor what passed while
        the observer was not running.
        """
        if self.since is None:
            self.since = asked_at
        self.is_planned = self.is_planned or planned
        self._counted = 0.0 if planned else self._counted + min(step, 2 * PROBE_INTERVAL_S)
        if self.is_shown or (self._counted < SHOWN_S and not planned):
            return False
        self.is_shown = True
        return True

    def answer(self, now: Instant) -> Seconds | None:
        """A probe was answered; returns how long the recorded silence lasted that ends with it."""
        lasted = now - self.since if self.is_shown and self.since is not None else None
        self._ended_at = self._ended_at if lasted is None else now
        self.since, self.is_shown, self.is_planned, self._counted = None, False, False, 0.0
        return lasted

    def was_silent(self, since: Instant) -> bool:
        """Whether the server is silent now, or was after ``since``."""
        return self.is_shown or (self._ended_at is not None and self._ended_at > since)

    @property
    def failure(self) -> str | None:
        """What is wrong with a server that has been silent for too long."""
        if self.since is None or self._counted < self._limit:
            return None
        if self.is_planned:
            return f"the server did not answer again after the fault that silenced it at {self.since:.1f} s"
        return f"the server stopped answering at {self.since:.1f} s, for {self._counted:.0f} s"


class ServerWatch:
    """Probes the server and records its silences; ``is_planned``: whether a fault explains its silence now."""

    def __init__(
        self,
        probe: Probe,
        now: Callable[[], Instant],
        is_planned: Callable[[], bool],
        recorder: RunRecorder,
        meter: SilenceMeter,
    ) -> None:
        self._probe, self._now, self._is_planned = probe, now, is_planned
        self._recorder, self.meter = recorder, meter
        self._seen_at = now()

    async def run(self) -> None:
        """Probe until cancelled; SystemFailedError when the server is silent for too long and no fault explains it."""
        while True:
            asked_at = self._seen_at = self._now()
            result = await self._ask(asked_at)
            if result is ProbeResult.ANSWERED:
                self._note_answer()
            await asyncio.sleep(PROBE_INTERVAL_S)
            if result is not ProbeResult.ANSWERED:
                self._note_silence(asked_at, result)

    async def _ask(self, asked_at: Instant) -> ProbeResult:
        """The result of one probe, which may take as long as the server's silence lasts."""
        probing = asyncio.ensure_future(self._probe())
        try:
            while not (await asyncio.wait({probing}, timeout=PROBE_INTERVAL_S))[0]:
                self._note_silence(asked_at, ProbeResult.SILENT)
        finally:
            probing.cancel()
        return probing.result()

    def _note_answer(self) -> None:
        lasted = self.meter.answer(self._now())
        if lasted is not None:
            self._recorder.record_run(LogEventKind.SERVER_ANSWERS, value=lasted)

    def _note_silence(self, asked_at: Instant, met: ProbeResult) -> None:
        step, self._seen_at = self._now() - self._seen_at, self._now()
        planned = self._is_planned()
        if self.meter.wait(asked_at, step, planned=planned):
            cause = "planned" if planned else met.value
            self._recorder.record_run(LogEventKind.SERVER_SILENT, t=self.meter.since, cause=cause)
        if self.meter.failure is not None:
            raise SystemFailedError(self.meter.failure, has_ended=False)
