"""Runs the experiment of one seed in the virtual lane, in memory, and judges it as ``report build`` would.

Knows experiments, histories and checks; nothing of servers, links or clients.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from reports.frames import RunHistory, load_history
from reports.invariants import CHECKS, run_checks
from resilience.eventlog.vocabulary import LogEventKind, Verdict
from resilience.eventlog.writer import EventList
from resilience.experiment.faults import REPLACES_SERVER
from resilience.experiment.primitives import CrashPoint
from resilience.experiment.spec import Experiment
from resilience.lab.recording import Recording
from resilience.lab.run import RunOutcome, conduct, execute, opening_info
from resilience.lab.run_directory import RunStatus
from resilience.server.store import MEMORY, SqlStore
from resilience.units import Instant

from ..virtual.lane import VirtualLane
from .crash_experiments import crash_experiment
from .schedule_experiments import schedule_experiment

Generate = Callable[[int, int], Experiment]
"""The experiment of a seed and a number of clients."""

ALL_RULES: Collection[str] = CHECKS.keys()

RUN_FAILED = "run_failed"
"""The finding of a run that did not complete."""

SYSTEM_FAILED = "system_failed"
"""The finding of a server that ended, or in which virtual time stood still."""

UNEXPECTED_ERROR = "unexpected_error"
"""The finding of an error that the code under test logged because it had not expected it."""


class Generator(StrEnum):
    """What is generated: any faults at any time, or crashes of the server at every boundary of its work."""

    SCHEDULE = "schedule"
    CRASH = "crash"


GENERATORS: Mapping[Generator, Generate] = {
    Generator.SCHEDULE: schedule_experiment,
    Generator.CRASH: crash_experiment,
}


@dataclass
class SeedResult:
    """What came of one seed. ``crashes``: when and where the server died; ``broken``: rule and counterexample."""

    seed: int
    experiment: Experiment
    crashes: list[tuple[Instant, CrashPoint]]
    broken: dict[str, str]
    checked: Counter[str]
    history: RunHistory


class SeedRunner:
    """Runs one experiment after another. The runs whose server is replaced share one database, emptied before each."""

    def __init__(self) -> None:
        self._in_memory = VirtualLane()
        self._on_database: VirtualLane | None = None

    def run(self, experiment: Experiment, rules: Collection[str] = ALL_RULES) -> SeedResult:
        """Run an experiment with its own seed and judge it by these rules; how it ended is always judged."""
        lane, recording, seed = self._lane_of(experiment), Recording.in_memory(), experiment.seed
        info = opening_info(lane.lane, experiment, seed)
        with unexpected_errors() as errors:
            outcome = conduct(lane, experiment, seed, recording)
            if outcome.cause is not None:
                gc.collect()  # what a stopped run left behind is reported when it is collected: as its own
        events = recording.events if isinstance(recording.events, EventList) else EventList()
        history = RunHistory(
            msgspec.structs.replace(info, status=outcome.status, cause=outcome.cause),
            experiment,
            sorted(events, key=lambda event: event.t),
            recording.observations,
            recording.stored,
        )
        return judge_seed(history, outcome, errors, rules)

    def _lane_of(self, experiment: Experiment) -> VirtualLane:
        if not any(fault.kind in REPLACES_SERVER for fault in experiment.faults):
            return self._in_memory
        if self._on_database is None:
            self._on_database = VirtualLane(SqlStore(MEMORY))
        return self._on_database


def keep_seed(experiment: Experiment, run_dir: Path) -> SeedResult:
    """The same, with the run kept in a run directory."""
    with unexpected_errors() as errors:
        outcome = execute(VirtualLane(), experiment, experiment.seed, run_dir)
    return judge_seed(load_history(run_dir), outcome, errors)


@contextmanager
def unexpected_errors() -> Iterator[list[str]]:
    """Collect what the code under test logs as an error, instead of printing it: the last line of each traceback."""
    collector = _ErrorCollector()
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [collector]
    try:
        yield collector.found
    finally:
        root.handlers = handlers


class _ErrorCollector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an error's first line, and what was raised."""
        said = record.getMessage().partition("\n")[0]
        error = record.exc_info[1] if record.exc_info else None
        self.found.append(said if error is None else f"{said}: {type(error).__name__}: {error}")


def judge_seed(
    history: RunHistory, outcome: RunOutcome, errors: list[str], rules: Collection[str] = ALL_RULES
) -> SeedResult:
    """Every check that a report makes of a run, or those of these names, with what it found; and how the run ended."""
    broken: dict[str, str] = {}
    checked: Counter[str] = Counter()
    if outcome.status is not RunStatus.COMPLETED:
        broken[RUN_FAILED] = f"{outcome.status}: {outcome.cause}"
    elif outcome.cause is not None:
        broken[SYSTEM_FAILED] = outcome.cause
    elif errors:
        broken[UNEXPECTED_ERROR] = errors[0]
    for item in run_checks(history, rules):
        checked[item.name] += item.checked
        failed_itself = item.verdict is Verdict.INCONCLUSIVE and item.detail.startswith("the check itself failed")
        if item.verdict is Verdict.FAIL or failed_itself:
            broken[item.name] = item.detail
    return SeedResult(history.info.seed, history.experiment, crashes_in(history), broken, checked, history)


def crashes_in(history: RunHistory) -> list[tuple[Instant, CrashPoint]]:
    """When and where the server died; a boundary that was not reached in time is an instant."""
    planned = {window.fault_id: window for window in history.experiment.windows(history.info.seed)}
    found: list[tuple[Instant, CrashPoint]] = []
    for t, ref in history.rows(LogEventKind.FAULT_STARTED)[["t", "ref"]].itertuples(index=False):
        window = planned[str(ref)]
        crash = getattr(window.fault, "crash", None)
        if crash is not None:
            found.append((t, crash.point if t < window.starts_at + crash.within else CrashPoint.INSTANT))
    return found
