"""Where an event runs, and what a client is sent that comes for one which is not served here now. Pure."""

from __future__ import annotations

from enum import Enum

from resilience.units import Seconds

MOVED_RETRY_AFTER_S: Seconds = 5.0
"""When to come back for an event that is moving to another server."""

DATABASE_RETRY_AFTER_S: Seconds = 2.0
"""When to come back for an event that waits for its database."""

DATABASE_AWAY = f"retry_after={DATABASE_RETRY_AFTER_S:.1f} the database is away; the event continues when it is back"
"""The reason of a close, at most 123 bytes."""


class EventLocation(Enum):
    """Where an event runs."""

    HERE = "here"
    RECOVERING = "recovering"
    """Here, as soon as the database answers."""
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"


TRY_AGAIN_REASONS = {
    EventLocation.RECOVERING: DATABASE_AWAY,
    EventLocation.ELSEWHERE: f"retry_after={MOVED_RETRY_AFTER_S:.1f} the event is moving to another server",
}
"""Why not now, by where an event is."""
