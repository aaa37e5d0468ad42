"""Faults carried out on a link: each a context manager that undoes what it did however it is left.

``cut``        disables the proxy and enables it again: FIN at both ends of every connection.
``refuse``     the same with time in between: new connections are refused meanwhile.
``blackhole``  ``timeout`` toxics of 0 ms on the streams it is about. Taking them off closes every connection of the
               link, since bytes are missing; a close by either end passes through them.
"""

from __future__ import annotations

import contextlib
import itertools
from types import TracebackType
from typing import Protocol, Self

from resilience.errors import ToxiproxyError
from resilience.experiment.faults import AnyFault, BlackholeFault
from resilience.experiment.primitives import Direction

from .toxiproxy.client import CallTimes, Stream, Timeout, Toxic

STREAMS: dict[Direction, tuple[Stream, ...]] = {
    Direction.BOTH: ("upstream", "downstream"),
    Direction.UP: ("upstream",),
    Direction.DOWN: ("downstream",),
}

_numbers = itertools.count(1)


class FaultableLink(Protocol):
    """A link, as far as faults need one."""

    @property
    def generation(self) -> int:
        """Grows whenever all that was imposed is gone."""

    def check(self, seen: int) -> None:
        """Raise ToxiproxyError when ``generation`` is no longer ``seen``."""

    async def disable(self) -> CallTimes:
        """Close everything."""

    async def enable(self) -> CallTimes:
        """Let connections in again."""

    async def add(self, toxic: Toxic) -> CallTimes:
        """Put a toxic on."""

    async def remove(self, name: str) -> CallTimes:
        """Take it off."""


class injected:  # noqa: N801 - reads as a verb: async with injected(link, fault)
    """A fault on a link for as long as the block lasts. ``began`` and, afterwards, ``ended`` bracket the orders.

    Raises ToxiproxyError when an order fails or the proxy was replaced meanwhile; on any other way out of the block
    undoing it is tried once and quietly.
    """

    def __init__(self, link: FaultableLink, fault: AnyFault) -> None:
        self._link, self._fault = link, fault
        self._generation = link.generation
        self._toxics: list[str] = []
        self._down = False
        self.began = self.ended = CallTimes(0.0, 0.0)

    async def __aenter__(self) -> Self:
        try:
            self.began = await self._begin()
        except BaseException:
            await self._undo_quietly()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self._undo_quietly()
            return
        self._link.check(self._generation)
        self.ended = await self._end()

    async def _begin(self) -> CallTimes:
        if not isinstance(self._fault, BlackholeFault):
            self._down = True
            return await self._link.disable()
        return _span([await self._silence(stream) for stream in STREAMS[self._fault.direction]])

    async def _silence(self, stream: Stream) -> CallTimes:
        toxic = Timeout(stream=stream, timeout_ms=0, name=f"blackhole-{next(_numbers)}")
        self._toxics.append(toxic.name)
        return await self._link.add(toxic)

    async def _end(self) -> CallTimes:
        calls = []
        if self._down:
            self._down = False
            calls.append(await self._link.enable())
        while self._toxics:
            calls.append(await self._link.remove(self._toxics.pop(0)))
        return _span(calls)

    async def _undo_quietly(self) -> None:
        # Whoever gets here is about to replace the proxy or to end the run, and either undoes it for good.
        with contextlib.suppress(ToxiproxyError):
            self._link.check(self._generation)
            await self._end()


def _span(calls: list[CallTimes]) -> CallTimes:
    return CallTimes(calls[0].before, calls[-1].after)
