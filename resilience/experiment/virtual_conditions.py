"""How fast and how even the virtual lane's network and storage are. Pure.

An exploration draws these values, so that a run whose races show is one experiment file like any other.
"""

from __future__ import annotations

from math import inf

import msgspec

from resilience.errors import require
from resilience.units import Seconds

LATENCY_S: Seconds = 0.0005
"""One way. Half the heartbeat round trip of the real lane (0.85 to 1.1 ms on loopback through Toxiproxy)."""

STORAGE_S: Seconds = 0.002
"""A group commit to a local disk."""


class VirtualConditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What only the virtual lane reads: how long packets and calls of the store take.

    ``latency`` of a packet one way and ``storage`` of a call of the store, seconds; each packet and call lasts up to
    its ``spread`` longer by a seeded draw (packets mostly little: the draw is squared). A share of packets and calls,
    ``packet_stalls`` and ``storage_stalls``, takes ``stall`` seconds instead. ``storage_share``: the part of a call
    that passes before it takes effect. ``shuffled``: packets of several connections that arrive at one instant are
    delivered in a seeded order, instead of the order in which the connections were dialled.
    """

    latency: Seconds = LATENCY_S
    latency_spread: Seconds = 0.0
    packet_stalls: float = 0.0
    storage: Seconds = STORAGE_S
    storage_spread: Seconds = 0.0
    storage_stalls: float = 0.0
    storage_share: float = 0.0
    stall: Seconds = 0.3
    shuffled: bool = False

    @property
    def is_even(self) -> bool:
        """Whether every packet takes the same time."""
        return not (self.latency_spread or self.packet_stalls)

    def packet_s(self, u: float) -> Seconds:
        """How long the packet of this draw takes one way."""
        return self.stall if u > 1.0 - self.packet_stalls else self.latency + self.latency_spread * u * u

    def storage_s(self, u: float) -> Seconds:
        """How long the call of the store of this draw takes."""
        return self.stall if u > 1.0 - self.storage_stalls else self.storage + self.storage_spread * u


def check_conditions(key: str, conditions: VirtualConditions) -> None:
    """Raise ConfigError for a value that cannot be carried out; ``key`` is the table's place."""
    for name in ("latency", "storage", "stall"):
        value = getattr(conditions, name)
        require(0 < value < inf, f"{key}.{name}", value, "must be a positive, finite number of seconds")
    for name in ("latency_spread", "storage_spread"):
        value = getattr(conditions, name)
        require(0 <= value < inf, f"{key}.{name}", value, "must be a finite number of seconds, at least 0")
    for name in ("packet_stalls", "storage_stalls", "storage_share"):
        value = getattr(conditions, name)
        require(0 <= value <= 1, f"{key}.{name}", value, "must be a share from 0 to 1")
