"""Types for quantities: no arithmetic, no defaults."""

Seconds = float
"""A duration in seconds: a plain ``float``, because durations are added, scaled and compared everywhere."""

Instant = float
"""A point on one monotonic clock, in seconds since that clock's own origin; never wall time."""
