"""The open transports of one server: how many there are, and which of them have sent a handshake. Pure.

Only a connection whose handshake has arrived counts towards the server's capacity, so a peer that opens transports and
says nothing keeps no client out; and the number of all transports is bounded, because each of them is an open file.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from resilience.policy.half_open import HalfOpenConnections

K = TypeVar("K", bound=Hashable)


class OpenTransports(Generic[K]):
    """Counts transports by key; from ``limit`` of them on, each new one replaces one that is half-open."""

    def __init__(self, limit: int) -> None:
        self.half_open: HalfOpenConnections[K] = HalfOpenConnections()
        self.shaken: set[K] = set()
        self._limit, self._count = limit, 0

    def opened(self, key: K, address: str) -> K | None:
        """A transport was opened; returns the one that must be aborted for it, which is no longer half-open."""
        replaced = self.half_open.to_replace(address) if self._count >= self._limit else None
        if replaced is not None:
            self.half_open.discard(replaced)
        self.half_open.add(key, address)
        self._count += 1
        return replaced

    def handshake_arrived(self, key: K) -> int:
        """A transport has sent the whole head of its handshake; returns how many have, this one included."""
        self.half_open.discard(key)
        self.shaken.add(key)
        return len(self.shaken)

    def lost(self, key: K) -> None:
        """A transport is gone."""
        self.half_open.discard(key)
        self.shaken.discard(key)
        self._count -= 1

    def __len__(self) -> int:
        return self._count
