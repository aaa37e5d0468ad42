"""What a listener may know of a run under way, as values. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resilience.units import Instant, Seconds


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment: what is being done, the run's time and length, open sessions and clients by cohort, active faults."""

    phase: str
    t: Instant
    duration: Seconds
    open: Mapping[str, int]
    clients: Mapping[str, int]
    faults: tuple[str, ...] = ()


ProgressListener = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Listen to nothing."""
