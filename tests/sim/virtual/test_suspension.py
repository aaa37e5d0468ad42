"""A suspended process does nothing, loses nothing, and afterwards meets what came meanwhile in the system's order."""

from __future__ import annotations

import asyncio

from sim.virtual.loop import VirtualLoop, process_context, run_virtual

from .worlds import HOST, LATENCY, PORT, RTT, Recorder, VirtualScenario, play

OTHER_PORT = 81


async def listen_as(process: str, world: VirtualScenario) -> list[Recorder]:
    """A listener of this process on OTHER_PORT; the protocols of the connections that it will accept."""
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    listening = world.loop.create_server(accept, HOST, OTHER_PORT)
    await world.loop.create_task(listening, context=process_context(process))
    return accepted


def suspend(process: str, world: VirtualScenario) -> None:
    world.network.suspend(process)
    world.loop.suspend(process)


def resume(process: str, world: VirtualScenario) -> None:
    world.network.resume(process)
    world.loop.resume(process)


def test_no_callback_of_a_suspended_process_runs_and_none_is_lost() -> None:
    """What was ready comes before timers that have passed; other processes continue; cancelled timers stay so."""

    async def main(loop: VirtualLoop) -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        def note(what: str) -> None:
            seen.append((what, loop.time()))

        mine = process_context("a")
        loop.call_later(2.0, note, "second timer", context=mine)
        loop.call_later(1.0, note, "first timer", context=mine)
        cancelled = loop.call_later(1.5, note, "cancelled", context=mine)
        loop.call_later(1.0, note, "another's timer", context=process_context("b"))
        loop.call_soon(note, "ready", context=mine)
        loop.suspend("a")
        await asyncio.sleep(5.0)
        cancelled.cancel()
        loop.suspend("a")
        loop.resume("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.resume("a")
        loop.call_soon(note, "later", context=mine)
        await asyncio.sleep(1.0)
        return seen

    assert run_virtual(main) == [
        ("another's timer", 1.0),
        ("ready", 5.0),
        ("first timer", 5.0),
        ("second timer", 5.0),
        ("later", 5.0),
    ]


def test_a_task_belongs_to_the_process_that_began_it() -> None:
    """And so do the tasks that it begins, and what it hands to an executor."""

    async def main(loop: VirtualLoop) -> float:
        async def child() -> float:
            await loop.run_in_executor(None, loop.time)
            return loop.time()

        async def parent() -> float:
            return await loop.create_task(child())

        task = loop.create_task(parent(), context=process_context("a"))
        loop.call_later(0.001, loop.suspend, "a")
        loop.call_later(3.0, loop.resume, "a")
        return await task

    assert run_virtual(main, executor_latency=1.0) == 3.0


def test_bytes_wait_for_a_suspended_process_and_arrive_before_its_timers() -> None:
    async def scenario(world: VirtualScenario) -> None:
        loop, servers = world.loop, await listen_as("server", world)
        _, client = await loop.create_connection(Recorder, HOST, OTHER_PORT)
        await asyncio.sleep(LATENCY)
        suspend("server", world)
        began = loop.time()
        loop.call_later(1.0, servers[0].note, "timer", context=process_context("server"))
        client.transport.write(b"one")
        await asyncio.sleep(1.0)
        client.transport.write(b"two")
        _, second = await loop.create_connection(Recorder, HOST, OTHER_PORT)  # the system accepts, the process does not
        second.transport.write(b"three")
        await asyncio.sleep(10 * RTT)
        assert len(servers) == 1
        assert servers[0].after(began) == []
        resumed = loop.time()
        resume("server", world)
        await asyncio.sleep(LATENCY)
        assert servers[0].after(began) == [(resumed, "data", b"onetwo"), (resumed, "timer", None)]
        assert [what for _, what, _ in servers[1].seen] == ["made", "data"]

    play(scenario)


def test_an_end_waits_for_a_suspended_process_as_well() -> None:
    """A reset is met when the process continues, not before."""

    async def scenario(world: VirtualScenario) -> None:
        loop = world.loop

        async def dial() -> Recorder:
            return (await loop.create_connection(Recorder, HOST, PORT))[1]

        client = await loop.create_task(dial(), context=process_context("client"))
        await asyncio.sleep(LATENCY)
        suspend("client", world)
        world.network.crash(PORT)
        await asyncio.sleep(RTT)
        assert [what for _, what, _ in client.seen] == ["made"]
        resume("client", world)
        await asyncio.sleep(0.0)
        await asyncio.sleep(LATENCY)
        assert [what for _, what, _ in client.seen] == ["made", "lost"]

    play(scenario)
