"""What a death needs of the loop and the network: calls that come late, and bytes that outlive their sender."""

from __future__ import annotations

import asyncio

import pytest

from sim.virtual.loop import VirtualLoop, run_virtual

from .worlds import LATENCY, PORT, VirtualScenario, play


def test_a_call_comes_in_its_share_of_the_latency() -> None:
    """A quarter of the time before it, the rest after it."""

    async def main(loop: VirtualLoop) -> tuple[float, float]:
        called = await loop.run_in_executor(None, loop.time)
        return called, loop.time()

    assert run_virtual(main, executor_latency=2.0, executor_share=0.25) == (0.5, 2.0)


def test_a_call_without_a_waiter_is_made_all_the_same() -> None:
    """As in a thread; what it raises is not reported."""
    calls: list[float] = []

    async def main(loop: VirtualLoop) -> None:
        def call() -> None:
            calls.append(loop.time())
            raise OSError("no space left")

        loop.run_in_executor(None, call).cancel()
        with pytest.raises(OSError, match="no space left"):
            await loop.run_in_executor(None, call)

    run_virtual(main, executor_latency=2.0, executor_share=0.5)
    assert calls == [1.0, 1.0]


@pytest.mark.parametrize("flush", [True, False])
def test_what_a_killed_server_sent_arrives_if_it_is_flushed(flush: bool) -> None:
    """Then a FIN; without it only the loss. In both cases new dials are refused."""

    async def scenario(world: VirtualScenario) -> None:
        client, server = await world.pair()
        await asyncio.sleep(LATENCY)
        server.transport.write(b"acknowledged")
        world.network.crash(PORT, flush=flush)
        await asyncio.sleep(3 * LATENCY)
        assert client.received() == (b"acknowledged" if flush else b"")
        assert [what for _, what, _ in server.seen if what == "lost"] == ["lost"]
        assert [what for _, what, _ in client.seen if what == "eof"] == ["eof"]
        with pytest.raises(ConnectionRefusedError):
            await world.dial(PORT)

    play(scenario)
