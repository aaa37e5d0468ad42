"""Clients as a place of faults: suspensions add up, and a canary believes signs of life only."""

from __future__ import annotations

import pytest

from resilience.experiment.primitives import ClientsSilent, ResumeClients, SuspendClients
from resilience.lab.client_control import PULSE_S, ClientCanary, SuspendableClients
from sim.virtual.loop import VirtualLoop, run_virtual


class FakeProcess:
    """Remembers its calls; it gives signs of life only where a test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pulse_at = 0.0

    def suspend(self) -> None:
        self.calls.append("suspend")

    def resume(self) -> None:
        self.calls.append("resume")


def test_clients_continue_when_the_last_suspension_ends() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        process = FakeProcess()
        clients = SuspendableClients(process, loop.time)
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
        canary = ClientCanary(FakeProcess())
        seen = await canary.saw_symptom(ClientsSilent(), 3.0)
        return seen, loop.time()

    seen, at = run_virtual(main)
    assert seen
    assert 2 * PULSE_S < at < 3 * PULSE_S


@pytest.mark.parametrize("is_alive", [True, False])
def test_the_canary_sees_health_by_a_new_sign_of_life_only(is_alive: bool) -> None:
    """One from before the look proves nothing; without one before the fault the place is not usable."""

    async def main(loop: VirtualLoop) -> str | None:
        process = FakeProcess()
        process.pulse_at = loop.time() - 0.01
        if is_alive:
            loop.call_later(1.0, lambda: setattr(process, "pulse_at", loop.time()))
        async with ClientCanary(process) as canary:
            await canary.prepare(2.0)
            assert loop.time() == pytest.approx(1.0 if is_alive else 2.0, abs=0.1)
            return canary.problem

    assert run_virtual(main) == (None if is_alive else "the clients gave no sign of life before the fault")
