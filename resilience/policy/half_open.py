"""Which unfinished handshake gives way when a server runs out of sockets. Pure.

A transport that has not sent a whole handshake costs its peer nothing, so it must not keep out those that do; nor must
one that this server has closed already and whose peer holds it open. A new transport takes the place of the oldest such
one of its own address, so that an address which opens many harms itself first; an address without one takes the place
of the oldest of all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class HalfOpenConnections(Generic[K]):
    """The transports of a server that no client uses, by address, in the order in which they were added."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[K, str] = OrderedDict()
        self._by_address: dict[str, OrderedDict[K, None]] = {}

    def add(self, key: K, address: str) -> None:
        """Add a transport that was just opened, or that this server has just closed."""
        self._addresses[key] = address
        self._by_address.setdefault(address, OrderedDict())[key] = None

    def discard(self, key: K) -> str | None:
        """Remove a transport whose handshake has arrived, or that has ended; returns its address if it was there."""
        address = self._addresses.pop(key, None)
        if address is None:
            return None
        same = self._by_address[address]
        del same[key]
        if not same:
            del self._by_address[address]
        return address

    def to_replace(self, address: str) -> K | None:
        """The transport that gives way to a new one of this address; ``None`` when there is none."""
        return next(iter(self._by_address.get(address, self._addresses)), None)

    def __len__(self) -> int:
        return len(self._addresses)
