"""Runs the bundled experiments one after the other and prints one table; ends with the gravest exit code.

``make chaos`` runs the quick set: every experiment but the large ones (:data:`LARGE`) in the virtual lane, and
:data:`QUICK` in the real one. ``make chaos-nightly`` runs every experiment in the real lane. With ``--seeds`` each runs
once for each seed, which shows that no verdict depends on one of them. A run that does not pass stops no other; its
directory is kept, with its report.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from chaos.real_lane import RealLane
from chaos.toxiproxy.provision import find_toxiproxy
from reports.build import analyse, build_report
from reports.findings import banner
from resilience.errors import GRAVITY, ExitCode, ResilienceError, UsageError, describe_error
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import catalogue, load
from resilience.experiment.spec import Experiment
from resilience.lab.command import run_experiment
from resilience.lab.run_directory import RunStatus
from resilience.lab.system import LaneDriver
from resilience.terminal import make_console
from sim.virtual.lane import VirtualLane

QUICK = (
    "smoke",
    "tunnel",
    "zombie-takeover",
    "server-crash",
    "server-deploy",
    "lost-acknowledgement",
    "late-answer",
    "mid-message-cut",
    "herd",
)
"""Those of the quick set that also run in the real lane, where a second takes a second: about eight minutes."""

LARGE = "scale"
"""The group of experiments with thousands of clients: they measure the laboratory, and run in the real lane only."""

WORDS = {ExitCode.PASS: "pass", ExitCode.FAIL: "fail", ExitCode.INCONCLUSIVE: "inconclusive", ExitCode.HARNESS: "error"}


class Planned(NamedTuple):
    """One run that is to be made."""

    lane: Lane
    experiment: Experiment
    seed: int


class Result(NamedTuple):
    """One run that was made: its exit code, the real seconds that it took with its report, and what the report says."""

    planned: Planned
    code: ExitCode
    wall_s: float
    said: str
    interrupted: bool = False


def quick_set() -> list[tuple[Lane, str]]:
    """Every experiment in virtual time but for the large ones, then a few over real processes."""
    small = [name for name in catalogue() if load(name).group != LARGE]
    return [*((Lane.VIRTUAL, name) for name in small), *((Lane.REAL, name) for name in QUICK)]


def chosen(lanes: Sequence[str], names: Sequence[str]) -> list[tuple[Lane, str]]:
    """These experiments, or all, in these lanes; the quick set if neither is given."""
    if not lanes and not names:
        return quick_set()
    return [(Lane(lane), name) for lane in lanes or (Lane.VIRTUAL,) for name in names or catalogue()]


def plan(selected: Iterable[tuple[Lane, str]], seeds: int | None, first: int) -> list[Planned]:
    """The runs: with the experiment's own seed, or with ``seeds`` of them from ``first`` on."""
    loaded = [(lane, load(name)) for lane, name in selected]
    if seeds is None:
        return [Planned(lane, experiment, experiment.seed) for lane, experiment in loaded]
    return [Planned(lane, experiment, seed) for seed in range(first, first + seeds) for lane, experiment in loaded]


def carry_out(planned: Planned, driver: LaneDriver, run_dir: Path, *, keep: bool = True) -> Result:
    """Run and judge; whatever fails is the result. Without ``keep`` a run that passes is removed, without a report."""
    began, interrupted = time.monotonic(), False
    try:
        outcome = run_experiment(driver, planned.experiment, planned.seed, run_dir, make_console())
        interrupted = outcome.status is RunStatus.INTERRUPTED
        summary = analyse(run_dir)[2] if not keep else build_report(run_dir)
        if not keep and summary.exit_code is not ExitCode.PASS:
            build_report(run_dir)
        elif not keep:
            shutil.rmtree(run_dir)
        code, said = ExitCode(summary.exit_code), banner(summary).said
    except ResilienceError as error:
        code, said = error.exit_code, describe_error(error)
    return Result(planned, code, time.monotonic() - began, said, interrupted)


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that counts; without any run nothing was shown to pass."""
    return min(codes, key=GRAVITY.index, default=ExitCode.INCONCLUSIVE)


def table(results: Sequence[Result]) -> list[str]:
    """A line for each experiment and lane: how many runs, how they ended, and the mean real seconds of one."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.planned.lane, result.planned.experiment.name), []).append(result)
    lines = [f"{'lane':8} {'experiment':22} {'runs':>4}  {'verdicts':32} {'seconds each':>12}"]
    for (lane, name), mine in groups.items():
        counts = Counter(WORDS.get(result.code, "error") for result in mine)
        verdicts = ", ".join(f"{count} {word}" for word, count in counts.items())
        mean = sum(result.wall_s for result in mine) / len(mine)
        lines.append(f"{lane:8} {name:22} {len(mine):4}  {verdicts:32} {mean:12.1f}")
    return lines


@click.command()
@click.argument("names", nargs=-1)
@click.option("--lane", "lanes", type=click.Choice(["virtual", "real"]), multiple=True, help="Where to run them.")
@click.option("--seeds", type=click.IntRange(1), help="Run each with so many seeds.  [default: its own]")
@click.option("--from", "first", type=click.IntRange(0), default=1, show_default=True, help="The first seed.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the runs are kept.  [default: below runs/]")
def main(names: tuple[str, ...], lanes: tuple[str, ...], seeds: int | None, first: int, out: Path | None) -> None:
    """Run NAMES, or all bundled experiments; without names and lanes the quick set.

    With --seeds, directories of runs that pass are removed.
    """
    runs = plan(chosen(lanes, names), seeds, first)
    folder = out or Path("runs") / "catalogue" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    drivers = make_drivers({run.lane for run in runs})
    results: list[Result] = []
    for number, planned in enumerate(runs, 1):
        run_dir = folder / planned.lane / f"{planned.experiment.name}-{planned.seed}"
        result = carry_out(planned, drivers[planned.lane], run_dir, keep=seeds is None)
        results.append(result)
        what = f"{planned.lane} {planned.experiment.name} seed {planned.seed}"
        end = f"{WORDS.get(result.code, 'error')}, {result.wall_s:.1f} s"
        click.echo(f"{number}/{len(runs)} {what}: {end}" + ("" if result.code is ExitCode.PASS else f": {result.said}"))
        if result.interrupted:
            break
    click.echo("\n".join(["", *table(results), "", f"runs: {folder}"]))
    sys.exit(gravest(result.code for result in results))


def make_drivers(lanes: Iterable[Lane]) -> dict[Lane, LaneDriver]:
    """The driver of each lane that is needed."""
    drivers: dict[Lane, LaneDriver] = {}
    for lane in lanes:
        virtual = lane is Lane.VIRTUAL
        drivers[lane] = VirtualLane() if virtual else RealLane(toxiproxy=find_toxiproxy(None, say=click.echo).path)
    return drivers


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
