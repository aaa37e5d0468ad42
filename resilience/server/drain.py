"""Sends everybody home over a while: closes spread, nothing unanswered, each with a moment of its own to come back.

Clients start from the foot of their ladder after an orderly close, so the server must do the spreading for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from resilience.config import ServerConfig
from resilience.policy.close_codes import CloseCode
from resilience.runtime import RunClock
from resilience.server.gateway import WebSocketPeer
from resilience.units import Seconds

TICK_S: Seconds = 0.05
MAX_COMMIT_WAIT_S: Seconds = 5.0
"""How long a close may wait for a commit that does not come."""


def drain_window(config: ServerConfig, connections: int) -> Seconds:
    """Over how long to close: at least as long as the server would need to take everybody back."""
    return max(config.drain_window, connections / config.join_capacity) if connections else 0.0


async def drain_connections(peers: Mapping[int, WebSocketPeer], config: ServerConfig, clock: RunClock) -> None:
    """Close every peer, the i-th of n at i/n of the window; returns when all are ordered to close.

    Each is told to return when the window has passed, the restart with it, and then its own share of a second window
    of that length: the way back is as spread as the way out.
    """
    connections = list(peers.values())
    window, began = drain_window(config, len(connections)), clock.now()
    shares = [(i / len(connections) * window, peer) for i, peer in enumerate(connections)]
    while shares:
        elapsed = clock.now() - began
        due = [entry for entry in shares if entry[0] <= elapsed]
        ready = [entry for entry in due if _is_settled(entry[1]) or elapsed > entry[0] + MAX_COMMIT_WAIT_S]
        for share, peer in ready:
            if peer.key in peers:
                back = window - elapsed + config.restart_pause + share
                peer.close(CloseCode.SERVICE_RESTART, f"retry_after={max(back, 0.0):.3f}")
        kept = {id(peer) for _, peer in ready}
        shares = [entry for entry in shares if id(entry[1]) not in kept]
        if shares:
            await asyncio.sleep(TICK_S)


def _is_settled(peer: WebSocketPeer) -> bool:
    return peer.hub is None or not peer.hub.is_waiting(peer.key)
