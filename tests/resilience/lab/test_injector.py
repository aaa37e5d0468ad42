"""The one walk over the schedule: begin, end, canary, failure, overlap, interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from resilience.errors import SystemFailedError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.eventlog.writer import EventList
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault, ServerKillFault
from resilience.experiment.primitives import CloseAll, Drop, Impose, Kill, Lift, Operation, Refuse, Start
from resilience.experiment.spec import Cohort, Experiment
from resilience.lab.health import allowed_lateness
from resilience.lab.injector import CONFIRM_S, TOUCH_S, FaultInjector
from resilience.lab.recorder import RunRecorder
from resilience.lab.system import CallTimes
from sim.virtual.loop import run_virtual
from tests.support.fake_system import FakePlace, FakeSystem

K = LogEventKind
A = ("a",)


def walk(
    *faults: AnyFault,
    prepare: Callable[[FakeSystem], None] = lambda _: None,
    until: float = 100.0,
    cancel_at: float | None = None,
) -> tuple[FakeSystem, list[LogEvent]]:
    """Inject the faults into a fake system in virtual time; returns it and what was recorded."""
    experiment = Experiment("x", until + 3.0, (Cohort("a", 4), Cohort("b", 4)), faults=faults)

    async def main() -> tuple[FakeSystem, list[LogEvent]]:
        system, log = FakeSystem(experiment, 1), EventList()
        prepare(system)
        injector = FaultInjector(system, RunRecorder(log, Lane.VIRTUAL, system.clock.now))
        task = asyncio.ensure_future(injector.run_schedule(experiment.windows(1), until))
        if cancel_at is not None:
            asyncio.get_running_loop().call_later(cancel_at, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
        assert not injector.active
        return system, log

    return run_virtual(lambda _: main())


def kinds(log: list[LogEvent], ref: str | None = None) -> list[LogEventKind]:
    return [event.kind for event in log if ref is None or event.ref == ref]


def one(log: list[LogEvent], kind: LogEventKind, ref: str | None = None) -> LogEvent:
    (found,) = (event for event in log if event.kind is kind and ref in (None, event.ref))
    return found


def test_a_window_is_begun_confirmed_ended_and_cleared() -> None:
    system, log = walk(RefuseFault(20.0, A, duration=3.0))
    refuse = Refuse()
    expected = [(20.0, Impose(refuse)), (20.0, CloseAll()), (23.0, Lift(refuse))]
    assert system.links["a"].applied == expected
    assert not system.links["b"].applied
    assert kinds(log) == [K.FAULT_STARTED, K.FAULT_CONFIRMED, K.FAULT_ENDED, K.FAULT_CLEARED]
    started, confirmed, ended, cleared = log
    assert (started.t, started.value, started.detail) == (20.0, 20.0, "20.000000..20.000000")
    assert (ended.t, ended.value) == (23.0, 23.0)
    assert (confirmed.value, cleared.value) == pytest.approx((0.1, 0.1))
    assert {event.ref for event in log} == {"0.0:refuse@a"}
    assert {event.cohort for event in log} == {"a"}


def test_an_instantaneous_fault_ends_at_once_and_is_watched_afterwards() -> None:
    _, log = walk(CutFault(20.0, A))
    assert kinds(log) == [K.FAULT_STARTED, K.FAULT_ENDED, K.FAULT_CONFIRMED, K.FAULT_CLEARED]
    assert one(log, K.FAULT_ENDED).t == 20.0


def test_a_fault_of_the_server_acts_on_the_server() -> None:
    system, log = walk(ServerKillFault(20.0, duration=2.0))
    assert system.server.applied == [(20.0, Kill()), (22.0, Start())]
    assert one(log, K.FAULT_CONFIRMED).actor == "server"


def test_a_window_that_no_canary_sees_is_invalid_and_still_ended() -> None:
    def blind(system: FakeSystem) -> None:
        system.links["a"].blind = True

    system, log = walk(RefuseFault(20.0, A, duration=30.0), prepare=blind)
    assert kinds(log) == [K.FAULT_STARTED, K.FAULT_INVALID, K.FAULT_ENDED, K.FAULT_INVALID]
    assert log[1].t == 20.0 + CONFIRM_S
    assert log[1].cause == "the canary did not see the fault begin within 3.0 s"
    assert not +system.links["a"].conditions


def test_an_operation_that_fails_marks_its_window_and_repairs_the_place() -> None:
    def broken(system: FakeSystem) -> None:
        system.links["a"].failing = {CloseAll}

    system, log = walk(RefuseFault(20.0, A, duration=3.0), RefuseFault(30.0, ("b",), duration=3.0), prepare=broken)
    assert kinds(log, "0.0:refuse@a") == [K.HARNESS_FAILED, K.FAULT_INVALID]
    assert system.links["a"].repaired == 1
    assert not +system.links["a"].conditions
    assert K.FAULT_CLEARED in kinds(log, "1.0:refuse@b")


def test_a_condition_that_vanished_meanwhile_marks_its_window() -> None:
    """A proxy that was replaced took the fault with it."""

    def vanish(system: FakeSystem) -> None:
        asyncio.get_running_loop().call_later(21.0, system.links["a"].conditions.clear)

    system, log = walk(RefuseFault(20.0, A, duration=3.0), prepare=vanish)
    assert kinds(log)[-3:] == [K.HARNESS_FAILED, K.FAULT_INVALID, K.FAULT_ENDED]
    assert system.links["a"].repaired == 1


def test_overlapping_windows_add_up() -> None:
    first, second = "0.0:refuse@a", "1.0:refuse@a"
    system, log = walk(RefuseFault(20.0, A, duration=10.0), RefuseFault(25.0, A, duration=15.0))
    refusing = [t for t, operation in system.links["a"].applied if isinstance(operation, Impose | Lift)]
    assert refusing == [20.0, 25.0, 30.0, 40.0]
    assert one(log, K.FAULT_CLEARED, first).detail == f"masked by {second}"
    assert one(log, K.FAULT_CONFIRMED, second).detail == f"masked by {first}"
    assert one(log, K.FAULT_CLEARED, second).detail is None
    assert K.FAULT_INVALID not in kinds(log)


def test_touching_windows_leave_no_gap() -> None:
    system, log = walk(RefuseFault(20.0, A, duration=5.0), BlackholeFault(25.0, A, duration=5.0))
    order = [(t, type(operation)) for t, operation in system.links["a"].applied if t >= 25.0]
    assert order == [(25.0, Impose), (pytest.approx(25.0 + TOUCH_S, abs=1e-9), Lift), (30.0, Lift)]
    assert K.FAULT_INVALID not in kinds(log)


def test_windows_that_begin_together_are_both_injected() -> None:
    faults = (BlackholeFault(20.0, A, duration=9.0), RefuseFault(20.0, A, duration=5.0), CutFault(20.0, A))
    system, log = walk(*faults)
    operations = [operation for t, operation in system.links["a"].applied if t == 20.0]
    assert operations == [Impose(Drop()), Impose(Refuse()), CloseAll(), CloseAll()]
    assert sum(kind is K.FAULT_CONFIRMED for kind in kinds(log)) == 3
    assert K.FAULT_INVALID not in kinds(log)
    assert system.links["a"].is_healthy


def test_a_fault_of_the_server_masks_those_of_links() -> None:
    faults = (ServerKillFault(20.0, duration=10.0), RefuseFault(22.0, A, duration=3.0))

    def blind(system: FakeSystem) -> None:
        system.links["a"].blind = True

    _, log = walk(*faults, prepare=blind)
    for kind in (K.FAULT_CONFIRMED, K.FAULT_CLEARED):
        assert one(log, kind, "1.0:refuse@a").detail == "masked by 0.0:server_kill@server"


def test_a_window_that_outlasts_the_run_ends_with_it() -> None:
    system, log = walk(RefuseFault(20.0, A, duration=10.0), until=25.0 + 5.5)
    assert system.links["a"].is_healthy
    assert kinds(log)[-1] is K.FAULT_CLEARED
    system, log = walk(RefuseFault(20.0, A, duration=10.4), until=30.0)
    assert (log[-1].kind, log[-1].t) == (K.FAULT_ENDED, 30.0)
    assert system.links["a"].is_healthy


@pytest.mark.parametrize("at", [19.5, 20.05, 21.0])
def test_an_interruption_undoes_what_was_done(at: float) -> None:
    system, log = walk(RefuseFault(20.0, A, duration=30.0), cancel_at=at)
    assert system.links["a"].is_healthy
    assert (K.FAULT_STARTED in kinds(log)) is (at > 20)


# --- who failed -------------------------------------------------------------------------------------------------------


class SlowPlace(FakePlace):
    """A link whose operations take ``takes`` seconds from the moment they are ordered."""

    takes = 3.25

    async def apply(self, operation: Operation) -> CallTimes:
        before = self.clock.now()
        await self.clock.sleep_until(before + self.takes)
        await super().apply(operation)
        return CallTimes(before, self.clock.now())


def test_a_fault_that_strikes_late_is_invalid_with_both_times() -> None:
    def slow(system: FakeSystem) -> None:
        system.links["a"] = SlowPlace(system.clock)

    _, log = walk(CutFault(17.0, A), prepare=slow)
    assert one(log, K.FAULT_INVALID).cause == "planned for 17 s, struck between 17.00 and 20.25 s"


def test_a_fault_that_ends_late_is_invalid() -> None:
    def slow(system: FakeSystem) -> None:
        system.links["a"] = place = SlowPlace(system.clock)
        place.takes = 0.2
        asyncio.get_running_loop().call_later(19.0, setattr, place, "takes", 3.0)

    _, log = walk(RefuseFault(17.0, A, duration=3.0), prepare=slow)
    causes = [event.cause for event in log if event.kind is K.FAULT_INVALID]
    assert causes == ["planned for 20 s, ended between 20.00 and 23.00 s"]


@pytest.mark.parametrize("length, allowed", [(0.0, 0.5), (3.0, 0.5), (20.0, 2.0)])
def test_how_late_a_fault_may_be_grows_with_its_length(length: float, allowed: float) -> None:
    assert allowed_lateness(length) == pytest.approx(allowed)


def test_a_window_that_ends_within_the_look_still_masks_it() -> None:
    """The short one is over before the canary gives up on the long one, and hid its begin for a part of that time."""

    def blind(system: FakeSystem) -> None:
        system.links["a"].blind = True

    _, log = walk(RefuseFault(20.0, A, duration=10.0), BlackholeFault(20.5, A, duration=1.0), prepare=blind)
    assert one(log, K.FAULT_CONFIRMED, "0.0:refuse@a").detail == "masked by 1.0:blackhole@a"


@pytest.mark.parametrize(
    "earlier, hidden",
    [(RefuseFault(20.0, A, duration=3.0), "not healthy before"), (CutFault(22.5, A), "connection ended before")],
    ids=["unusable while the canary prepared", "its connection ended"],
)
def test_what_hid_the_place_from_a_canary_that_prepared_masks_the_window(earlier: AnyFault, hidden: str) -> None:
    """The second window begins 0.6 s after the first one's last moment: its canary prepared in the first one."""
    second = CutFault(23.1, A)
    _, log = walk(earlier, second)
    first = f"0.0:{'cut' if isinstance(earlier, CutFault) else 'refuse'}@a"
    assert one(log, K.FAULT_CONFIRMED, "1.0:cut@a").detail == f"masked by {first}"

    def harm(system: FakeSystem) -> None:
        """The same without a window to blame."""
        loop, place = asyncio.get_running_loop(), system.links["a"]
        if isinstance(earlier, CutFault):
            loop.call_later(22.5, place.ends.append, 22.5)
        else:
            loop.call_later(22.0, place.conditions.update, {Refuse(): 1})
            loop.call_later(23.0, place.conditions.clear)

    _, log = walk(second, prepare=harm)
    assert hidden in str(one(log, K.FAULT_INVALID).cause)


def test_what_a_canary_misses_while_the_server_is_silent_is_not_the_networks() -> None:
    def silent(system: FakeSystem) -> None:
        system.links["a"].blind = system.silent = True

    _, log = walk(RefuseFault(20.0, A, duration=5.0), prepare=silent)
    assert K.FAULT_INVALID not in kinds(log)
    assert one(log, K.FAULT_CLEARED).detail == "masked by the silence of the server itself"


def test_the_end_of_a_servers_fault_is_seen_when_it_answers_again() -> None:
    """Its silence is what the fault leaves behind, and explains nothing."""

    def slow(system: FakeSystem) -> None:
        system.silent = True
        asyncio.get_running_loop().call_later(21.0, setattr, system.server, "blind", True)
        asyncio.get_running_loop().call_later(24.0, setattr, system.server, "blind", False)

    _, log = walk(ServerKillFault(20.0, duration=2.0), prepare=slow)
    cleared = one(log, K.FAULT_CLEARED)
    assert cleared.value == pytest.approx(2.2, abs=0.2)
    assert cleared.detail is None


def test_a_server_that_does_not_come_back_after_its_restart_has_failed() -> None:
    def dead(system: FakeSystem) -> None:
        asyncio.get_running_loop().call_later(20.5, setattr, system.server, "blind", True)

    with pytest.raises(SystemFailedError, match=r"did not answer within 20 s of its restart at 22\.0 s"):
        walk(ServerKillFault(20.0, duration=2.0), prepare=dead)
