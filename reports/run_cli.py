"""``chaos run`` and ``sim run`` once the lane is chosen: one run or several, their reports, the verdict on a console.

Shared by both laboratories, which never import one another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resilience.errors import ExitCode, ResilienceError
from resilience.experiment.spec import Experiment
from resilience.lab.command import interruptible, new_repetitions_dir, new_run_dir, report_later, run_experiment
from resilience.lab.progress import ProgressListener, ignore_progress
from resilience.lab.recording import LINES, LogFormat
from resilience.lab.repetitions import RepetitionEnd, RepetitionPlan, repeat
from resilience.lab.run_directory import RunStatus, create_run_dir
from resilience.lab.system import LaneDriver
from resilience.terminal import make_console

from .cli import print_expectations, report_own_run

if TYPE_CHECKING:
    from rich.console import Console

    from .repetitions import RepeatedRuns, Repetition, Repetitions
    from .summary import Summary

ShowProgress = Callable[["Console"], AbstractContextManager[ProgressListener]]


def _show_nothing(_: Console) -> AbstractContextManager[ProgressListener]:
    return nullcontext(ignore_progress)


@dataclass(frozen=True)
class RunRequest:
    """What to run: an experiment, a driver for each run, the seeds, where to, and how a run under way is shown.

    ``out``: the run directory, or that of the repetitions; a new one below ``runs/`` if None. ``log_format`` is that of
    the events recorded in this process.
    """

    experiment: Experiment
    new_driver: Callable[[], LaneDriver]
    plan: RepetitionPlan
    out: Path | None = None
    show_progress: ShowProgress = _show_nothing
    log_format: LogFormat = LINES


def run_and_report(request: RunRequest, console: Console) -> int:
    """Run, report, print; returns the exit code of the verdict. A quiet console gets the verdict in one line."""
    return _run_once(request, console) if request.plan.repetitions == 1 else _RepeatedRun(request, console).run()


def _run_once(request: RunRequest, console: Console) -> int:
    experiment, seed, driver = request.experiment, request.plan.first_seed, request.new_driver()
    with interruptible() as begun:
        run_dir = new_run_dir(driver, experiment, seed, request.out)
        begun.remedy = report_later(run_dir)
        if request.show_progress is not _show_nothing:  # a run of seconds needs no announcement
            _announce(request, run_dir, console)
        with request.show_progress(console) as listener:
            run_experiment(driver, experiment, seed, run_dir, console, listener, log_format=request.log_format)
        return report_own_run(run_dir, console)


def _announce(request: RunRequest, directory: Path, console: Console) -> None:
    experiment, plan = request.experiment, request.plan
    line = f"{experiment.name}, {plan.seeds_in_words}, {experiment.clients} clients: {directory}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)


class _RepeatedRun:
    """Several runs under way: one line for each that has ended, and the verdict on all of them at the end."""

    def __init__(self, request: RunRequest, console: Console) -> None:
        from .repetitions import Repetitions

        self._request, self._console = request, console
        first = request.new_driver()
        self._lane = first.lane
        self._directory = new_repetitions_dir(first, request.experiment, request.plan.seeds, request.out)
        self._together: Repetitions = Repetitions(request.experiment, first.lane, request.plan)
        self._summaries: list[Summary] = []

    def run(self) -> int:
        """Run them, report on all of them; returns the exit code.

        A signal within a run ends that run and is followed by the verdict on the runs so far; any other ends the
        command.
        """
        with interruptible() as begun:
            begun.remedy = f"each run so far has its report below {self._directory}"
            return self._run()

    def _run(self) -> int:
        from .repetition_pages import STEM, write_repetitions

        _announce(self._request, self._directory, self._console)
        stop = repeat(self._request.plan, self._run_one, time.monotonic)
        result = self._together.result(stop)
        write_repetitions(self._directory, result, self._summaries)
        print_repetitions(result, self._console)
        page = self._directory / f"{STEM}.html"
        self._console.print(f"report: {page}", soft_wrap=True, highlight=False, markup=False)
        return int(result.exit_code)

    def _run_one(self, seed: int) -> RepetitionEnd:
        request, name = self._request, f"seed-{seed}"
        run_dir = create_run_dir(
            request.experiment.name, lane=self._lane, seed=seed, stamp="", out=self._directory / name, root=Path()
        )
        driver = request.new_driver()
        with request.show_progress(self._console) as listener:
            outcome = run_experiment(
                driver, request.experiment, seed, run_dir, self._console, listener, log_format=request.log_format
            )
        row = self._report(run_dir, seed)
        self._say(row)
        interrupted = outcome.status is RunStatus.INTERRUPTED
        decided = request.plan.until_decided and self._together.is_decided()
        return RepetitionEnd(ExitCode(row.exit_code), interrupted=interrupted, decided=decided)

    def _report(self, run_dir: Path, seed: int) -> Repetition:
        """Write the run's own report and add it to the others."""
        from .build import analyse, write_report
        from .expectations import Evidence
        from .pooling import JudgedRun

        try:
            log, episodes, summary = analyse(run_dir)
            write_report(run_dir, log, episodes, summary)
        except ResilienceError as error:
            return self._together.add_unreadable(seed, str(error), run_dir.name)
        self._summaries.append(summary)
        return self._together.add(JudgedRun(summary, Evidence.of(log, episodes)), run_dir.name)

    def _say(self, row: Repetition) -> None:
        from .repetition_pages import outcome, restored

        done, planned = self._together.done, self._request.plan.repetitions
        line = f"{done} of {planned}, seed {row.seed}: {outcome(row)}, {restored(row)} came back"
        line += f": {row.reason}" if row.reason else ""
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)


def print_repetitions(result: RepeatedRuns, console: Console) -> None:
    """Print the verdict on all runs, why there are no more, the targets, and what does not hold."""
    from rich.text import Text

    from . import formatting, repetition_pages
    from .cli import STYLES

    head = repetition_pages.banner(result)
    if console.quiet:
        said = f"{head.word}: {result.experiment}, {formatting.pluralise(len(result.repetitions), 'run')}: {head.said}"
        make_console().print(said, soft_wrap=True, highlight=False, markup=False)
        return
    console.print(Text.assemble((f" {head.word} ", f"{STYLES[result.verdict.value]} reverse"), " ", head.said))
    for reason in result.reasons:
        if f"{reason}." not in head.said:
            console.print(Text(reason))
    console.print(Text(repetition_pages.design(result)))
    if result.pooled and result.pooled.success_rate.affected:
        console.print(Text(formatting.certainty(result.pooled.success_rate), style="dim"))
    print_expectations(result.expectations, console)
