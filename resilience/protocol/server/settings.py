"""The settings of a room. Pure values; it does not know where they come from."""

from __future__ import annotations

import msgspec

from resilience.policy.adaptive_heartbeat import AdaptiveBounds
from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.units import Seconds


class RoomSettings(msgspec.Struct, frozen=True):
    """The settings of a room; durations in seconds, ``join_capacity`` in joins per second.

    ``max_participants`` is the most identities that the room knows; 0 for no limit.
    """

    heartbeat: HeartbeatTimeouts
    join_capacity: float
    presence_interval: Seconds
    flap_hidden: Seconds
    participants_cap: int
    leaderboard_size: int
    checkpoint_interval: Seconds = 1.0
    adaptive: AdaptiveBounds | None = None
    max_participants: int = 0
