"""One exploration: runs the seeds that its directory has not, shrinks the first finding of each rule, says what came.

An exploration that was interrupted continues where it stopped, and nothing that it found is lost.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from resilience.errors import HarnessError
from resilience.experiment.primitives import CrashPoint
from resilience.experiment.spec import Experiment
from resilience.units import Seconds

from .crash_experiments import crashes_of
from .records import ExplorationDirectory, SeedRecord, ShrunkFinding
from .seeds import GENERATORS, SeedResult, SeedRunner
from .shrinking import MOST_RUNS, parts, shrink
from .workers import run_seeds

MOST_SHOWN = 5
"""Seeds of one rule that are named."""

REPORTS = 10
"""Lines of progress in one exploration."""

Say = Callable[[str], None]


@dataclass
class ExplorationStatistics:
    """What came of the seeds so far. ``broken``: by rule, the seeds that broke it."""

    seeds: int = 0
    crashes: Counter[CrashPoint] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[int]] = field(default_factory=dict)

    def add(self, record: SeedRecord) -> None:
        """Count one seed."""
        self.seeds += 1
        self.crashes.update(record.crashes)
        self.checked.update(record.checked)
        for rule in record.broken:
            self.broken.setdefault(rule, []).append(record.seed)

    def progress(self, of: int) -> str:
        """The state so far, in one line."""
        seeds = {seed for each in self.broken.values() for seed in each}
        found = f"{len(seeds):,} broke something" if seeds else "nothing was broken"
        return f"{self.seeds:,} of {of:,} seeds: {found}"

    def boundaries(self) -> Iterator[str]:
        """How often the server died at each boundary."""
        width = max(len(point.description) for point in CrashPoint)
        for point in CrashPoint:
            yield f"  {point.description:<{width}}  {self.crashes[point]:>6,}"

    def totals(self, wall_s: Seconds) -> str:
        """What was checked, in how long."""
        answers, restores = self.checked["acknowledged_are_stored"], self.checked["restored_state_true"]
        return f"{answers:,} acknowledged answers and {restores:,} restored sessions checked in {wall_s:.0f} s"


class Exploration:
    """Seeds from ``first`` on, ``count`` of them, in the directory of an exploration."""

    def __init__(self, directory: ExplorationDirectory, first: int, count: int, say: Say) -> None:
        self._directory, self._say = directory, say
        self._seeds = range(first, first + count)
        self.statistics = ExplorationStatistics()

    def run(self, workers: int, most_runs: int = MOST_RUNS) -> None:
        """Run what is left, then shrink; ``most_runs`` for each finding, 0: keep it as it was found.

        Raises :class:`~resilience.errors.HarnessError` when a worker dies or the directory cannot be written.
        """
        began, done = time.perf_counter(), self._directory.done
        for seed in self._seeds:
            if seed in done:
                self.statistics.add(done[seed])
        if self.statistics.seeds:
            self._say(f"continued after {self.statistics.seeds:,} seeds of {self._directory.path}")
        left = [seed for seed in self._seeds if seed not in done]
        step = max(len(self._seeds) // REPORTS, 1)
        try:
            for record in run_seeds(self._directory.plan, left, workers):
                self._directory.add(record)
                self.statistics.add(record)
                if self.statistics.seeds % step == 0:
                    self._say(self.statistics.progress(len(self._seeds)))
        except HarnessError as error:
            raise HarnessError(f"{error}; {self.remedy()}") from error
        self._say(self.statistics.totals(time.perf_counter() - began))
        self._shrink_findings(most_runs)

    def remedy(self) -> str:
        """What the user has when the exploration is interrupted, and may do."""
        done = sum(seed in self._directory.done for seed in self._seeds)
        kept = f"{done:,} of {len(self._seeds):,} seeds are kept in {self._directory.path}"
        return f"{kept}; the same command with --out {self._directory.path} continues"

    def _shrink_findings(self, most_runs: int) -> None:
        """Keep an experiment for every broken rule; one that breaks several rules stands for all of them."""
        for rule, seeds in self._by_first_seed():
            if self._finding_of(rule) is None:
                self._keep_finding(rule, min(seeds), most_runs)

    def _keep_finding(self, rule: str, seed: int, most_runs: int) -> None:
        plan, runner = self._directory.plan, SeedRunner()
        experiment = GENERATORS[plan.what](seed, plan.clients)

        def shows(candidate: Experiment) -> bool:
            return rule in runner.run(candidate, (rule,)).broken

        self._say(f"shrinking {rule} of seed {seed}: {parts(experiment)}")
        small = shrink(experiment, shows, most_runs)
        broken = runner.run(small.experiment).broken
        size = parts(small.experiment)
        self._directory.add_finding(
            ShrunkFinding(rule, seed, broken, size, small.runs, small.complete), small.experiment
        )

    def _by_first_seed(self) -> list[tuple[str, list[int]]]:
        return sorted(self.statistics.broken.items(), key=lambda item: (min(item[1]), item[0]))

    def _finding_of(self, rule: str) -> ShrunkFinding | None:
        return next((found for found in self._directory.findings() if rule in found.broken), None)

    def findings(self) -> Iterator[str]:
        """Every broken rule of these seeds: its counterexample, its seeds, the command that replays the smallest."""
        for rule, seeds in self._by_first_seed():
            named = ", ".join(str(seed) for seed in sorted(seeds)[:MOST_SHOWN])
            more = f" and {len(seeds) - MOST_SHOWN:,} more" if len(seeds) > MOST_SHOWN else ""
            yield f"{rule}: {self._directory.done[min(seeds)].broken[rule]}"
            yield f"  seeds {named}{more}"
            finding = self._finding_of(rule)
            if finding is not None:
                unfinished = "" if finding.complete else ", all that --shrink allows"
                yield f"  smallest of {finding.runs} runs{unfinished} ({finding.size}): {finding.broken[rule]}"
                yield f"  replay: {replay_command(self._directory.experiment_of(finding.rule))}"


def replay_command(experiment: Path) -> str:
    """The command that runs the experiment of a finding, with its own seed."""
    return f"resilience sim run {experiment} --lane virtual"


def describe_crashes(result: SeedResult) -> Iterator[str]:
    """What was done to the server of one seed, in the order of the faults in its experiment."""
    for (t, point), crash in zip(sorted(result.crashes), crashes_of(result.experiment), strict=False):
        fate = "a commit under way still happened" if crash.lands else "a commit under way never happened"
        sent = "sent bytes arrived" if crash.flushes else "sent bytes were lost"
        yield f"  died at {t:.3f} s {point.description}; {fate}, {sent}; the next started {crash.pause:.2f} s later"
