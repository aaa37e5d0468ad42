"""The open transports of one server: how many there are, and which of them are in use. Pure.

Only a connection whose handshake has arrived, and which the server has not closed since, counts towards its capacity.
So a peer that opens transports and says nothing, or is rejected and stays, keeps no client out; and the number of all
transports is bounded, because each of them is an open file.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from resilience.policy.half_open import HalfOpenConnections

K = TypeVar("K", bound=Hashable)


class OpenTransports(Generic[K]):
    """Counts transports by key; from ``limit`` of them on, each new one replaces one that is not in use."""

    def __init__(self, limit: int) -> None:
        self.half_open: HalfOpenConnections[K] = HalfOpenConnections()
        self._in_use: dict[K, str] = {}
        self._limit, self._count = limit, 0

    @property
    def in_use(self) -> int:
        """How many transports have sent the whole head of a handshake and are not closed by this server."""
        return len(self._in_use)

    def opened(self, key: K, address: str) -> K | None:
        """A transport was opened; returns the one that must be aborted for it, which will not be returned again."""
        replaced = self.half_open.to_replace(address) if self._count >= self._limit else None
        if replaced is not None:
            self.half_open.discard(replaced)
        self.half_open.add(key, address)
        self._count += 1
        return replaced

    def handshake_arrived(self, key: K) -> int:
        """A transport has sent the whole head of its handshake; returns how many are in use, this one included."""
        address = self.half_open.discard(key)
        if address is not None:
            self._in_use[key] = address
        return len(self._in_use)

    def closing(self, key: K) -> None:
        """This server closes a transport that was in use; until its peer does so too, it may be replaced."""
        address = self._in_use.pop(key, None)
        if address is not None:
            self.half_open.add(key, address)

    def aborted(self, key: K) -> None:
        """A transport will be gone at once: it is not in use, and to replace it would free nothing."""
        self._in_use.pop(key, None)
        self.half_open.discard(key)

    def lost(self, key: K) -> None:
        """A transport is gone."""
        self.aborted(key)
        self._count -= 1

    def __len__(self) -> int:
        return self._count
