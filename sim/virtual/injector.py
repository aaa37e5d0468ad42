"""Carries out fault windows on the virtual links, each at its planned time, and has a canary see it begin and end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventSink
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault
from resilience.experiment.primitives import Direction
from resilience.experiment.schedule import FaultWindow
from resilience.lab.canary import Canary, HostPort
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .network import VirtualLink

PREPARE_S: Seconds = 0.5
"""How long before its window a canary looks at the link and takes hold of it."""

CANARY_TIMEOUT_S: Seconds = 2.0
"""A fault that no canary saw begin, or end, after this long was none."""


class Injector:
    """Walks a schedule. ``links`` by cohort, ``server`` behind them; every fault is undone however the walk ends."""

    def __init__(self, links: Mapping[str, VirtualLink], server: HostPort, clock: RunClock, sink: EventSink) -> None:
        self._links, self._server, self._clock, self._sink = links, server, clock, sink

    async def walk(self, windows: Sequence[FaultWindow], *, until: Instant) -> None:
        """Inject every window at its time; returns when all have ended."""
        async with asyncio.timeout(until - self._clock.now()), asyncio.TaskGroup() as group:
            for window in windows:
                group.create_task(self._inject(window))

    async def _inject(self, window: FaultWindow) -> None:
        link, fault = self._links[window.cohort], window.fault
        async with Canary((self._server[0], link.port), self._server) as canary:
            await self._sleep_until(window.starts_at - PREPARE_S)
            await canary.prepare(PREPARE_S)
            await self._sleep_until(window.starts_at)
            try:
                begin(link, fault)
                self._write(LogEventKind.FAULT_STARTED, window, value=window.starts_at)
                await self._see(LogEventKind.FAULT_CONFIRMED, window, canary.wait_until_faulty(fault), canary.problem)
                await self._sleep_until(window.ends_at)
            finally:
                end(link, fault)
                self._write(LogEventKind.FAULT_ENDED, window, value=window.ends_at)
            await self._see(LogEventKind.FAULT_CLEARED, window, canary.wait_until_healthy())

    async def _see(
        self, kind: LogEventKind, window: FaultWindow, seen: Coroutine[object, object, None], doubt: str | None = None
    ) -> None:
        since = self._clock.now()
        try:
            async with asyncio.timeout(0 if doubt else CANARY_TIMEOUT_S):
                await seen
        except TimeoutError:
            cause = doubt or f"no {kind.value} by the canary within {CANARY_TIMEOUT_S:g} s"
            self._write(LogEventKind.FAULT_INVALID, window, cause=cause)
        else:
            self._write(kind, window, value=self._clock.now() - since)

    async def _sleep_until(self, when: Instant) -> None:
        await asyncio.sleep(max(when - self._clock.now(), 0.0))

    def _write(
        self, kind: LogEventKind, window: FaultWindow, *, value: float | None = None, cause: str | None = None
    ) -> None:
        now, who = self._clock.now(), window.cohort
        self._sink.write(
            LogEvent(now, Lane.VIRTUAL, Role.INJECTOR, who, kind, who, value=value, cause=cause, ref=window.fault_id)
        )


def begin(link: VirtualLink, fault: AnyFault) -> None:
    """Put the fault on the link."""
    match fault:
        case CutFault():
            link.cut()
        case RefuseFault():
            link.refuse(True)  # noqa: FBT003 - the link's own switch
        case BlackholeFault():
            link.blackhole(up=fault.direction is not Direction.DOWN, down=fault.direction is not Direction.UP)


def end(link: VirtualLink, fault: AnyFault) -> None:
    """Take the fault off the link; harmless twice."""
    match fault:
        case RefuseFault():
            link.refuse(False)  # noqa: FBT003 - the link's own switch
        case BlackholeFault():
            link.blackhole(up=False, down=False)
        case CutFault():
            pass
