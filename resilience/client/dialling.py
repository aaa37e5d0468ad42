"""Opens the transport of a dial: the addresses of a name race, so that a silent one costs 250 ms and not the dial.

Happy Eyeballs version 2 (RFC 8305), sections 4 and 5: the families of the addresses alternate, the next address starts
when one has failed or 250 ms after the last start, the first open transport wins, the others are aborted. It is done
here because uvloop's ``create_connection`` knows no ``happy_eyeballs_delay``. A single address needs no race and
creates no task, so it makes no difference to the order of events. A protocol is made only for a transport that is open.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import lru_cache, partial
from itertools import zip_longest
from typing import Any, TypeVar

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.uri import WebSocketURI, parse_uri

from resilience.units import Seconds
from resilience.wire.endpoint import Endpoint

ATTEMPT_DELAY_S: Seconds = 0.25
"""Connection Attempt Delay (RFC 8305 section 8)."""

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

_SCOPE = 3
"""Index of the interface in an IPv6 socket address."""

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""One result of ``getaddrinfo``."""

CACHED = 256
"""URLs and hosts whose parts are remembered: a client dials one of them again and again."""

T = TypeVar("T")
P = TypeVar("P", bound=Endpoint)


async def open_transport(uri: WebSocketURI, make: Callable[[], P]) -> P:
    """A protocol from ``make`` over a transport to the first address of ``uri`` that answers, TLS included.

    Sends nothing, so that a transport that lost the race costs the server no handshake. Raises ``OSError``: the first
    error that came from a reachable address, else the first one.
    """
    options = {"ssl": True, "server_hostname": uri.host} if uri.secure else {}
    if _is_address(uri.host):
        return await _open(uri.host, uri.port, make, options)
    addresses = await addresses_of(uri.host, uri.port)
    return await race([partial(_open, address, uri.port, make, options) for address in addresses], _discard)


async def _open(address: str, port: int, make: Callable[[], P], options: Mapping[str, Any]) -> P:
    _, protocol = await asyncio.get_running_loop().create_connection(make, host=address, port=port, **options)
    return protocol


def _discard(protocol: Endpoint) -> None:
    protocol.abort()


@lru_cache(maxsize=CACHED)
def uri_of(url: str) -> WebSocketURI:
    """The parts of a URL, which no caller may change; raises ``InvalidURI``."""
    return parse_uri(url)


def redirect_of(url: str, error: Exception) -> str | Exception:
    """The URL to which the response of ``url`` redirects a dial; if it does not, the error with which the dial ends.

    The rules are those of ``websockets``: no redirect leaves TLS, and the new URL must be one of a WebSocket.
    """
    if not isinstance(error, InvalidStatus):
        return error
    try:
        return connect(url, compression=None, proxy=None).process_redirect(error)
    except Exception as invalid:  # noqa: BLE001 - a URL of the server's choice, in whatever way it is wrong
        return invalid


async def addresses_of(host: str, port: int) -> list[str]:
    """The addresses of a name, in the order in which to try them."""
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


@lru_cache(maxsize=CACHED)
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
