"""Plain connections over one link, real or virtual, with a record of what each end sees. Knows no fault."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from resilience.experiment.primitives import Condition, Impose, Lift, LinkOperation
from resilience.lab.system import FaultableLink

from ..support.deadlines import HANG_S

POLL_S = 0.002
QUIET_S = 0.2
"""How long nothing must happen to count as silence."""


class End(asyncio.Protocol):
    """One end of a connection: the bytes that arrived, each piece with its time, and how it ended.

    ``ended``: ``"end"`` for a FIN, ``"reset"`` for an RST; ``then`` is called when it ends. It is added to ``made``
    when its connection is made: asyncio makes a server's protocol one turn of the loop before.
    """

    def __init__(self, made: list[End] | None = None) -> None:
        self._made = [] if made is None else made
        self.pieces: list[tuple[float, bytes]] = []
        self.ended = ""
        self.ended_at = 0.0
        self.then: Callable[[], None] | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._made.append(self)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((_now(), data))

    def eof_received(self) -> None:
        self._end("end")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("reset" if isinstance(exc, ConnectionResetError) else "end")

    def _end(self, how: str) -> None:
        if not self.ended:
            self.ended, self.ended_at = how, _now()
            if self.then is not None:
                self.then()

    @property
    def heard(self) -> bytes:
        """All bytes that arrived."""
        return b"".join(data for _, data in self.pieces)

    def take_pieces(self) -> int:
        """Forget what arrived; returns in how many pieces it did."""
        count = len(self.pieces)
        self.pieces.clear()
        return count

    def say(self, data: bytes) -> float:
        """Send bytes; returns when."""
        self.transport.write(data)
        return _now()

    def close(self) -> float:
        """Close this end; returns when."""
        self.transport.close()
        return _now()


class Wire:
    """A link, and a server behind it; ``accepted`` are the server's ends, oldest first."""

    def __init__(self, link: FaultableLink, address: tuple[str, int], accepted: list[End]) -> None:
        self.link, self._address, self.accepted = link, address, accepted

    async def dial(self) -> End:
        """A new connection's client end; the server need not have accepted it."""
        _, end = await asyncio.get_running_loop().create_connection(End, *self._address)
        return end

    async def pair(self) -> tuple[End, End]:
        """Both ends of a new connection over which bytes pass."""
        known = len(self.accepted)
        client = await self.dial()
        await until(lambda: len(self.accepted) > known)
        server = self.accepted[known]
        client.say(b"?")
        await until(lambda: server.heard == b"?")
        server.say(b"!")
        await until(lambda: client.heard == b"!")
        server.pieces.clear()
        client.pieces.clear()
        return client, server

    async def apply(self, operation: LinkOperation) -> None:
        """Carry out one operation."""
        await self.link.apply(operation)

    async def impose(self, condition: Condition) -> None:
        """Make a condition hold."""
        await self.link.apply(Impose(condition))

    async def lift(self, condition: Condition) -> None:
        """Undo it."""
        await self.link.apply(Lift(condition))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails when it does not come true."""
    try:
        async with asyncio.timeout(HANG_S):
            while not condition():  # noqa: ASYNC110 - a test asks, nothing would tell it
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"never came true: {inspect.getsource(condition).strip()}") from None


async def quiet() -> None:
    """Let so much time pass that what can happen has happened."""
    await asyncio.sleep(QUIET_S)


def _now() -> float:
    return asyncio.get_running_loop().time()
