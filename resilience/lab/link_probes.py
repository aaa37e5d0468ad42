"""Exchanges by which a canary sees how a link carries bytes and closes: their times, pieces and ends.

Each is compared with one that goes straight to the server: what both show is not the link's doing.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import NamedTuple

from resilience.experiment.primitives import Direction, LateClose, SlowBytes, SmallPieces, TornMessage
from resilience.units import Seconds

Address = tuple[str, int]
"""Host and port."""

EXCHANGE_TIMEOUT_S: Seconds = 3.0
"""How long one exchange may take: on the slowest link that an experiment may ask for it takes a second."""

PLAINLY = 0.8
"""The part of a proxy's pauses that a canary must see: its own clock and the proxy's timers are not exact."""

STATUS_BYTES = len(b"HTTP/1.1 200")
"""So much of a reply tells its status."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9])\d\d")
_LINE = b"X-Padding: " + 85 * b"x" + b"\r\n"
_REST = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


class HealthRequest(NamedTuple):
    """An HTTP path whose answer shows that a server works: a status of 2xx, or, with ``any_status``, any status."""

    path: str
    any_status: bool = False

    def encoded(self, padding: int = 0) -> bytes:
        """The request, ``padding`` bytes longer than the shortest, or a few more."""
        return b"GET " + self.path.encode() + _REST + -(-padding // len(_LINE)) * _LINE + b"\r\n"

    def accepts(self, reply: bytes) -> bool:
        """Whether a reply that begins like this is such an answer."""
        line = _STATUS_LINE.match(reply)
        return line is not None and (self.any_status or line[1] == b"2")


class HealthRequests(NamedTuple):
    """What is requested to learn whether a server answers (``alive``), and whether it takes new connections."""

    alive: HealthRequest
    ready: HealthRequest


QUIZ_HEALTH = HealthRequests(HealthRequest("/healthz"), HealthRequest("/readyz"))
"""Those of this program's own server."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of a request.

    ``reply``: what arrived, in ``reads`` pieces; ``spread``: seconds from the first of them to the last;
    ``ended_after``: seconds from the request to the last piece; ``is_over``: there was a connection, and it has ended;
    ``is_healthy``: the request accepts the reply.
    """

    reply: bytes = b""
    reads: int = 0
    spread: Seconds = 0.0
    ended_after: Seconds = 0.0
    is_over: bool = False
    is_healthy: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether the server is healthy, as far as this exchange tells."""
        return self.is_over and self.is_healthy


async def exchange(address: Address, padding: int = 0, request: HealthRequest = QUIZ_HEALTH.alive) -> Exchange:
    """Open a connection, send the request and read until the end, for ``EXCHANGE_TIMEOUT_S`` at most."""
    clock = asyncio.get_running_loop().time
    reply, times = b"", [0.0]
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*address)
    except OSError:  # a timeout, too
        return Exchange()
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            try:
                asked_at = clock()
                writer.write(request.encoded(padding))
                while piece := await reader.read(65536):
                    reply += piece
                    times.append(clock() - asked_at)
                is_over = True
            finally:
                writer.transport.abort()
    except TimeoutError:
        is_over = False  # what came until now is the exchange
    except OSError:
        is_over = True
    arrived = times[1:] or times
    spread, is_healthy = arrived[-1] - arrived[0], request.accepts(reply)
    return Exchange(reply, len(times) - 1, spread, arrived[-1], is_over, is_healthy)


async def closes_late(address: Address, late: Seconds) -> bool | None:
    """Whether the other end closes a connection over ``late`` seconds after this one; ``None``: there was none."""
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*address)
    except OSError:  # a timeout, too
        return None
    try:
        writer.write_eof()
        async with asyncio.timeout(late):
            await reader.read()
    except TimeoutError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        writer.transport.abort()


async def shows_in_bytes(
    symptom: SlowBytes | SmallPieces | TornMessage | LateClose,
    request: HealthRequest,
    *,
    link: Address,
    server: Address,
) -> bool:
    """Whether the link shows the symptom now, and the server by itself does not; ``request``: what both answer."""
    match symptom:
        case SlowBytes():
            return await _throttles(symptom, request, link, server)
        case SmallPieces():
            return await _slices(symptom, request, link, server)
        case TornMessage():
            return await _tears(symptom, request, link, server)
        case LateClose(at_least=late):
            return await closes_late(server, late / 2) is False and await closes_late(link, late) is True


async def _throttles(symptom: SlowBytes, request: HealthRequest, link: Address, server: Address) -> bool:
    took = []
    for address in (server, link):
        short, padded = [await exchange(address, size, request) for size in (0, symptom.padding)]
        if not (short.is_answered and padded.is_answered):
            return False
        took.append(padded.ended_after - short.ended_after)
    return took[1] >= symptom.at_least and took[0] < took[1] / 2


async def _slices(symptom: SmallPieces, request: HealthRequest, link: Address, server: Address) -> bool:
    straight, crossing = [await exchange(address, request=request) for address in (server, link)]
    if not (straight.is_answered and crossing.is_answered):
        return False
    least = (-(-len(crossing.reply) // symptom.size) - 1) * symptom.delay * PLAINLY
    return crossing.reads > 1 and crossing.spread >= least > 2 * straight.spread


async def _tears(symptom: TornMessage, request: HealthRequest, link: Address, server: Address) -> bool:
    padding = 0 if symptom.direction is Direction.DOWN else symptom.size
    straight, crossing = [await exchange(address, padding, request) for address in (server, link)]
    if not (straight.is_answered and crossing.is_over):
        return False
    if symptom.direction is Direction.DOWN:
        return len(crossing.reply) == symptom.size < len(straight.reply)
    return len(crossing.reply) < len(straight.reply)
