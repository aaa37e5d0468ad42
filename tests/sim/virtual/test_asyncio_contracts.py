"""What the virtual loop relies on in ``asyncio`` beyond its documentation; each test names what breaks without it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from asyncio import base_events, events

from sim.virtual.loop import NumberedTask, VirtualLoop, run_virtual


def test_run_forever_calls_run_once_until_stop_sets_stopping() -> None:
    """``VirtualLoop._run_once`` is the loop; ``_advance`` must not raise a deadlock while it stops."""
    turns: list[bool] = []

    class Counted(VirtualLoop):
        def _run_once(self) -> None:
            super()._run_once()
            turns.append(self._stopping)

    loop = Counted()
    loop.call_soon(lambda: loop.call_soon(loop.stop))
    loop.run_forever()
    loop.close()
    assert turns == [False, True]
    assert not loop._stopping


def test_the_base_loop_keeps_ready_handles_in_a_deque_and_knows_when_it_is_closed() -> None:
    """``call_soon`` appends to ``_ready`` itself and refuses a closed loop by ``_closed``."""
    loop = VirtualLoop()
    handle = loop.call_soon(int)
    assert list(loop._ready) == [handle]
    assert loop._closed is False
    loop.close()
    assert loop._closed is True
    assert not loop._ready


def test_handles_run_themselves_and_tell_their_loop_of_a_cancelled_timer_once() -> None:
    """``_run_once`` calls ``_run`` and skips ``_cancelled``; the count of cancelled timers decides when to sweep."""
    calls: list[str] = []

    class Counted(VirtualLoop):
        def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
            calls.append("cancelled")
            super()._timer_handle_cancelled(handle)

    loop = Counted()
    handle = events.Handle(calls.append, ("ran",), loop, None)
    handle._run()
    timer = loop.call_at(1.0, calls.append, "never")
    assert timer._scheduled is True  # type: ignore[attr-defined]
    assert timer._cancelled is False
    timer.cancel()
    timer.cancel()
    assert timer._cancelled is True
    assert (calls, loop._cancelled_timers) == (["ran", "cancelled"], 1)
    loop.close()


def test_every_wait_of_asyncio_goes_through_our_call_at() -> None:
    """Virtual time: a timer in the base class's own heap would never fire."""
    whens: list[float] = []

    class Recorded(VirtualLoop):
        def call_at(self, when: float, *arguments: object, **options: object) -> asyncio.TimerHandle:
            whens.append(when)
            return super().call_at(when, *arguments, **options)  # type: ignore[arg-type]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1)
        async with asyncio.timeout(10):
            await asyncio.sleep(1)
        await asyncio.wait([loop.create_task(asyncio.sleep(1))], timeout=20)
        loop.call_later(30, int).cancel()

    loop = Recorded()
    loop.run_until_complete(main())
    assert whens == [1.0, 11.0, 2.0, 22.0, 3.0, 33.0]
    assert not loop._scheduled  # type: ignore[attr-defined]
    loop.close()


def test_the_base_loop_needs_no_selector_and_no_thread_for_what_a_run_does() -> None:
    """``run_virtual``: the end of a run shuts down generators and the executor that was never made."""
    before = threading.active_count()

    async def main(_: VirtualLoop) -> int:
        await asyncio.get_running_loop().run_in_executor(None, int)
        return threading.active_count()

    assert run_virtual(main) == before


def test_tasks_may_hash_by_number_and_sets_of_them_iterate_alike() -> None:
    """``NumberedTask``: ``asyncio.wait``, ``gather`` and the library's sets of tasks would else follow addresses."""

    async def main(loop: VirtualLoop) -> list[int]:
        tasks = {loop.create_task(asyncio.sleep(1)) for _ in range(50)}
        assert asyncio.all_tasks(loop) == {*tasks, asyncio.current_task()}
        done, _ = await asyncio.wait(tasks)
        return [task.number for task in done if isinstance(task, NumberedTask)]

    numbers = run_virtual(main)
    assert len(numbers) == 50
    assert numbers == sorted(numbers), "an order of addresses would be any other"


def test_a_task_factory_gets_loop_coroutine_and_keyword_options() -> None:
    """``_numbered_task``: name and context arrive as keywords in every supported version, or not at all."""
    seen: list[tuple[object, frozenset[str]]] = []
    loop = VirtualLoop()

    def factory(of: asyncio.AbstractEventLoop, coro: object, **options: object) -> NumberedTask:
        seen.append((of, frozenset(options)))
        return NumberedTask(len(seen), coro, loop=of)

    loop.set_task_factory(factory)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert seen[0][0] is loop
    assert seen[0][1] <= {"name", "context", "eager_start"}


def test_the_methods_that_we_override_have_the_signatures_that_we_know() -> None:
    """A new parameter of these would be dropped by the override."""
    for name, parameters in {
        "call_soon": ["callback", "args", "context"],
        "call_soon_threadsafe": ["callback", "args", "context"],
        "call_at": ["when", "callback", "args", "context"],
        "run_in_executor": ["executor", "func", "args"],
        "_timer_handle_cancelled": ["handle"],
        "_run_once": [],
    }.items():
        found = inspect.signature(getattr(base_events.BaseEventLoop, name)).parameters
        assert list(found) == ["self", *parameters], name
