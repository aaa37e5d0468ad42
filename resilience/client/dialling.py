"""Opens the transport of a dial: the addresses of a name race, so that a silent one costs 250 ms and not the dial.

Happy Eyeballs version 2 (RFC 8305), sections 4 and 5: the families of the addresses alternate, the next address starts
when one has failed or 250 ms after the last start, the first open transport wins, the others are aborted. It is done
here because uvloop's ``create_connection`` knows no ``happy_eyeballs_delay``. A single address needs no race and
creates no task, so it makes no difference to the order of events.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection, connect

from resilience.units import Seconds

ATTEMPT_DELAY_S: Seconds = 0.25
"""Connection Attempt Delay (RFC 8305 section 8)."""

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

_SCOPE = 3
"""Index of the interface in an IPv6 socket address."""

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""One result of ``getaddrinfo``."""

T = TypeVar("T")


class RacingConnect(connect):
    """``websockets.connect`` that races the addresses of the server's name."""

    async def open_tcp_connection(self) -> ClientConnection:
        """The connection at the first address that answers, TLS included.

        Raises ``OSError``: the first error that came from a reachable address, else the first one.
        """
        uri, options = self.ws_uri, self.create_connection_kwargs.copy()
        if uri.secure:
            options.setdefault("ssl", True)
            options.setdefault("server_hostname", uri.host)
        addresses = await addresses_of(uri.host, uri.port)
        return await race([partial(self._open, address, options) for address in addresses], _discard)

    async def _open(self, address: str, options: dict[str, Any]) -> ClientConnection:
        loop, uri = asyncio.get_running_loop(), self.ws_uri
        _, connection = await loop.create_connection(lambda: self.factory(uri), host=address, port=uri.port, **options)
        return connection


async def addresses_of(host: str, port: int) -> list[str]:
    """The addresses of a name, in the order in which to try them; an address is its own."""
    if _is_address(host):
        return [host]
    loop = asyncio.get_running_loop()
    return interleaved(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def interleaved(found: Sequence[AddressInfo]) -> list[str]:
    """The addresses without repetitions, the families alternating, the first one's first (RFC 8305 section 4)."""
    families: dict[int, list[str]] = {}
    for family, _, _, _, place in found:
        addresses = families.setdefault(family, [])
        address = _text_of(family, place)
        if address not in addresses:
            addresses.append(address)
    rounds = zip_longest(*families.values())
    return [address for one_of_each in rounds for address in one_of_each if address is not None]


async def race(
    attempts: Sequence[Callable[[], Coroutine[Any, Any, T]]],
    discard: Callable[[T], None],
    delay: Seconds = ATTEMPT_DELAY_S,
) -> T:
    """The first result of ``attempts``: each starts ``delay`` seconds after the one before, or when one has failed.

    The losers are cancelled. A result that comes in spite of that goes to ``discard``, also when this call itself is
    cancelled. If all fail, raises one of their errors; ``OSError`` without any attempt.
    """
    if len(attempts) == 1:
        return await attempts[0]()
    loop, tasks = asyncio.get_running_loop(), list[asyncio.Task[T]]()
    winner: asyncio.Task[T] | None = None
    try:
        for number, attempt in enumerate(attempts, 1):
            tasks.append(loop.create_task(attempt()))
            winner = await _first_result(tasks, None if number == len(attempts) else delay)
            if winner is not None:
                return winner.result()
    finally:
        for task in tasks:
            if task is not winner:
                task.add_done_callback(partial(_drop, discard))
                task.cancel()
    raise _most_telling([error for task in tasks if (error := task.exception()) is not None])


async def _first_result(tasks: Sequence[asyncio.Task[T]], next_after: Seconds | None) -> asyncio.Task[T] | None:
    """The first task with a result; ``None`` when one fails, or after ``next_after`` seconds: start the next one then.

    ``next_after`` is ``None`` for the last one: returns ``None`` when all have failed.
    """
    running = [task for task in tasks if not task.done()]
    while running:
        await asyncio.wait(running, timeout=next_after, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            if task.done() and task.exception() is None:
                return task
        if next_after is not None:
            return None
        running = [task for task in running if not task.done()]
    return None


def _drop(discard: Callable[[T], None], task: asyncio.Task[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        discard(task.result())


def _most_telling(errors: Sequence[BaseException]) -> BaseException:
    """The first error that came from a host; an address without a route says little about the server."""
    answered = [error for error in errors if getattr(error, "errno", None) not in _NO_ROUTE]
    return next(iter(answered or errors), OSError("the name has no address"))


def _discard(connection: ClientConnection) -> None:
    connection.transport.abort()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _text_of(family: int, place: tuple[Any, ...]) -> str:
    """The address as text; a link-local IPv6 address is complete only with its interface."""
    has_interface = family == socket.AF_INET6 and len(place) > _SCOPE and place[_SCOPE]
    return f"{place[0]}%{place[_SCOPE]}" if has_interface else str(place[0])
