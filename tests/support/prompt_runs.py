"""Runs over real processes that are asked for all that should happen: their laboratory must have kept up.

A run whose own processes stood still is late whatever the system did, and its records say so: a judgement that is made
before a test asserts anything, and that a defect of the system cannot bring about. Such a run is made again. What must
hold on a starved machine too is asserted of every run, where it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import LogEvent, LogEventKind
from resilience.lab.health import LATE_S
from resilience.lab.run_directory import read_run_info
from resilience.units import Seconds

from .processes import logged

T = TypeVar("T")

TOO_BUSY = "too busy"
"""In the cause of a run that the laboratory itself gave up: of clients that have not reported no lateness is known."""

MOST_RUNS = 3
"""A machine on which so many runs were late is not waited for any longer: the last one is judged as it is."""


def prompt_run(make: Callable[[Path], T], folder: Path) -> tuple[T, Path]:
    """Make runs until one kept up; returns what ``make`` returned, and the folder that it got.

    ``make`` gets a folder that does not exist yet, for one run or several. What it raises is passed on, except that a
    HarnessError of runs that did not keep up is one more reason to make others.
    """
    for number in range(1, MOST_RUNS):
        where = folder / f"run-{number}"
        try:
            made = make(where)
        except HarnessError:
            if kept_up(where):
                raise
        else:
            if kept_up(where):
                return made, where
    return make(folder / "last-run"), folder / "last-run"


def kept_up(where: Path) -> bool:
    """Whether each run there began, and neither a process of it nor a fault was ever later than a fault may be."""
    runs = [file.parent for file in where.rglob("run.json")]
    return bool(runs) and all(map(_kept_up, runs))


def _kept_up(run_dir: Path) -> bool:
    events = logged(run_dir)
    if TOO_BUSY in (read_run_info(run_dir).cause or ""):
        return False
    return any(event.kind is LogEventKind.RUN_STARTED for event in events) and max(map(_lateness, events)) <= LATE_S


def _lateness(event: LogEvent) -> Seconds:
    """How late the laboratory was, by this record; a fault's has both edges of its operation, and the planned time."""
    match event.kind:
        case LogEventKind.LAB_LAG:
            return event.value or 0.0
        case LogEventKind.FAULT_STARTED | LogEventKind.FAULT_ENDED:
            _, _, done = (event.detail or "").partition("..")
            return float(done) - (event.value or 0.0) if done else 0.0
        case _:
            return 0.0
