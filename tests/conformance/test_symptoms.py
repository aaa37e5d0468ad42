"""Which symptoms a canary sees under which fault: its own always, and no other that it can be distinguished from."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from resilience.experiment.faults import (
    BandwidthFault,
    BlackholeFault,
    CutFault,
    CutMidMessageFault,
    Fault,
    FreezeFault,
    LatencyFault,
    RefuseFault,
    ResetFault,
    SliceFault,
    SlowCloseFault,
    StallFault,
)
from resilience.experiment.primitives import Direction, LinkOperation
from resilience.runtime import RunClock
from sim.virtual.faultable_link import FaultableVirtualLink
from sim.virtual.loop import VirtualLoop, run_virtual
from sim.virtual.network import VirtualNetwork

HOST, PORT, LINK_PORT = "127.0.0.1", 7000, 7001
X = ("x",)
DOWN = Direction.DOWN
FAULTS: dict[str, Fault] = {
    "cut": CutFault(1.0, X),
    "reset": ResetFault(1.0, X),
    "refuse": RefuseFault(1.0, X, duration=1.0),
    "blackhole": BlackholeFault(1.0, X, duration=1.0),
    "blackhole down": BlackholeFault(1.0, X, duration=1.0, direction=DOWN),
    "stall": StallFault(1.0, X, duration=1.0),
    "stall down": StallFault(1.0, X, duration=1.0, direction=DOWN),
    "freeze": FreezeFault(1.0, X, duration=1.0),
    "latency": LatencyFault(1.0, X, duration=1.0, delay=0.1, spread=0.05),
    "bandwidth": BandwidthFault(1.0, X, duration=1.5, rate=20_000),
    "slice": SliceFault(1.0, X, duration=1.5, size=8, delay=0.008),
    "torn": CutMidMessageFault(1.0, X, duration=1.5, after=1000),
    "torn down": CutMidMessageFault(1.0, X, duration=1.5, after=10, direction=DOWN),
    "slow close": SlowCloseFault(1.0, X, duration=1.5, delay=0.3),
}
SILENT = {"blackhole", "blackhole down", "stall", "stall down", "freeze"}
ALSO: dict[str, set[str]] = {
    "reset": {"cut"},  # a reset is an end, as is the begin of a refusal
    "refuse": {"cut"},
    "blackhole": SILENT,
    "blackhole down": {"stall down", "torn"},  # the close after the lost reply passes
    "stall": SILENT,
    "stall down": SILENT,
    "freeze": SILENT | {"slow close"},  # it holds closes, too
    "torn down": {"torn"},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_shows_its_own_symptom_and_no_other(name: str) -> None:
    seen: set[str] = set()
    network = VirtualNetwork(1)

    async def main(loop: VirtualLoop) -> None:
        await asyncio.start_server(_serve, HOST, PORT)
        link = network.link("x", port=LINK_PORT, upstream=(HOST, PORT))
        faultable = FaultableVirtualLink(link, (HOST, PORT), RunClock(loop.time(), loop.time))
        seen.update([other for other in FAULTS if await _shows(faultable, FAULTS[name], FAULTS[other])])
        await asyncio.sleep(10.0)  # every connection of the canaries ends

    run_virtual(main, network)
    assert seen == {name} | ALSO.get(name, set())


async def _shows(link: FaultableVirtualLink, fault: Fault, other: Fault) -> bool:
    """Whether a canary sees the symptom of the other fault under this one."""
    async with link.canary() as canary:
        await canary.prepare(2.0)
        assert canary.problem is None
        for operation in fault.composition.begin:
            assert isinstance(operation, LinkOperation)
            await link.apply(operation)
        shown = await canary.saw_symptom(other.composition.symptom, 3.0)
        for operation in fault.composition.end:
            assert isinstance(operation, LinkOperation)
            await link.apply(operation)
        assert await canary.saw_health(5.0)
    return shown


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request as the quiz server's health page does, and close."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):  # a canary that a fault cut off
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Long: " + 100 * b"x" + b"\r\n\r\nok\n")
    writer.close()
