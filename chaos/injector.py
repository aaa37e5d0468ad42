"""Walks the schedule in planned time: each fault at its own moment, whatever became of earlier ones. Judges nothing.

A proxy that hangs, crashes or refuses an order is replaced, its window is marked as the harness's failure, and the walk
goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

from resilience.errors import ToxiproxyError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.faults import CutFault
from resilience.experiment.schedule import FaultWindow
from resilience.lab.canary import Canary
from resilience.runtime import RunClock
from resilience.units import Instant, Seconds

from .journal import Journal
from .link_faults import injected
from .proxied_link import Address, ProxiedLink
from .toxiproxy.client import CallTimes

PREPARE_S: Seconds = 1.0
"""How long before a fault its canary takes hold of the link."""

CONFIRM_TIMEOUT_S: Seconds = 3.0
"""A fault that no canary saw after this long was not one."""

CLEAR_TIMEOUT_S: Seconds = 5.0
"""A link that does not answer this long after the fault's end has not healed."""

WATCH_INTERVAL_S: Seconds = 0.25


class Injector:
    """Carries out fault windows on the links (by cohort); ``active`` names the faults in force."""

    def __init__(self, links: Mapping[str, ProxiedLink], server: Address, clock: RunClock, journal: Journal) -> None:
        self._links, self._server, self._clock, self._journal = links, server, clock, journal
        self.active: dict[str, FaultWindow] = {}

    async def run_schedule(self, windows: Sequence[FaultWindow], until: Instant) -> None:
        """Inject every window at its planned time; returns when all are over and seen to, or ``until`` has passed."""
        async with asyncio.TaskGroup() as group:
            for window in windows:
                group.create_task(self._carry_out(window, until))

    async def guard(self) -> None:
        """Replace proxies that die between faults; never returns."""
        while True:
            for link in self._links.values():
                seen = link.generation
                if not link.process.alive:
                    cause = f"toxiproxy of {link.cohort} ended with exit code {link.process.exit_code}"
                    if await link.replace(seen):
                        self._journal.run(LogEventKind.HARNESS_FAILED, cause=cause)
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def _carry_out(self, window: FaultWindow, until: Instant) -> None:
        link = self._links[window.cohort]
        await self._sleep_until(window.starts_at - PREPARE_S)
        seen = link.generation
        async with Canary(link.address, self._server) as canary:
            await canary.prepare(max(window.starts_at - self._clock.now(), PREPARE_S / 4))
            await self._sleep_until(window.starts_at)
            try:
                healed_at = await self._impose(window, link, canary)
            except ToxiproxyError as error:
                await self._replace_proxy(window, link, seen, error)
                return
            finally:
                self.active.pop(window.fault_id, None)
            limit = min(CLEAR_TIMEOUT_S, until - self._clock.now())
            await self._await_canary(
                LogEventKind.FAULT_CLEARED, window, canary.wait_until_healthy(), since=healed_at, limit=limit
            )

    async def _impose(self, window: FaultWindow, link: ProxiedLink, canary: Canary) -> Instant:
        """Have the fault in force for its window, and watched; returns when it ended."""
        watching: asyncio.Task[None] | None = None
        try:
            async with injected(link, window.fault) as fault:
                self.active[window.fault_id] = window
                started_at = self._record_call(
                    LogEventKind.FAULT_STARTED, window, fault.began, planned=window.starts_at
                )
                watching = asyncio.create_task(self._confirm(window, canary, started_at))
                await self._sleep_until(window.ends_at)
            ended_at = self._record_call(LogEventKind.FAULT_ENDED, window, fault.ended, planned=window.ends_at)
            await watching
        finally:
            if watching is not None:
                watching.cancel()
        return ended_at

    async def _confirm(self, window: FaultWindow, canary: Canary, since: Instant) -> None:
        if canary.problem is not None:
            self._journal.fault(LogEventKind.FAULT_INVALID, window, cause=canary.problem)
            return
        limit = (
            CONFIRM_TIMEOUT_S
            if isinstance(window.fault, CutFault)
            else min(CONFIRM_TIMEOUT_S, window.ends_at - self._clock.now())
        )
        seen = canary.wait_until_faulty(window.fault)
        await self._await_canary(LogEventKind.FAULT_CONFIRMED, window, seen, since=since, limit=limit)

    async def _await_canary(
        self, kind: LogEventKind, window: FaultWindow, seen: Awaitable[None], *, since: Instant, limit: Seconds
    ) -> None:
        """Record ``kind`` when the canary has ``seen`` it, or the window's invalidity after ``limit`` seconds."""
        try:
            async with asyncio.timeout(limit):
                await seen
        except TimeoutError:
            edge = "begin" if kind is LogEventKind.FAULT_CONFIRMED else "end"
            cause = f"the canary did not see the fault {edge} within {max(limit, 0.0):.1f} s"
            self._journal.fault(LogEventKind.FAULT_INVALID, window, cause=cause)
        else:
            self._journal.fault(kind, window, value=max(self._clock.now() - since, 0.0))

    async def _replace_proxy(self, window: FaultWindow, link: ProxiedLink, seen: int, error: ToxiproxyError) -> None:
        """Replace the proxy, unless that was done already, and say so in the log."""
        begun = window.fault_id in self.active
        self._journal.run(LogEventKind.HARNESS_FAILED, ref=window.fault_id, cause=str(error))
        self._journal.fault(LogEventKind.FAULT_INVALID, window, cause=f"the proxy failed: {error}")
        await link.replace(seen)
        if begun:
            self._journal.fault(LogEventKind.FAULT_ENDED, window, value=window.ends_at)

    def _record_call(self, kind: LogEventKind, window: FaultWindow, call: CallTimes, *, planned: Instant) -> Instant:
        before, after = call.before - self._clock.epoch, call.after - self._clock.epoch
        self._journal.fault(kind, window, t=before, value=planned, detail=f"{before:.6f}..{after:.6f}")
        return before

    async def _sleep_until(self, when: Instant) -> None:
        await asyncio.sleep(max(when - self._clock.now(), 0.0))
