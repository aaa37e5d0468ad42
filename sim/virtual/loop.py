"""An asyncio event loop whose clock jumps to the next timer instead of waiting for it. No descriptors, no threads.

The order of events is a function of the program alone: ready callbacks run in the order they were scheduled, timers in the
order of their time and, for equal times, of their making.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from resilience.errors import HarnessError
from resilience.units import Seconds

if TYPE_CHECKING:
    from .network import Listener, VirtualNetwork

T = TypeVar("T")

EXECUTOR_LATENCY: Seconds = 0.003
"""What a call in an executor takes: about a durable SQLite commit (research: 1.3 ms p99 alone, more in groups)."""


class _NoSelector(selectors.BaseSelector):
    """There are no descriptors to select."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> NoReturn:  # noqa: ANN401, ARG002
        """Refuse: a descriptor would need real time."""
        raise HarnessError("the virtual loop has no file descriptors; use its network")

    unregister = register

    def select(self, timeout: float | None = None) -> list[Any]:  # noqa: ARG002 - the interface
        """Nothing, ever."""
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Nothing."""
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Connections and listeners belong to ``network``; executor calls run at once and take latency."""

    def __init__(
        self, network: VirtualNetwork, *, origin: float = 0.0, executor_latency: Seconds = EXECUTOR_LATENCY
    ) -> None:
        self._now = origin
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._sequence = itertools.count()
        super().__init__(_NoSelector())
        self._network, self._executor_latency = network, executor_latency

    # time -------------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """The virtual clock, seconds."""
        return self._now

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._sequence), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _run_once(self) -> None:
        """One turn: jump to the next timer if nothing is ready, then run what is ready now."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        if not ready:
            self._jump()
        now = self._now
        while timers and timers[0][0] <= now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:  # noqa: SLF001 - the loop is its handles' friend, as asyncio's own are
                handle._run()  # noqa: SLF001 - as above

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if timers:
            self._now = max(self._now, timers[0][0])
        elif not self._stopping:  # type: ignore[attr-defined]
            raise HarnessError(f"deadlock at {self._now:.3f} virtual seconds: everybody waits and no timer is set")

    # the outside world ------------------------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # noqa: ANN401, ARG002, E501
        """Run ``func`` now, on this thread; its result arrives after the modelled latency."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - whatever it raises belongs to whoever awaits it
            self.call_later(self._executor_latency, _settle, future, None, error)
        else:
            self.call_later(self._executor_latency, _settle, future, result, None)
        return future

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread."""
        return self.call_soon(callback, *args, context=context)

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:  # type: ignore[override]  # noqa: ANN401
        """Every name is its own address."""
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Listener:  # type: ignore[override]  # noqa: ANN401, E501
        """Listen on the virtual network."""
        return self._network.listen(self, protocol_factory, host, port, backlog=options.get("backlog", 100))

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Any,
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        **_: Any,  # noqa: ANN401
    ) -> tuple[asyncio.Transport, Any]:
        """Connect over the virtual network."""
        if ssl:
            raise HarnessError("the virtual network speaks plain TCP only")
        return await self._network.connect(self, protocol_factory, host, port)

    def _make_self_pipe(self) -> None:
        """No other thread will ever wake this loop."""

    def _close_self_pipe(self) -> None:
        """There is none."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""


def _settle(future: asyncio.Future[T], result: Any, error: Exception | None) -> None:  # noqa: ANN401
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def run_virtual(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]], network: VirtualNetwork) -> T:
    """Run ``main`` on a fresh virtual loop over ``network`` to its end; what it leaves running is cancelled."""
    loop = VirtualLoop(network)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))
