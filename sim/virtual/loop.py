"""An asyncio event loop that owns its clock: when no callback is ready, time jumps to the next timer.

Knows of the network only that it listens and connects. Uses no thread, file descriptor or system clock, and never
waits. Order is guaranteed: two runs that make the same calls see the same events in the same order, in any process.
Timers due at the same time fire in the order in which they were set, and tasks hash by number, so that the library's
own sets of tasks iterate in the same order everywhere.
"""

# ruff: noqa: SLF001 - a loop reaches into its own handles, as asyncio's loops do

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import socket
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from resilience.errors import HarnessError
from resilience.units import Instant, Seconds

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

EXECUTOR_LATENCY_S: Seconds = 0.002
"""Default duration of a call in an executor: a group commit to a local disk."""

IGNORED_OPTIONS = frozenset(
    (
        "all_errors",
        "family",
        "flags",
        "happy_eyeballs_delay",
        "interleave",
        "keep_alive",
        "local_addr",
        "proto",
        "reuse_address",
        "reuse_port",
        "server_hostname",
        "ssl_handshake_timeout",
        "ssl_shutdown_timeout",
    )
)
"""Options of asyncio's connect and listen calls that have no meaning in memory."""

PROCESS: ContextVar[str | None] = ContextVar("process", default=None)
"""The name of the process that a callback belongs to; callbacks and tasks inherit it. None: it cannot be suspended."""

_SWEEP_ABOVE = 100
_NAMED_WAITERS = 10


def process_context(name: str) -> Context:
    """A context whose callbacks and tasks belong to the process of this name."""
    context = copy_context()
    context.run(PROCESS.set, name)
    return context


class DeadlockError(HarnessError):
    """No callback is ready, no timer is set, and the main coroutine has not ended: it would wait forever."""

    def __init__(self, now: Instant, waiting: list[str]) -> None:
        shown = ", ".join(waiting[:_NAMED_WAITERS]) + (", ..." if len(waiting) > _NAMED_WAITERS else "")
        super().__init__(f"deadlock at {now:.6f} s of virtual time: no timer is set; {len(waiting)} wait: {shown}")
        self.now, self.waiting = now, waiting


class Network(Protocol):
    """What a loop needs of a network."""

    def attach(self, loop: VirtualLoop) -> None:
        """Serve this loop; called once, before any other call."""

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int, backlog: int, *, start: bool
    ) -> asyncio.AbstractServer:
        """Open a listener."""

    async def dial(self, factory: Callable[[], ProtocolT], host: str, port: int) -> tuple[asyncio.Transport, ProtocolT]:
        """Open a connection."""


class VirtualTimer(asyncio.TimerHandle):
    """A timer as asyncio makes it, scheduled from the start, in half the time: it is what a run makes most of."""

    __slots__ = ()

    def __init__(  # asyncio calls its own twice, and asks the loop for its debug mode
        self,
        when: Instant,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: VirtualLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback, self._args, self._when = callback, args, when
        self._cancelled, self._scheduled = False, True
        self._repr = self._source_traceback = None


class NumberedTask(asyncio.Task[Any]):
    """A task that hashes by its number in its loop; the base class hashes by its address in memory."""

    def __init__(self, number: int, coro: Any, **options: Any) -> None:  # noqa: ANN401 - asyncio's own signature
        self.number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time.

    Args:
        network: serves ``create_server`` and ``create_connection``; without one both raise ``NotImplementedError``.
        origin: the clock's first value, seconds.
        executor_latency: duration of ``run_in_executor``, seconds, or a draw of it.
        executor_share: the share of that duration that passes before the call is made; 0: it is made at once.

    """

    _ready: deque[asyncio.Handle]
    _stopping: bool
    _closed: bool = True  # until it is made

    def __init__(
        self,
        network: Network | None = None,
        *,
        origin: Instant = 0.0,
        executor_latency: Seconds | Callable[[], Seconds] = EXECUTOR_LATENCY_S,
        executor_share: float = 0.0,
    ) -> None:
        self._network: Network | None = None
        if network is not None:
            self.connect_network(network)
        super().__init__()
        self.now: Instant = origin
        self.executor_latency, self.executor_share = executor_latency, executor_share
        self._timers: list[tuple[Instant, int, asyncio.TimerHandle]] = []
        self._timer_numbers: Iterator[int] = itertools.count()
        self._task_numbers: Iterator[int] = itertools.count(1)
        self._cancelled_timers = 0
        self._parked: dict[str | None, list[asyncio.Handle]] = {}
        self.set_task_factory(self._numbered_task)

    def connect_network(self, network: Network) -> None:
        """Answer ``create_server`` and ``create_connection`` by this network from now on."""
        network.attach(self)
        self._network = network

    # Time.

    def time(self) -> Instant:
        """Seconds of virtual time; changes only between callbacks, and then exactly to the next timer's time."""
        return self.now

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run the callback in the next turn, after earlier ones."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = events.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """The same as :meth:`call_soon`: there are no other threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: Seconds, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run the callback ``delay`` seconds from now."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: Instant, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run the callback at ``when``; callbacks at the same time run in the order in which they were set."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        timer = VirtualTimer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._cancelled_timers += 1

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready and not self._stopping:
            self._advance()
        now = self.now
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer._cancelled:
                self._cancelled_timers -= 1
            else:
                ready.append(timer)
        parked = self._parked
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if parked and (held := parked.get(_process_of(handle))) is not None:
                held.append(handle)
            else:
                handle._run()

    def _advance(self) -> None:
        timers = self._timers
        if self._cancelled_timers > _SWEEP_ABOVE and 2 * self._cancelled_timers > len(timers):
            self._sweep_timers()
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)[2]._scheduled = False  # type: ignore[attr-defined]
            self._cancelled_timers -= 1
        if not timers or timers[0][0] == math.inf:
            raise DeadlockError(self.now, [_describe(task) for task in self.pending_tasks()])
        self.now = max(self.now, timers[0][0])

    def _sweep_timers(self) -> None:
        self._timers[:] = [entry for entry in self._timers if not entry[2]._cancelled]
        heapq.heapify(self._timers)
        self._cancelled_timers = 0

    # Suspended processes.

    def suspend(self, process: str) -> None:
        """Run no callback of this process until :meth:`resume`; nothing happens to one that is suspended already."""
        self._parked.setdefault(process, [])

    def resume(self, process: str) -> None:
        """Let a suspended process continue, as the system does: what was ready first, then timers that have passed.

        What a network delivers at this moment, scheduled before this call, comes before the timers.
        """
        for handle in self._parked.pop(process, []):
            if isinstance(handle, asyncio.TimerHandle):
                handle._scheduled = True  # type: ignore[attr-defined]
                heapq.heappush(self._timers, (self.now, next(self._timer_numbers), handle))
                self._cancelled_timers += handle.cancelled()
            else:
                self._ready.append(handle)

    # Tasks.

    def _numbered_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> NumberedTask:  # noqa: ANN401
        number = next(self._task_numbers)
        name = options.pop("name", None) or f"Task-{number}"
        return NumberedTask(number, coro, loop=loop, name=name, **options)

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """Tasks that have not ended, oldest first."""
        return sorted(asyncio.all_tasks(self), key=hash)

    async def cancel_leftovers(self) -> None:
        """Cancel every other task, oldest first, and wait until they ended; their exceptions go to the handler."""
        leftovers = [task for task in self.pending_tasks() if task is not asyncio.current_task()]
        for task in leftovers:
            task.cancel()
        for task, outcome in zip(leftovers, await asyncio.gather(*leftovers, return_exceptions=True), strict=True):
            if isinstance(outcome, Exception):
                message = "a leftover task failed while it was cancelled"
                self.call_exception_handler({"message": message, "exception": outcome, "task": task})

    # Calls for which other loops need threads.

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Call ``func`` in its share of ``executor_latency``; the future gets the result when all of it has passed.

        A call is made even if its future was cancelled, as a thread would make it.
        """
        del executor
        latency = self.executor_latency
        after = latency() if callable(latency) else latency
        before = after * self.executor_share
        future: asyncio.Future[T] = self.create_future()
        if before:
            self.call_later(before, self._execute, future, after - before, func, args)
        else:
            self._execute(future, after, func, args)
        return future

    def _execute(
        self, future: asyncio.Future[T], after: Seconds, func: Callable[[Unpack[Ts]], T], args: tuple[*Ts]
    ) -> None:
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - the caller gets it from the future
            self.call_later(after, _fail, future, error)
        else:
            self.call_later(after, _succeed, future, result)

    @contextmanager
    def instant_executor(self) -> Iterator[None]:
        """Calls in an executor take no time inside this context: for the setup before a run."""
        latency, self.executor_latency = self.executor_latency, 0.0
        try:
            yield
        finally:
            self.executor_latency = latency

    async def getaddrinfo(  # type: ignore[override]  # noqa: PLR0913 - asyncio's own signature
        self,
        host: str | None,
        port: int | str | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Every name is its own address."""
        del flags
        address = (host or "127.0.0.1", int(port or 0))
        return [(family or socket.AF_INET, type or socket.SOCK_STREAM, proto or socket.IPPROTO_TCP, "", address)]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """Every address is its own name."""
        del flags
        return sockaddr[0], str(sockaddr[1])

    # The network.

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        backlog: int = 100,
        start_serving: bool = True,
        **options: object,
    ) -> asyncio.AbstractServer:
        """Listen on the network; with port 0 or none the network chooses.

        Raises ``OSError`` (``EADDRINUSE``) if the address is in use, ``NotImplementedError`` for TLS and for ready-made
        sockets.
        """
        _check_options("create_server", options)
        return await self._networked().listen(protocol_factory, host, port or 0, backlog, start=start_serving)

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str | None = None,
        port: int | None = None,
        **options: object,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect over the network; raises ``ConnectionRefusedError`` without a listener, the rest as above."""
        _check_options("create_connection", options)
        if host is None or port is None:
            raise ValueError("host and port are needed: there are no sockets here")
        return await self._networked().dial(protocol_factory, host, port)

    def _networked(self) -> Network:
        if self._network is None:
            raise NotImplementedError("this loop was created without a network")
        return self._network

    def close(self) -> None:
        """Discard every timer and callback."""
        super().close()
        self._timers.clear()


def run_virtual(
    main: Callable[[VirtualLoop], Coroutine[Any, Any, T]],
    network: Network | None = None,
    *,
    origin: Instant = 0.0,
    executor_latency: Seconds | Callable[[], Seconds] = EXECUTOR_LATENCY_S,
    executor_share: float = 0.0,
) -> T:
    """Run ``main(loop)`` in a new virtual loop and return its result; the thread's own loop stays unchanged.

    Tasks that ``main`` leaves behind are cancelled, oldest first, and awaited. Raises what ``main`` raises, and
    :class:`DeadlockError` if nothing can ever happen again.
    """
    loop = VirtualLoop(network, origin=origin, executor_latency=executor_latency, executor_share=executor_share)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(main(loop))
        finally:
            loop.run_until_complete(loop.cancel_leftovers())


def _process_of(handle: Any) -> str | None:  # noqa: ANN401 - asyncio does not declare a handle's context
    """The process that a callback belongs to."""
    name: str | None = handle._context.get(PROCESS)
    return name


def _check_options(call: str, options: dict[str, object]) -> None:
    for name, value in options.items():
        if name in ("ssl", "sock"):
            if value:
                raise NotImplementedError(f"{call}({name}=...): the virtual network knows no {name}")
        elif name not in IGNORED_OPTIONS:
            raise TypeError(f"{call}() got an unknown option {name!r}")


def _describe(task: asyncio.Task[Any]) -> str:
    coro: Any = task.get_coro()
    return f"{task.get_name()} ({getattr(coro, '__qualname__', coro)})"


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
