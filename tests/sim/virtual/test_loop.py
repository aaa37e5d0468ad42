"""Time that jumps, ties that keep their order, executors that run inline, deadlocks that say so."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sim.virtual.loop import DeadlockError, VirtualLoop, run_virtual

FDS = Path("/proc/self/fd")


def test_the_clock_stands_exactly_on_the_timer_that_fires() -> None:
    """After a thousand odd deadlines the clock still equals each timer's own instant, without drift."""

    async def main(loop: VirtualLoop) -> list[tuple[float, float]]:
        seen: list[tuple[float, float]] = []

        def note(when: float) -> None:
            seen.append((when, loop.time()))

        whens = [random.Random(1).uniform(0, 1e6) + 0.1 * k for k in range(1000)]
        for when in whens:
            loop.call_at(when, note, when)
        await asyncio.sleep(2e6)
        return seen

    seen = run_virtual(main)
    assert len(seen) == 1000
    assert all(when == at for when, at in seen)


def test_the_clock_starts_at_its_origin() -> None:
    """Time counts from the given origin."""

    async def main(loop: VirtualLoop) -> tuple[float, float]:
        before = loop.time()
        await asyncio.sleep(0.5)
        return before, loop.time()

    assert run_virtual(main, origin=100.0) == (100.0, 100.5)


def test_a_century_takes_no_time() -> None:
    """Sleeping never waits in real time."""
    started = time.perf_counter()
    run_virtual(lambda _: asyncio.sleep(3.2e9))
    assert time.perf_counter() - started < 5.0


def test_equal_deadlines_fire_in_the_order_they_were_set() -> None:
    """Ties are stable, among cancelled timers and ones set for other instants too."""

    async def main(loop: VirtualLoop) -> list[int]:
        order: list[int] = []
        rng = random.Random(2)
        for k in range(2000):
            loop.call_at(5.0, order.append, k)
            loop.call_at(rng.choice((4.0, 5.0, 6.0)), lambda: None).cancel()
        await asyncio.sleep(10.0)
        return order

    assert run_virtual(main) == list(range(2000))


def test_a_timer_in_the_past_fires_now() -> None:
    """Time never runs backwards."""

    async def main(loop: VirtualLoop) -> float:
        await asyncio.sleep(3.0)
        fired: asyncio.Future[float] = loop.create_future()
        loop.call_at(1.0, lambda: fired.set_result(loop.time()))
        return await fired

    assert run_virtual(main) == 3.0


def test_cancelled_timers_do_not_pile_up() -> None:
    """A hundred thousand timeouts that never fired leave next to nothing behind."""

    async def main(loop: VirtualLoop) -> int:
        for _ in range(10_000):
            loop.call_later(1e6, lambda: None).cancel()
            await asyncio.sleep(0.001)
        return len(loop._timers)

    assert run_virtual(main) < 250


def test_an_executor_runs_inline_and_answers_later() -> None:
    """The function runs at submission, on this thread; its result arrives after the latency."""

    async def main(loop: VirtualLoop) -> tuple[list[str], int, float]:
        ran: list[str] = []

        def work(word: str) -> int:
            ran.append(word)
            return threading.get_ident()

        future = loop.run_in_executor(None, work, "done")
        at_once = list(ran)
        thread = await future
        return at_once, thread, loop.time()

    assert run_virtual(main, executor_latency=0.25) == (["done"], threading.get_ident(), 0.25)
    assert run_virtual(main, executor_latency=lambda: 0.5)[2] == 0.5
    assert run_virtual(main)[2] == 0.002


def test_an_executor_hands_its_exception_over() -> None:
    """What the function raises travels into the future, after the latency."""

    async def main(loop: VirtualLoop) -> float:
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        return loop.time()

    assert run_virtual(main, executor_latency=0.25) == 0.25


@pytest.mark.parametrize("wait", [lambda loop: loop.create_future(), lambda loop: asyncio.sleep(math.inf)])
def test_a_deadlock_raises(wait: Callable[[VirtualLoop], Any]) -> None:
    """Waiting for what can never come raises at once and names who waits."""

    async def stuck(loop: VirtualLoop) -> None:
        await asyncio.sleep(2.0)
        await wait(loop)

    with pytest.raises(DeadlockError, match=r"deadlock at 2\.0.*Task-1 \(.*stuck\)"):
        run_virtual(stuck)


def test_leftovers_are_cancelled_oldest_first() -> None:
    """What main leaves behind is cancelled in order, and may still take its virtual time."""
    ended: list[tuple[str, float]] = []

    async def left(loop: VirtualLoop, name: str) -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            await asyncio.sleep(1.0)
            ended.append((name, loop.time()))

    async def main(loop: VirtualLoop) -> None:
        main.tasks = [loop.create_task(left(loop, f"t{k}")) for k in range(50)]  # type: ignore[attr-defined]
        await asyncio.sleep(1.0)

    run_virtual(main)
    assert ended == [(f"t{k}", 2.0) for k in range(50)]


def test_sets_of_tasks_iterate_in_one_order() -> None:
    """Tasks hash by their number in the loop, so asyncio's own sets of them are no source of chance."""

    async def main(loop: VirtualLoop) -> list[list[int]]:
        tasks = {loop.create_task(asyncio.sleep(0)) for _ in range(64)}
        order = [hash(task) for task in tasks]
        await asyncio.wait(tasks)
        return [order, sorted(order)]

    first, second = run_virtual(main), run_virtual(main)
    assert first == second
    assert first[1] == list(range(2, 66))


def test_the_threads_own_loop_is_left_as_it_was() -> None:
    """A loop set before stays set, and none is running afterwards."""
    policy = asyncio.get_event_loop_policy()
    mine = asyncio.new_event_loop()
    policy.set_event_loop(mine)
    try:
        run_virtual(lambda _: asyncio.sleep(1.0))
        assert policy.get_event_loop() is mine
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
    finally:
        policy.set_event_loop(None)
        mine.close()


def _held() -> tuple[int, int]:
    return len(list(FDS.iterdir())), threading.active_count()


def test_no_descriptors_and_no_threads() -> None:
    """A running virtual loop holds neither."""

    async def main(loop: VirtualLoop) -> tuple[int, int]:
        await loop.run_in_executor(None, int)
        return _held()

    if not FDS.is_dir():
        pytest.skip("no list of descriptors on this system")
    before = _held()
    assert run_virtual(main) == before


def test_what_a_loop_without_system_calls_answers() -> None:
    """Names are their own addresses, thread-safe calls are calls, signals are declined."""

    async def main(loop: VirtualLoop) -> None:
        (family, kind, _, _, address), *_ = await loop.getaddrinfo("server.test", 80, type=socket.SOCK_STREAM)
        assert (family, kind, address) == (socket.AF_INET, socket.SOCK_STREAM, ("server.test", 80))
        assert await loop.getnameinfo(("server.test", 80)) == ("server.test", "80")
        called = asyncio.Event()
        loop.call_soon_threadsafe(called.set)
        await called.wait()
        with pytest.raises(NotImplementedError):
            loop.add_signal_handler(signal.SIGTERM, lambda: None)

    run_virtual(main)


async def _dial_tls(loop: VirtualLoop) -> None:
    await loop.create_connection(asyncio.Protocol, "server.test", 443, ssl=True)


async def _dial_nonsense(loop: VirtualLoop) -> None:
    await loop.create_connection(asyncio.Protocol, "server.test", 443, colour="red")


async def _dial_nothing(loop: VirtualLoop) -> None:
    await loop.create_connection(asyncio.Protocol)


@pytest.mark.parametrize(
    "dial, error", [(_dial_tls, NotImplementedError), (_dial_nonsense, TypeError), (_dial_nothing, ValueError)]
)
def test_what_the_network_cannot_do_is_refused(
    dial: Callable[[VirtualLoop], Coroutine[Any, Any, None]], error: type[Exception]
) -> None:
    """Options that would change what is tested are errors, not ignored."""
    with pytest.raises(error):
        run_virtual(dial)


def test_a_closed_loop_takes_no_work() -> None:
    """Calls after the end raise instead of being lost."""
    loop = VirtualLoop()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_soon(print)
    with pytest.raises(RuntimeError):
        loop.call_later(1.0, print)
