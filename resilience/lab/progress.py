"""What a listener may know of a run under way, as values. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.schedule import FaultWindow
from resilience.units import Instant, Seconds


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment: what is being done, the run's time and length, open sessions and clients by cohort, active faults.

    ``news``: how faults began, ended or failed since the moment before, in words.
    """

    phase: str
    t: Instant
    duration: Seconds
    open: Mapping[str, int]
    clients: Mapping[str, int]
    faults: tuple[str, ...] = ()
    news: tuple[str, ...] = ()


ProgressListener = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Listen to nothing."""


def describe_fault_record(kind: LogEventKind, window: FaultWindow, cause: str | None) -> str | None:
    """A record of a fault window in words, ``None`` for one that is no news: a fault without length does not end."""
    what = f"{window.fault.kind} at {window.place}"
    if kind is LogEventKind.FAULT_STARTED:
        return f"{what} begins" if window.fault.length else f"{what} strikes"
    if kind is LogEventKind.FAULT_ENDED:
        return f"{what} ends" if window.fault.length else None
    return f"{what} is invalid: {cause}" if kind is LogEventKind.FAULT_INVALID else None
