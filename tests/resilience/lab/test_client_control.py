"""Clients as a place of faults: suspensions add up, and a canary believes signs of life only."""

from __future__ import annotations

import pytest

from resilience.experiment.primitives import (
    ClientOrder,
    ClientsSilent,
    DuplicateClients,
    ReplaysAnswered,
    ReplayTokens,
    ResumeClients,
    SecondConnections,
    SuspendClients,
    Symptom,
)
from resilience.lab.asyncio_clock import AsyncioClock
from resilience.lab.client_control import NO_SESSION, NO_TOKEN, PULSE_S, ClientCanary, ControlledClients
from resilience.lab.second_clients import OrderCounts
from resilience.runtime import RunClock
from sim.virtual.loop import VirtualLoop, run_virtual


class FakeProcess:
    """Remembers its calls; it gives signs of life only where a test says so."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.calls: list[str] = []
        self.pulse_at = 0.0
        self.order_counts = OrderCounts()
        self._loop = loop

    @property
    def pulse_age(self) -> float:
        return self._loop.time() - self.pulse_at

    async def order(self, order: ClientOrder) -> None:
        self.calls.append(type(order).__name__)

    def suspend(self) -> None:
        self.calls.append("suspend")

    def resume(self) -> None:
        self.calls.append("resume")


def clock_of(loop: VirtualLoop) -> AsyncioClock:
    """The laboratory's clock over this loop's time."""
    return AsyncioClock(RunClock(0.0, loop.time))


def test_clients_continue_when_the_last_suspension_ends() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        process = FakeProcess(loop)
        clients = ControlledClients(process, clock_of(loop))
        for operation in (SuspendClients(), SuspendClients(), ResumeClients()):
            assert await clients.apply(operation) == (0.0, 0.0)
        assert process.calls == ["suspend", "suspend"]
        await clients.apply(ResumeClients())
        await clients.apply(SuspendClients())
        await clients.repair()
        return process.calls

    assert run_virtual(main) == ["suspend", "suspend", "resume", "suspend", "resume"]


def test_the_canary_sees_silence_after_two_signs_of_life_that_did_not_come() -> None:
    async def main(loop: VirtualLoop) -> tuple[bool, float]:
        canary = ClientCanary(FakeProcess(loop), clock_of(loop))
        seen = await canary.saw_symptom(ClientsSilent(), 3.0)
        return seen, loop.time()

    seen, at = run_virtual(main)
    assert seen
    assert 2 * PULSE_S < at < 3 * PULSE_S


@pytest.mark.parametrize("is_alive", [True, False])
def test_the_canary_sees_health_by_a_new_sign_of_life_only(is_alive: bool) -> None:
    """One from before the look proves nothing; without one before the fault the place is not usable."""

    async def main(loop: VirtualLoop) -> str | None:
        process = FakeProcess(loop)
        process.pulse_at = loop.time() - 0.01
        if is_alive:
            loop.call_later(1.0, lambda: setattr(process, "pulse_at", loop.time()))
        async with ClientCanary(process, clock_of(loop)) as canary:
            await canary.prepare(2.0)
            assert loop.time() == pytest.approx(1.0 if is_alive else 2.0, abs=0.1)
            return canary.problem

    assert run_virtual(main) == (None if is_alive else "the clients gave no sign of life before the fault")


ORDERED = OrderCounts(tabs=2, met=2, replays=3, answered=3)


@pytest.mark.parametrize("symptom", [SecondConnections(), ReplaysAnswered()])
@pytest.mark.parametrize(
    "now, missing",
    [
        (OrderCounts(tabs=4, met=4, replays=6, answered=6), None),
        (OrderCounts(tabs=4, met=3, replays=6, answered=5), " of "),
        (ORDERED, "no client had a session"),
    ],
)
def test_an_order_is_confirmed_when_all_of_it_has_come_about(
    symptom: Symptom, now: OrderCounts, missing: str | None
) -> None:
    """What earlier orders did counts for nothing; the canary says what is missing."""

    async def main(loop: VirtualLoop) -> tuple[bool, str | None]:
        process = FakeProcess(loop)
        process.order_counts = ORDERED
        canary = ClientCanary(process, clock_of(loop))
        await canary.prepare(0.5)
        process.order_counts = now
        return await canary.saw_symptom(symptom, 1.0), canary.problem

    seen, problem = run_virtual(main)
    assert seen is (missing is None)
    assert problem is None if missing is None else missing in (problem or "")


def test_orders_are_passed_on_to_the_process() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        process = FakeProcess(loop)
        clients = ControlledClients(process, clock_of(loop))
        for operation in (DuplicateClients(), ReplayTokens()):
            await clients.apply(operation)
        return process.calls

    assert run_virtual(main) == ["DuplicateClients", "ReplayTokens"]


def test_what_is_missing_is_said_in_words() -> None:
    assert "second tab" in NO_SESSION
    assert "must come before" in NO_TOKEN
