"""Runs each experiment on each system, one after the other, and keeps what ran whatever fails. Prints nothing."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from reports.systems import SystemInfo, SystemRuns, SystemsComparison, compare_systems, was_interrupted
from resilience.config import ClientConfig, ServerConfig
from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.spec import Experiment
from resilience.lab.command import RUNS
from resilience.lab.repetitions import RepetitionPlan
from resilience.lab.run import require_lane
from resilience.lab.run_directory import create_shared_dir

from ..cached_builds import Say
from ..drivers.process import key_of, resolve_command
from ..placeholders import provide_programs
from ..targets.choice import require_target
from .system import NamedSystem, with_system


@dataclass(frozen=True)
class SystemCell:
    """One experiment on one system, and the seeds of its runs."""

    system: str
    experiment: Experiment
    plan: RepetitionPlan


RunCell = Callable[[SystemCell, Path], object]
"""Runs one cell into a directory that is not there yet."""


@dataclass(frozen=True)
class SystemsPlan:
    """What is to be compared. ``cells``: experiment by experiment, in the order of the systems."""

    experiments: tuple[Experiment, ...]
    systems: tuple[NamedSystem, ...]
    cells: tuple[SystemCell, ...]

    @classmethod
    def of(
        cls,
        experiments: Sequence[Experiment],
        systems: Sequence[NamedSystem],
        seed: int | None = None,
        repetitions: int = 1,
    ) -> SystemsPlan:
        """Put every experiment on every system; ``seed``: the first one, that of each experiment if None.

        Raises :class:`~resilience.errors.UsageError` where a system, or the real lane, cannot carry out an experiment.
        """
        cells = tuple(
            SystemCell(
                system.name,
                with_system(each, system),
                RepetitionPlan(each.seed if seed is None else seed, repetitions),
            )
            for each in experiments
            for system in systems
        )
        for cell in cells:
            require_lane(cell.experiment, Lane.REAL)
        return cls(tuple(experiments), tuple(systems), cells)

    def first_of(self, system: str) -> Experiment:
        """The first experiment that runs on this system."""
        return next(cell.experiment for cell in self.cells if cell.system == system)

    def notes(self) -> Iterator[str]:
        """What a reader should know of how the experiments were changed, and of the machine."""
        defaults = {"server": ServerConfig(), "client": ClientConfig()}
        for each in self.experiments:
            changed = [name for name, default in defaults.items() if getattr(each, name) != default]
            if changed:
                tables = " and ".join(f"[{name}]" for name in changed)
                yield f"{each.name}: its tables {tables} were left out; every system ran with its own settings"
        yield f"machine: {platform.system()} {platform.machine()}, {os.cpu_count()} processors"


@dataclass
class SystemsRun:
    """The comparison under way, in ``directory``: what has run, and which systems could not be had."""

    plan: SystemsPlan
    directory: Path
    done: list[SystemRuns] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def provide(self, say: Say) -> None:
        """Fetch or build what the systems need; a system for which that fails is left out.

        Raises :class:`~resilience.errors.UsageError` for a program that a system of the user's own names wrongly.
        """
        for system in self.plan.systems:
            one = self.plan.first_of(system.name)
            try:
                provide_programs(one, say=say)
            except HarnessError as error:
                self.problems[system.name] = " ".join(str(error).split())
                continue
            require_target(one)
            for name, driver in one.drivers_in_use.items():
                if isinstance(driver, StdioDriver):
                    resolve_command(driver.command, key_of(name))

    def run(self, run_cell: RunCell) -> None:
        """Run every cell in turn; an interrupted run is the last one."""
        for cell in self.plan.cells:
            if cell.system in self.problems:
                continue
            where = self.directory / cell.experiment.name / cell.system
            self.done.append(SystemRuns(cell.experiment, cell.system, where, cell.plan.seeds))
            run_cell(cell, where)
            if was_interrupted(where):
                return

    def result(self) -> SystemsComparison:
        """What has run, side by side; HarnessError when nothing has."""
        systems = [
            SystemInfo(name=each.name, title=each.title, settings=each.settings, problem=self.problems.get(each.name))
            for each in self.plan.systems
        ]
        if not self.done:
            raise HarnessError(f"no system is there to run on: {'; '.join(self.problems.values())}")
        titles = {each.name: each.title or each.name for each in self.plan.experiments}
        return compare_systems(systems, titles, self.done, self.directory, tuple(self.plan.notes()))


@contextlib.contextmanager
def directory_of(out: Path | None) -> Iterator[Path]:
    """The directory of all runs, made: ``out``, empty or absent, or a new one below ``runs/``.

    Removed at the end if it was made here and holds nothing.
    """
    was_there = out is not None and out.exists()
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    directory = create_shared_dir(out, RUNS / "compare-systems" / stamp, "the directory of the comparison")
    try:
        yield directory
    finally:
        if not was_there:
            with contextlib.suppress(OSError):  # it holds runs
                directory.rmdir()
