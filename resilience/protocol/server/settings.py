"""The settings of a room and of a server's connections. Pure values; it does not know where they come from."""

from __future__ import annotations

import msgspec

from resilience.policy.adaptive_heartbeat import AdaptiveBounds
from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.policy.return_window import MAX_SPREAD_S
from resilience.units import Seconds


class RoomSettings(msgspec.Struct, frozen=True):
    """The settings of a room; durations in seconds, ``join_capacity`` in joins per second.

    ``max_participants`` is the most identities that the room knows; 0 for no limit. ``max_return_spread``: of the first
    attempts of a herd.
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
    max_return_spread: Seconds = MAX_SPREAD_S


class ConnectionSettings(msgspec.Struct, frozen=True):
    """The settings of all connections; durations in seconds, ``message_rate`` in messages per second (0: unlimited).

    ``idle_host_timeout`` is the longest silence of a host whose event does not exist.
    """

    first_message_deadline: Seconds
    idle_host_timeout: Seconds
    strike_limit: int
    message_rate: float
    message_burst: int
