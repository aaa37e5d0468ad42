"""Exchanges by which a canary sees how a path carries bytes and closes: times, pieces and ends. Judges nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from resilience.units import Seconds

Address = tuple[str, int]
"""Host and port."""

EXCHANGE_TIMEOUT_S: Seconds = 3.0
"""How long one exchange may take: on the slowest link that an experiment may ask for it takes a second."""

_LINE = b"X-Padding: " + 85 * b"x" + b"\r\n"
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of a request.

    ``reply``: what arrived, in ``reads`` pieces; ``spread``: seconds from the first of them to the last;
    ``ended_after``: seconds from the request to the last piece; ``is_over``: there was a connection, and it has ended.
    """

    reply: bytes = b""
    reads: int = 0
    spread: Seconds = 0.0
    ended_after: Seconds = 0.0
    is_over: bool = False


def request(padding: int = 0) -> bytes:
    """A request for ``/healthz`` that is ``padding`` bytes longer than the shortest, or a few more."""
    return _REQUEST + -(-padding // len(_LINE)) * _LINE + b"\r\n"


async def exchange(address: Address, padding: int = 0) -> Exchange:
    """Open a connection, send a request and read until the end, for ``EXCHANGE_TIMEOUT_S`` at most."""
    clock = asyncio.get_running_loop().time
    reply, times, is_over = b"", [0.0], False
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*address)
    except OSError:  # a timeout, too
        return Exchange()
    try:
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            try:
                asked_at = clock()
                writer.write(request(padding))
                while piece := await reader.read(65536):
                    reply += piece
                    times.append(clock() - asked_at)
                is_over = True
            finally:
                writer.transport.abort()
    except TimeoutError:
        pass
    except OSError:
        is_over = True
    arrived = times[1:] or times
    return Exchange(reply, len(times) - 1, arrived[-1] - arrived[0], arrived[-1], is_over)


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
