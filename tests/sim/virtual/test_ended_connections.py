"""A connection that has ended is freed at once: in a long run, those that wait for the collector fill the memory."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import pytest

from tests.support.virtual_server import WAITING, VirtualServerHarness, play


@pytest.mark.parametrize("ending", ["cut", "reset", "refuse", "drain", "leave"])
def test_an_ended_connection_leaves_no_cycles(ending: str) -> None:
    """At neither end, whichever ended it; nor does a dial that was refused, or a handshake that was never sent."""
    left: list[Counter[str]] = []

    async def script(harness: VirtualServerHarness) -> None:
        server = await harness.serve(quiz=WAITING)
        clients = harness.crowd(5)
        await harness.opened(*clients)
        _, writer = await asyncio.open_connection("server.test", 80)
        await asyncio.sleep(1.0)
        gc.collect()
        gc.disable()
        match ending:
            case "cut":
                harness.link.cut()
            case "reset":
                harness.link.reset()
            case "refuse":
                harness.link.refuse(True)
            case "drain":
                await server.stop()
            case _:
                await asyncio.gather(*(client.leave() for client in clients))
        writer.close()
        await asyncio.sleep(20.0)
        left.append(of_connections())

    try:
        play(script)
    finally:
        gc.enable()
    assert left == [Counter()]


def of_connections() -> Counter[str]:
    """What the collector finds of the classes that connections are made of, by name."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        classes = [type(each) for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    packages = ("websockets", "resilience", "sim")
    return Counter(each.__qualname__ for each in classes if each.__module__.partition(".")[0] in packages)
