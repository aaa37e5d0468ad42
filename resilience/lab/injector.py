"""Walks the schedule in planned time: each window at its own moment, whatever became of earlier ones. Judges nothing.

One walk for every lane. A window is three steps: hold the place with a canary, begin, end; each is recorded, as is what
the canary saw. An operation that fails, or comes later than allowed, marks its window as the laboratory's failure; a
place whose operation failed is repaired, and the walk continues. Windows at one place add up: while another one masks
a symptom, the begin or end that cannot be seen apart from it is recorded as masked. So it is while the server itself
is silent: what a canary misses then is not the network's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from resilience.errors import InjectionError, SystemFailedError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.primitives import ConnectionsEnd, FaultTarget, Operation, SuspendClients, Symptom
from resilience.experiment.schedule import SERVER, FaultWindow
from resilience.units import Instant, Seconds

from .health import allowed_lateness
from .recorder import RunRecorder
from .server_watch import RESTART_S
from .system import CallTimes, Canary, FaultableClients, FaultableLink, FaultableServer, System

PREPARE_S: Seconds = 1.0
"""How long before a fault its canary takes hold of the place."""

CONFIRM_S: Seconds = 3.0
"""A fault that no canary saw after this long was not one."""

CLEAR_S: Seconds = 5.0
"""A place that does not work this long after the fault's end has not healed."""

TOUCH_S: Seconds = 1e-6
"""An end that coincides with another window's begin at the same place comes so much later: there is no gap between."""

Place = FaultableLink | FaultableServer | FaultableClients


class _Watch(NamedTuple):
    """The canaries of one window, since when they prepare, and why one of them can see nothing."""

    canaries: Sequence[Canary]
    preparing_at: Instant
    problem: str | None


class FaultInjector:
    """Injects the windows of one run. ``active`` holds those that are in force, by fault id."""

    def __init__(self, system: System, recorder: RunRecorder) -> None:
        self._system, self._recorder, self._clock = system, recorder, system.clock
        self._begins: set[tuple[str, Instant]] = set()
        self._ended: list[tuple[FaultWindow, Instant]] = []
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
            preparing_at = self._clock.now()
            within = max(window.starts_at - preparing_at, PREPARE_S / 4)
            await self._clock.run_all([canary.prepare(within) for canary in canaries])
            await self._clock.sleep_until(window.starts_at)
            watch = _Watch(canaries, preparing_at, _problem_of(canaries, window.fault.composition.symptom))
            try:
                healed_at = await self._hold(window, places, watch, until)
            except InjectionError as error:
                await self._give_up(window, places, error)
                return
            finally:
                if self.active.pop(window.fault_id, None) is not None:
                    self._ended.append((window, self._clock.now()))
            await self._record_health(window, canaries, since=healed_at, until=until)

    def _places(self, window: FaultWindow) -> list[Place]:
        match window.fault.target:
            case FaultTarget.SERVER:
                return [self._system.server]
            case FaultTarget.CLIENT:
                return [self._system.client_groups[name] for name in window.links]
            case FaultTarget.LINK:
                return [self._system.links[name] for name in window.links]

    # in force ---------------------------------------------------------------------------------------------------------

    async def _hold(self, window: FaultWindow, places: Sequence[Place], watch: _Watch, until: Instant) -> Instant:
        """Have the window in force until its end, and watched; returns when it ended."""
        try:
            began = await self._apply(places, window.fault.composition.begin)
            since = began.before if watch.problem is None else watch.preparing_at
            masks = self._masks(window, since)
            self.active[window.fault_id] = window
            self._record_edge(LogEventKind.FAULT_STARTED, window, began, planned=window.starts_at)
            self._check_lateness(window, "struck", began, window.starts_at)
            watching = self._record_symptom(window, watch, since, masks)
            if window.fault.length:
                await self._clock.run_all([watching, self._clock.sleep_until(min(self._end_of(window, began), until))])
        except BaseException:
            await self._undo_quietly(window, places)
            raise
        ended = await self._apply(places, window.fault.composition.end)
        self._record_edge(LogEventKind.FAULT_ENDED, window, ended, planned=window.ends_at)
        if window.fault.length and window.ends_at < until:
            self._check_lateness(window, "ended", ended, window.ends_at)
        if not window.fault.length:
            await watching
        return ended.before

    def _check_lateness(self, window: FaultWindow, what: str, call: CallTimes, planned: Instant) -> None:
        """Record that the window is invalid if the schedule fixes this moment and it came later than allowed."""
        if window.fault.lasts is None and call.after - planned > allowed_lateness(window.fault.length):
            cause = f"planned for {planned:g} s, {what} between {call.before:.2f} and {call.after:.2f} s"
            self._recorder.record_fault(LogEventKind.FAULT_INVALID, window, cause=cause)

    def _end_of(self, window: FaultWindow, began: CallTimes) -> Instant:
        touches = any(p == window.place and abs(t - window.ends_at) < TOUCH_S for p, t in self._begins)
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

    def _masks(self, window: FaultWindow, since: Instant) -> list[str]:
        """What may hide this window's symptoms from a look that began at ``since``.

        Other windows that were in force meanwhile, those that ended within the look too; and the server's own silence.
        A canary that was not ready at the begin has looked since its preparation began.
        """
        silence = ["the silence of the server itself"] if self._system.server_is_silent() else []
        return [*self._other_windows(window, since), *silence]

    def _hides_health(self, window: FaultWindow, since: Instant) -> list[str]:
        """As :meth:`_masks`, for the health after the window; a server's silence is what its own canary waits out."""
        return self._other_windows(window, since) if window.place == SERVER else self._masks(window, since)

    def _other_windows(self, window: FaultWindow, since: Instant) -> list[str]:
        recent = [other for other, ended_at in self._ended if ended_at >= since]
        return [other.fault_id for other in (*self.active.values(), *recent) if _hides(other, window)]

    async def _record_symptom(self, window: FaultWindow, watch: _Watch, since: Instant, masks: Sequence[str]) -> None:
        within = min(CONFIRM_S, window.ends_at - self._clock.now()) if window.fault.length else CONFIRM_S
        problem, symptom = watch.problem, window.fault.composition.symptom
        if problem is None and await self._all_saw([each.saw_symptom(symptom, within) for each in watch.canaries]):
            value = max(self._clock.now() - since, 0.0)
            self._recorder.record_fault(LogEventKind.FAULT_CONFIRMED, window, value=value)
        elif masks := masks or self._masks(window, since):
            detail = f"masked by {', '.join(masks)}"
            self._recorder.record_fault(LogEventKind.FAULT_CONFIRMED, window, value=0.0, detail=detail)
        else:
            problem = next((canary.problem for canary in watch.canaries if canary.problem), None) or problem
            cause = problem or f"the canary did not see the fault begin within {max(within, 0.0):.1f} s"
            self._recorder.record_fault(LogEventKind.FAULT_INVALID, window, cause=cause)

    async def _record_health(
        self, window: FaultWindow, canaries: Sequence[Canary], *, since: Instant, until: Instant
    ) -> None:
        began, left = self._clock.now(), until - self._clock.now()
        limit = RESTART_S if window.place == SERVER else CLEAR_S
        within = max(min(limit, left), 0.0)
        is_clear = not self._hides_health(window, began) and await self._all_saw(
            [c.saw_health(within) for c in canaries]
        )
        if is_clear:
            value = max(self._clock.now() - since, 0.0)
            self._recorder.record_fault(LogEventKind.FAULT_CLEARED, window, value=value)
        elif masks := self._hides_health(window, began):
            detail = f"masked by {', '.join(masks)}"
            self._recorder.record_fault(LogEventKind.FAULT_CLEARED, window, value=0.0, detail=detail)
        elif window.place == SERVER and left > limit:
            late = f"the server did not answer within {limit:g} s of its restart at {since:.1f} s"
            raise SystemFailedError(self._system.death() or late)
        elif left > limit:  # a run that ends earlier has not seen that it did not heal
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


def _problem_of(canaries: Sequence[Canary], symptom: Symptom) -> str | None:
    """Why the canaries cannot see the symptom of a fault that begins now; ``None`` if they can."""
    if problem := next((canary.problem for canary in canaries if canary.problem), None):
        return problem
    if isinstance(symptom, ConnectionsEnd) and any(canary.hold_ended for canary in canaries):
        return "the canary's connection ended before the fault"
    return None


def _hides(other: FaultWindow, window: FaultWindow) -> bool:
    """Whether one window acts on a place of another, or on the server behind it.

    A canary of clients sees no network, and the canaries of the network are no clients. Of the clients' faults only a
    suspension hides another one: it keeps orders waiting.
    """
    if other.fault_id == window.fault_id:
        return False
    if FaultTarget.CLIENT in (other.fault.target, window.fault.target):
        suspends = SuspendClients() in other.fault.composition.begin and window.fault.target is FaultTarget.CLIENT
        return suspends and bool(set(other.links) & set(window.links))
    return other.place == SERVER or bool(set(other.links) & set(window.links))
