"""Carries out fault windows on the virtual links, each at its planned time, and has a canary see it begin and end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from resilience.eventlog.writer import EventSink
from resilience.events import Event, EventKind, Lane, Role
from resilience.experiment.faults import AnyFault, Blackhole, Cut, Direction, FaultWindow, Refuse
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .network import Link

SILENCE: Seconds = 0.25
"""A canary that gets no answer for this long is in a hole; links answer within milliseconds."""


class Injector:
    """Walks a schedule. ``links`` by cohort; every fault is undone however the walk ends."""

    def __init__(self, links: Mapping[str, Link], host: str, clock: RunClock, sink: EventSink) -> None:
        self._links, self._host, self._clock, self._sink = links, host, clock, sink

    async def walk(self, windows: Sequence[FaultWindow], *, until: Instant) -> None:
        """Inject every window at its time; returns when all have ended."""
        async with asyncio.timeout(until - self._clock.now()), asyncio.TaskGroup() as group:
            for window in windows:
                group.create_task(self._inject(window))

    async def _inject(self, window: FaultWindow) -> None:
        link, fault = self._links[window.cohort], window.fault
        canary = Canary(self._host, link.port)
        await self._sleep_until(window.starts_at - 2 * SILENCE)
        await canary.hold()
        await self._sleep_until(window.starts_at)
        try:
            begin(link, fault)
            self._write(EventKind.FAULT_STARTED, window, value=window.starts_at)
            await self._confirm(EventKind.FAULT_CONFIRMED, window, canary.sees(fault))
            await self._sleep_until(window.ends_at)
        finally:
            end(link, fault)
            self._write(EventKind.FAULT_ENDED, window, value=window.ends_at)
        await self._confirm(EventKind.FAULT_CLEARED, window, canary.answered())

    async def _confirm(self, kind: EventKind, window: FaultWindow, seen: Awaitable[bool]) -> None:
        since = self._clock.now()
        if await seen:
            self._write(kind, window, value=self._clock.now() - since)
        else:
            self._write(EventKind.FAULT_INVALID, window, cause=f"no {kind.value} by the canary")

    async def _sleep_until(self, when: Instant) -> None:
        await asyncio.sleep(max(when - self._clock.now(), 0.0))

    def _write(
        self, kind: EventKind, window: FaultWindow, *, value: float | None = None, cause: str | None = None
    ) -> None:
        now, who = self._clock.now(), window.cohort
        self._sink.write(
            Event(now, Lane.VIRTUAL, Role.INJECTOR, who, kind, who, value=value, cause=cause, ref=window.fault_id)
        )


def begin(link: Link, fault: AnyFault) -> None:
    """Put the fault on the link."""
    match fault:
        case Cut():
            link.cut()
        case Refuse():
            link.refuse(True)  # noqa: FBT003 - the link's own switch
        case Blackhole():
            link.blackhole(up=fault.direction is not Direction.DOWN, down=fault.direction is not Direction.UP)


def end(link: Link, fault: AnyFault) -> None:
    """Take the fault off the link; harmless twice."""
    match fault:
        case Refuse():
            link.refuse(False)  # noqa: FBT003 - the link's own switch
        case Blackhole():
            link.blackhole(up=False, down=False)
        case Cut():
            pass


class Canary:
    """One held connection and as many fresh ones as it takes to see what the link does to them."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def hold(self) -> None:
        """Open the connection that a cut must close."""
        with suppress(OSError):  # a link that is down already is seen as such by the fresh ones
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def sees(self, fault: AnyFault) -> bool:
        """Whether the fault shows: held connection ended, fresh one refused, or fresh one never answered."""
        if isinstance(fault, Cut):
            return await self._held_ended()
        expected = "refused" if isinstance(fault, Refuse) else "silent"
        return await self._ask() == expected

    async def answered(self) -> bool:
        """Whether a fresh connection is answered."""
        if self._writer is not None:
            self._writer.close()
        return await self._ask() == "answered"

    async def _held_ended(self) -> bool:
        if self._reader is None:
            return False
        return await _within(SILENCE, self._reader.read) == b""

    async def _ask(self) -> str:
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except ConnectionRefusedError:
            return "refused"
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n")
        answer = await _within(SILENCE, lambda: reader.read(64))
        writer.transport.abort()
        if answer is None:
            return "silent"
        return "answered" if answer.startswith(b"HTTP/1.1 200") else "closed"


async def _within(seconds: Seconds, read: Callable[[], Awaitable[bytes]]) -> bytes | None:
    try:
        async with asyncio.timeout(seconds):
            return await read()
    except TimeoutError:
        return None
