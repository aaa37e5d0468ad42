"""Names for quantities. Nothing lives here but types: no arithmetic, no defaults."""

Seconds = float
"""A duration in seconds. Plain ``float``: durations are added, scaled and compared everywhere."""

Instant = float
"""A point on one monotonic clock, in seconds since that clock's own origin. Never wall time."""
