"""Walks the schedule in planned time: each window at its own moment, whatever became of earlier ones. Judges nothing.

One walk for every lane. A window is three steps: hold the place with a canary, begin, end; each is recorded, as is what
the canary saw. An operation that fails marks its window as the laboratory's failure, the place is repaired, and the
walk continues. Windows at one place add up: while another one masks a symptom, the begin or end that cannot be seen
apart from it is recorded as masked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

from resilience.errors import InjectionError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.primitives import FaultTarget, Operation
from resilience.experiment.schedule import SERVER, FaultWindow
from resilience.units import Instant, Seconds

from .recorder import RunRecorder
from .system import CallTimes, Canary, FaultableLink, FaultableServer, System

PREPARE_S: Seconds = 1.0
"""How long before a fault its canary takes hold of the place."""

CONFIRM_S: Seconds = 3.0
"""A fault that no canary saw after this long was not one."""

CLEAR_S: Seconds = 5.0
"""A place that does not work this long after the fault's end has not healed."""

TOUCH_S: Seconds = 1e-6
"""An end that coincides with another window's begin at the same place comes so much later: there is no gap between."""

Place = FaultableLink | FaultableServer


class FaultInjector:
    """Injects the windows of one run. ``active`` holds those that are in force, by fault id."""

    def __init__(self, system: System, recorder: RunRecorder) -> None:
        self._system, self._recorder, self._clock = system, recorder, system.clock
        self._begins: set[tuple[str, Instant]] = set()
        self.active: dict[str, FaultWindow] = {}

    async def run_schedule(self, windows: Sequence[FaultWindow], until: Instant) -> None:
        """Inject every window at its planned time; returns when all are over and seen to, or at ``until``.

        Every operation that began is undone, however this ends.
        """
        self._begins = {(window.place, window.starts_at) for window in windows}
        await self._clock.run_all([self._inject(window, until) for window in windows])

    async def _inject(self, window: FaultWindow, until: Instant) -> None:
        places = self._places(window)
        await self._clock.sleep_until(window.starts_at - PREPARE_S)
        async with AsyncExitStack() as stack:
            canaries = [await stack.enter_async_context(place.canary()) for place in places]
            within = max(window.starts_at - self._clock.now(), PREPARE_S / 4)
            await self._clock.run_all([canary.prepare(within) for canary in canaries])
            await self._clock.sleep_until(window.starts_at)
            try:
                healed_at = await self._hold(window, places, canaries, until)
            except InjectionError as error:
                await self._give_up(window, places, error)
                return
            finally:
                self.active.pop(window.fault_id, None)
            await self._record_health(window, canaries, since=healed_at, until=until)

    def _places(self, window: FaultWindow) -> list[Place]:
        if window.fault.target is FaultTarget.SERVER:
            return [self._system.server]
        return [self._system.links[name] for name in window.links]

    # in force ---------------------------------------------------------------------------------------------------------

    async def _hold(
        self, window: FaultWindow, places: Sequence[Place], canaries: Sequence[Canary], until: Instant
    ) -> Instant:
        """Have the window in force until its end, and watched; returns when it ended."""
        try:
            began = await self._apply(places, window.fault.composition.begin)
            masks = self._masks(window)
            self.active[window.fault_id] = window
            self._record_edge(LogEventKind.FAULT_STARTED, window, began, planned=window.starts_at)
            watching = self._record_symptom(window, canaries, began.before, masks)
            if window.fault.length:
                await self._clock.run_all([watching, self._clock.sleep_until(min(self._end_of(window, began), until))])
        except BaseException:
            await self._undo_quietly(window, places)
            raise
        ended = await self._apply(places, window.fault.composition.end)
        self._record_edge(LogEventKind.FAULT_ENDED, window, ended, planned=window.ends_at)
        if not window.fault.length:
            await watching
        return ended.before

    def _end_of(self, window: FaultWindow, began: CallTimes) -> Instant:
        touches = (window.place, window.ends_at) in self._begins
        planned = window.ends_at + (TOUCH_S if touches else 0.0)
        lasts = window.fault.lasts
        return planned if lasts is None else min(began.before + lasts, planned)

    async def _apply(self, places: Sequence[Place], operations: Sequence[Operation]) -> CallTimes:
        now = self._clock.now()
        calls = [await place.apply(operation) for operation in operations for place in places]  # type: ignore[arg-type]
        return CallTimes(calls[0].before, calls[-1].after) if calls else CallTimes(now, now)

    async def _undo_quietly(self, window: FaultWindow, places: Sequence[Place]) -> None:
        """Undo what can be undone; what cannot goes with the place, which is repaired or ended next."""
        for operation in window.fault.composition.end:
            for place in places:
                with contextlib.suppress(InjectionError):
                    await place.apply(operation)  # type: ignore[arg-type]

    async def _give_up(self, window: FaultWindow, places: Sequence[Place], error: InjectionError) -> None:
        """Record that the laboratory failed this window, and repair its places."""
        begun = window.fault_id in self.active
        self._recorder.record_run(LogEventKind.HARNESS_FAILED, ref=window.fault_id, cause=str(error))
        self._recorder.record_fault(LogEventKind.FAULT_INVALID, window, cause=f"the injection failed: {error}")
        for place in places:
            await place.repair()
        if begun:
            self._recorder.record_fault(LogEventKind.FAULT_ENDED, window, value=window.ends_at)

    # what the canary sees ---------------------------------------------------------------------------------------------

    def _masks(self, window: FaultWindow) -> list[str]:
        """The windows in force whose symptoms may hide those of this one."""
        return [
            other.fault_id
            for other in self.active.values()
            if other.fault_id != window.fault_id
            and (other.place in {SERVER, window.place} or set(other.links) & set(window.links))
        ]

    async def _record_symptom(
        self, window: FaultWindow, canaries: Sequence[Canary], since: Instant, masks: Sequence[str]
    ) -> None:
        within = min(CONFIRM_S, window.ends_at - self._clock.now()) if window.fault.length else CONFIRM_S
        problem = next((canary.problem for canary in canaries if canary.problem), None)
        symptom = window.fault.composition.symptom
        if problem is None and await self._all_saw([canary.saw_symptom(symptom, within) for canary in canaries]):
            value = max(self._clock.now() - since, 0.0)
            self._recorder.record_fault(LogEventKind.FAULT_CONFIRMED, window, value=value)
        elif masks:
            detail = f"masked by {', '.join(masks)}"
            self._recorder.record_fault(LogEventKind.FAULT_CONFIRMED, window, value=0.0, detail=detail)
        else:
            cause = problem or f"the canary did not see the fault begin within {max(within, 0.0):.1f} s"
            self._recorder.record_fault(LogEventKind.FAULT_INVALID, window, cause=cause)

    async def _record_health(
        self, window: FaultWindow, canaries: Sequence[Canary], *, since: Instant, until: Instant
    ) -> None:
        left = until - self._clock.now()
        within = max(min(CLEAR_S, left), 0.0)
        if not self._masks(window) and await self._all_saw([canary.saw_health(within) for canary in canaries]):
            value = max(self._clock.now() - since, 0.0)
            self._recorder.record_fault(LogEventKind.FAULT_CLEARED, window, value=value)
        elif masks := self._masks(window):
            detail = f"masked by {', '.join(masks)}"
            self._recorder.record_fault(LogEventKind.FAULT_CLEARED, window, value=0.0, detail=detail)
        elif left > CLEAR_S:  # a run that ends earlier has not seen that it did not heal
            cause = f"the canary did not see the fault end within {within:.1f} s"
            self._recorder.record_fault(LogEventKind.FAULT_INVALID, window, cause=cause)

    async def _all_saw(self, looks: Sequence[Coroutine[Any, Any, bool]]) -> bool:
        """Examine all places at once; whether every canary saw it."""
        seen: list[bool] = []

        async def look_into(look: Coroutine[Any, Any, bool]) -> None:
            seen.append(await look)

        await self._clock.run_all([look_into(look) for look in looks])
        return all(seen)

    def _record_edge(self, kind: LogEventKind, window: FaultWindow, call: CallTimes, *, planned: Instant) -> None:
        bracket = f"{call.before:.6f}..{call.after:.6f}"
        self._recorder.record_fault(kind, window, t=call.before, value=planned, detail=bracket)
