"""Runs many seeds of generated experiments in the virtual lane and judges each as ``report build`` would.

``crash`` is the only generator so far. Knows experiments, histories and checks; nothing of servers, links or clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from reports.frames import RunHistory, load_history
from reports.invariants import run_checks
from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import LogEventKind, Verdict
from resilience.eventlog.writer import EventList
from resilience.experiment.primitives import CrashPoint
from resilience.experiment.spec import Experiment
from resilience.lab.recording import Recording
from resilience.lab.run import RunOutcome, conduct, execute, opening_info
from resilience.lab.run_directory import RunStatus
from resilience.server.store import MEMORY, SqlStore
from resilience.units import Instant, Seconds

from .crash_experiments import crash_experiment, crashes_of
from .virtual.lane import VirtualConditions, VirtualLane, collector_paused

MOST_SHOWN = 5
SEEDS_PER_COLLECTION = 10

STALLED_S: Seconds = 0.3
"""What one storage call in a hundred takes."""


def _latency(u: float) -> Seconds:
    return 0.0005 + 0.01 * u * u


def _storage_latency(u: float) -> Seconds:
    return STALLED_S if u > 0.99 else 0.001 + 0.02 * u  # noqa: PLR2004 - one call in a hundred


UNEVEN_CONDITIONS = VirtualConditions(_latency, _storage_latency, 0.5)
"""Packets and storage calls of uneven length, so that races show."""


@dataclass
class SeedResult:
    """What came of one seed. ``crashes``: when and where the server died; ``broken``: rule and counterexample."""

    seed: int
    experiment: Experiment
    crashes: list[tuple[Instant, CrashPoint]]
    broken: dict[str, str]
    checked: Counter[str]
    history: RunHistory


def explore(first: int, count: int, clients: int) -> Iterator[SeedResult]:
    """Run ``count`` seeds from ``first`` on, in memory; garbage is collected now and then, which is faster."""
    lane = VirtualLane(UNEVEN_CONDITIONS, SqlStore(MEMORY))
    for start in range(first, first + count, SEEDS_PER_COLLECTION):
        seeds = range(start, min(start + SEEDS_PER_COLLECTION, first + count))
        with collector_paused():
            results = [run_seed(seed, clients, lane) for seed in seeds]
        yield from results


def run_seed(seed: int, clients: int, lane: VirtualLane | None = None) -> SeedResult:
    """Run and judge the crash experiment of one seed, in memory."""
    lane = lane or VirtualLane(UNEVEN_CONDITIONS)
    experiment, recording = crash_experiment(seed, clients), Recording.in_memory()
    info = opening_info(lane.lane, experiment, seed)
    outcome = conduct(lane, experiment, seed, recording)
    _require_completed(outcome)
    events = recording.events if isinstance(recording.events, EventList) else EventList()
    history = RunHistory(
        msgspec.structs.replace(info, status=outcome.status, cause=outcome.cause),
        experiment,
        sorted(events, key=lambda event: event.t),
        recording.observations,
        recording.stored,
    )
    return judge_seed(history)


def keep_seed(seed: int, clients: int, run_dir: Path) -> SeedResult:
    """The same, with the run kept in a run directory."""
    experiment = crash_experiment(seed, clients)
    _require_completed(execute(VirtualLane(UNEVEN_CONDITIONS), experiment, seed, run_dir))
    return judge_seed(load_history(run_dir))


def judge_seed(history: RunHistory) -> SeedResult:
    """Every check that a report makes of a run, with what it found."""
    broken: dict[str, str] = {}
    checked: Counter[str] = Counter()
    for item in run_checks(history):
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


def _require_completed(outcome: RunOutcome) -> None:
    if outcome.status is not RunStatus.COMPLETED:
        raise HarnessError(f"the run did not complete: {outcome.status}: {outcome.cause}")


@dataclass
class CrashStatistics:
    """What came of the seeds so far."""

    clients: int
    seeds: int = 0
    crashes: Counter[CrashPoint] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    broken: dict[int, dict[str, str]] = field(default_factory=dict)

    def add(self, result: SeedResult) -> None:
        """Count one seed."""
        self.seeds += 1
        self.crashes.update(point for _, point in result.crashes)
        self.checked.update(result.checked)
        if result.broken:
            self.broken[result.seed] = result.broken

    def progress(self, of: int) -> str:
        """The state so far, in one line."""
        found = f"{len(self.broken)} seeds broke something" if self.broken else "nothing was lost"
        return f"{self.seeds} of {of} seeds, {self.crashes.total():,} crashes: {found}"

    def boundaries(self) -> Iterator[str]:
        """How often the server died at each boundary."""
        width = max(len(point.description) for point in CrashPoint)
        for point in CrashPoint:
            yield f"  {point.description:<{width}}  {self.crashes[point]:>6,}"

    def totals(self, wall_s: Seconds) -> str:
        """What was checked, in how long."""
        answers, restores = self.checked["acknowledged_are_stored"], self.checked["restored_state_true"]
        return f"{answers:,} acknowledged answers and {restores:,} restored sessions checked in {wall_s:.0f} s"

    def failures(self) -> Iterator[str]:
        """The first seeds that broke something: what, and the command that replays each."""
        for seed, broken in list(self.broken.items())[:MOST_SHOWN]:
            yield f"seed {seed}; again: {replay_command(seed, self.clients)}"
            for name, detail in broken.items():
                yield f"  {name}: {detail}"
        if len(self.broken) > MOST_SHOWN:
            yield f"and {len(self.broken) - MOST_SHOWN} more seeds"


def replay_command(seed: int, clients: int) -> str:
    """The command that runs one seed again."""
    return f"resilience sim explore crash --from {seed} --seeds 1 --clients {clients}"


def describe(result: SeedResult) -> Iterator[str]:
    """What was done to the server of one seed, in the order of the faults in its experiment."""
    for (t, point), crash in zip(sorted(result.crashes), crashes_of(result.experiment), strict=False):
        fate = "a commit under way still happened" if crash.lands else "a commit under way never happened"
        sent = "sent bytes arrived" if crash.flushes else "sent bytes were lost"
        yield f"  died at {t:.3f} s {point.description}; {fate}, {sent}; the next started {crash.pause:.2f} s later"
