"""Carries the fault windows out on the modelled links and looks whether they took. Knows links and the log, no clients.

A canary here is a look at the link itself, but an honest one: a window that did not begin or did not end as it should,
such as one that another fault outlasts, is written as invalid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.faults import BlackholeFault, CutFault, RefuseFault
from resilience.experiment.schedule import FaultWindow

from .clock import SimEnvironment
from .journal import Journal
from .link import ModelLink


class Injector:
    """Opens and closes windows on ``links``, by the name of their cohort."""

    def __init__(self, clock: SimEnvironment, links: Mapping[str, ModelLink], journal: Journal) -> None:
        self._clock, self._links, self._journal = clock, links, journal

    def schedule(self, windows: Iterable[FaultWindow]) -> None:
        """Carry these windows out, each at its planned times."""
        for window in windows:
            self._clock.at(window.starts_at, lambda _, window=window: self._start(window))  # type: ignore[misc]
            if window.fault.length:
                self._clock.at(window.ends_at, lambda _, window=window: self._end(window))  # type: ignore[misc]

    def _start(self, window: FaultWindow) -> None:
        link = self._links[window.cohort]
        self._write(LogEventKind.FAULT_STARTED, window, value=window.starts_at)
        begin(window, link)
        self._judge(
            window, LogEventKind.FAULT_CONFIRMED, None if has_begun(window, link) else "the link did not change"
        )
        if not window.fault.length:
            self._end(window)

    def _end(self, window: FaultWindow) -> None:
        link = self._links[window.cohort]
        self._write(LogEventKind.FAULT_ENDED, window, value=window.ends_at)
        finish(window, link)
        self._judge(window, LogEventKind.FAULT_CLEARED, None if link.usable else "another fault still holds the link")

    def _judge(self, window: FaultWindow, good: LogEventKind, wrong: str | None) -> None:
        if wrong is None:
            self._write(good, window, value=0.0)
        else:
            self._write(LogEventKind.FAULT_INVALID, window, cause=wrong)

    def _write(
        self, kind: LogEventKind, window: FaultWindow, *, value: float | None = None, cause: str | None = None
    ) -> None:
        self._journal.fault(kind, self._clock.now, window.cohort, window.fault_id, value=value, cause=cause)


def begin(window: FaultWindow, link: ModelLink) -> None:
    """Do to the link what the fault's beginning does."""
    match window.fault:
        case CutFault():
            link.cut()
        case RefuseFault():
            link.refuse()
        case BlackholeFault(direction=direction):
            link.open_hole(direction)


def has_begun(window: FaultWindow, link: ModelLink) -> bool:
    """Whether the link is as the fault wants it, right after its beginning."""
    match window.fault:
        case CutFault():
            return not link.connections
        case RefuseFault():
            return link.refusing and not link.connections
        case BlackholeFault(direction=direction):
            return link.is_hole(direction)


def finish(window: FaultWindow, link: ModelLink) -> None:
    """Do to the link what the fault's end does; a cut has none."""
    match window.fault:
        case RefuseFault():
            link.accept()
        case BlackholeFault(direction=direction):
            link.close_hole(direction)
