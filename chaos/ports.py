"""Ports for listeners, chosen below the range from which the kernel takes ports for outgoing connections.

A listener inside that range can lose its port to a client while it is down, and a client that retries against it can
even connect to itself (Toxiproxy's README, FAQ; measured: after 30,430 tries). Two runs at once do not collide: each
draws from the system's randomness, the one kind of draw an experiment's seed does not own, since a port is a fact about
the machine. Nothing here knows who will listen.
"""

from __future__ import annotations

import errno
import random
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from resilience.errors import HarnessError, PortInUseError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOW = 20_000
"""First port that :func:`free_ports` hands out."""

HIGH = 32_000
"""One past the last; Linux's ephemeral range begins at 32,768 unless the machine is configured otherwise."""


def free_ports(n: int, host: str = "127.0.0.1", *, low: int = LOW, high: int = HIGH) -> list[int]:
    """Return ``n`` different TCP ports in ``[low, high)`` on which ``host`` has no socket, in random order.

    All were bound at the same moment and then let go, so another process may still take one before its owner listens:
    be ready to ask again. Raises HarnessError when fewer than ``n`` are free or ``host`` is no address of this machine.
    """
    with ExitStack() as held:
        ports = [port for port, _ in zip(_free(host, low, high, held), range(n), strict=False)]
    if len(ports) < n:
        raise HarnessError(
            f"only {len(ports)} of {n} ports wanted are free on {host} between {low} and {high - 1}: "
            "end other runs, or wait a minute for closed connections to leave the table"
        )
    return ports


def require_free(port: int, host: str = "127.0.0.1") -> None:
    """Raise PortInUseError when another program already has ``port`` on ``host``."""
    with ExitStack() as held:
        if not _bind(host, port, held):
            raise PortInUseError(host, port)


def _free(host: str, low: int, high: int, held: ExitStack) -> Iterator[int]:
    for port in random.SystemRandom().sample(range(low, high), high - low):
        if _bind(host, port, held):
            yield port


def _bind(host: str, port: int, held: ExitStack) -> bool:
    """Bind ``port`` until ``held`` ends; False when it is taken. Without SO_REUSEADDR, so lingering pairs count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = held.enter_context(closing(socket.socket(family, socket.SOCK_STREAM)))
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            return False
        raise HarnessError(
            f"cannot listen on {host}: {error}; give an address of this machine, such as 127.0.0.1"
        ) from error
    return True
