"""Sends everybody home over a while: closes spread, nothing unanswered, each with a moment of its own to come back.

Clients start from the foot of their ladder after an orderly close, so the server must do the spreading for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from resilience.config import ServerConfig
from resilience.policy.retry import CloseCode
from resilience.runtime import RunClock
from resilience.server.gateway import Socket
from resilience.units import Seconds

TICK: Seconds = 0.05
PATIENCE: Seconds = 5.0
"""How long a close may wait for a commit that does not come."""


def window_for(config: ServerConfig, guests: int) -> Seconds:
    """Over how long to close: at least as long as the server would need to take everybody back."""
    return max(config.drain_window, guests / config.join_capacity) if guests else 0.0


async def send_home(sockets: Mapping[int, Socket], config: ServerConfig, clock: RunClock) -> None:
    """Close every socket, the i-th of n at i/n of the window; returns when all are ordered to close.

    Each is told to return when the window has passed, the restart with it, and then its own share of a second window
    of that length: the way back is as spread as the way out.
    """
    guests = list(sockets.values())
    window, began = window_for(config, len(guests)), clock.now()
    shares = [(i / len(guests) * window, socket) for i, socket in enumerate(guests)]
    while shares:
        elapsed = clock.now() - began
        due = [entry for entry in shares if entry[0] <= elapsed]
        ready = [entry for entry in due if _is_settled(entry[1]) or elapsed > entry[0] + PATIENCE]
        for share, socket in ready:
            if socket.key in sockets:
                back = window - elapsed + config.restart_pause + share
                socket.end(CloseCode.SERVICE_RESTART, f"retry_after={max(back, 0.0):.3f}")
        kept = {id(socket) for _, socket in ready}
        shares = [entry for entry in shares if id(entry[1]) not in kept]
        if shares:
            await asyncio.sleep(TICK)


def _is_settled(socket: Socket) -> bool:
    return socket.hub is None or not socket.hub.is_waiting((socket.key,))
