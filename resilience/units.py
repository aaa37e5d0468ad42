"""Names for quantities. Nothing lives here but types: no arithmetic, no defaults."""

from typing import NewType

Seconds = float
"""A duration in seconds. Plain ``float``: durations are added, scaled and compared everywhere."""

Instant = float
"""A point on one monotonic clock, in seconds since that clock's own origin. Never wall time."""

ParticipantId = NewType("ParticipantId", str)
"""Public name of one participant in one event; safe to show to others."""

ConnectionNo = NewType("ConnectionNo", int)
"""Fencing number: counts the accepted connections of one participant from 1. Only the highest one may act."""
