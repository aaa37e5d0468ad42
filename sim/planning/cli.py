"""``resilience sim sweep``, ``capacity`` and ``tune``: options in, directories and answers out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from resilience.errors import ExitCode, UsageError
from resilience.extras import missing_of, needs_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from reports.sweep import Target
    from resilience.experiment.spec import Expectation

    from .sweep import SweepRequest
    from .workers import Workers

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("experiment")
@click.option(
    "--lane",
    type=click.Choice(["population", "model"]),
    default="population",
    show_default=True,
    help="Which simulator.",
)
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=VALUES",
    help="A setting and its values: KEY=A,B,C for a grid, KEY=LOW..HIGH for a sample. KEY is any key of --set, or "
    '"scale", which multiplies every cohort\'s size.',
)
@click.option(
    "--sample",
    type=(click.Choice(["latin", "sobol", "morris"]), click.IntRange(1)),
    metavar="METHOD N",
    help="Sample the ranges: latin with N points, sobol with N (a power of two) base samples, morris with N "
    "trajectories. Needs the extra planning.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value for all points.")
@click.option("--seed", type=click.IntRange(0), help="First seed; replication r has the seed r higher at every point.")
@click.option(
    "--replications", type=click.IntRange(1), help="Runs of each point; with --half-width the most. [5; 40 with it]"
)
@click.option(
    "--half-width",
    type=click.FloatRange(0, min_open=True),
    help="Replicate each point until the 95 % interval of the metric is so narrow to either side.",
)
@click.option("--metric", help="What the table and --half-width are about. [the first expectation's, or success_rate]")
@click.option(
    "--decide",
    metavar="KEY",
    help='A varied setting to decide: "report capacity" then answers which value holds the first expectation, every '
    "other setting at its first value.",
)
@click.option("--lower-is-safer", is_flag=True, help="For --decide: smaller values are the safer ones.")
@click.option("--workers", type=click.IntRange(1), help="Local processes. [one for each processor]")
@click.option("--dask", metavar="ADDRESS", help="Run on this Dask scheduler, such as tcp://10.0.0.5:8786.")
@click.option("--out", type=_PATH, required=True, help="The sweep's directory; one that was interrupted is continued.")
@needs_extra("sim")
def sweep(
    experiment: str,
    lane: str,
    vary: tuple[str, ...],
    sample: tuple[str, int] | None,
    overrides: tuple[str, ...],
    seed: int | None,
    replications: int | None,
    half_width: float | None,
    metric: str | None,
    decide: str | None,
    lower_is_safer: bool,
    workers: int | None,
    dask: str | None,
    out: Path,
) -> int:
    """Run EXPERIMENT (a file or a bundled name) for many settings, with common random numbers, and tabulate.

    Writes sweep.parquet (a row for each run), sweep.md (means with intervals, and what each setting does to them for
    sobol and morris) and keeps every result as soon as it is known: the same command continues an interrupted sweep.

    Exit codes: 0 finished, 2 bad input, 4 a run or a worker failed.
    """
    from reports.sweep import Decision
    from resilience.eventlog.vocabulary import Lane
    from resilience.experiment.loader import load, to_toml

    from .design import Method, make_design, parse_factor
    from .evaluation import Scenario
    from .stopping import StoppingRule
    from .sweep import SweepRequest as Request

    if sample is not None:
        _require_extra("planning", f"--sample {sample[0]}")
    loaded = load(experiment, overrides)
    first = loaded.seed if seed is None else seed
    expectation = _first_measured(loaded.expectations)
    method, size = (Method(sample[0]), sample[1]) if sample is not None else (Method.GRID, 0)
    request = Request(
        Scenario(name=loaded.name, text=to_toml(loaded), lane=Lane(lane), seed=first),
        make_design(tuple(map(parse_factor, vary)), method, size, first),
        StoppingRule(replications or (5 if half_width is None else 40), half_width),
        metric or (expectation.metric if expectation else "success_rate"),
        None if decide is None else Decision(name=decide, unit=decide, higher_is_safer=not lower_is_safer),
        _target(expectation),
        ("resilience", *sys.argv[1:]),
    )
    _tabulate(request, out, *_executor(workers, dask))
    return ExitCode.PASS


def _tabulate(
    request: SweepRequest, out: Path, workers: Callable[[], AbstractContextManager[Workers]], number: int | None
) -> None:
    """Run the sweep and print its tables."""
    from resilience.lab.command import interruptible, say

    from .progress import SweepProgress
    from .sweep import run_sweep, to_markdown

    with interruptible() as begun:
        begun.remedy = "what was computed is kept: the same command continues from it"
        outcome = run_sweep(request, out, workers, SweepProgress(say, number))
    click.echo(to_markdown(request, outcome))
    if request.decision is not None:
        click.echo(f"answer it with: resilience report capacity {shlex.quote(str(out))}")


@click.command()
@click.argument("plan", type=_PATH)
@click.option("--workers", type=click.IntRange(1), help="Local processes. [one for each processor]")
@click.option("--dask", metavar="ADDRESS", help="Run on this Dask scheduler, such as tcp://10.0.0.5:8786.")
@click.option("--out", type=_PATH, required=True, help="The directory; one that was interrupted is continued.")
@needs_extra("sim")
def capacity(plan: Path, workers: int | None, dask: str | None, out: Path) -> int:
    """Answer PLAN, a TOML file: how many server processes, and which settings, survive its triggers.

    For each trigger it sweeps numbers of processes, one of them lost, then sizes of the trigger at the answer, and
    writes a directory with a report as of "report capacity". plan.md has all answers together.

    Exit codes: 0 a number of processes holds for all triggers, 1 none of those tried does, 2 bad input, 3 not decided,
    4 a run or a worker failed.
    """
    from resilience.lab.command import interruptible, say

    from .capacity import Machinery, answer_trigger
    from .plan_files import load_plan, plan_answer, write_answer
    from .progress import SweepProgress

    loaded = load_plan(plan)
    executor, number = _executor(workers, dask)
    command = ("resilience", *sys.argv[1:])
    reports = {}
    with interruptible() as begun:
        begun.remedy = "what was computed is kept: the same command continues from it"
        for trigger in loaded.triggers:
            say(f"trigger {trigger.kind}")
            machinery = Machinery(executor, SweepProgress(say, number), command)
            reports[trigger] = answer_trigger(loaded, trigger, out / trigger.kind.value, machinery)
        answer = plan_answer(loaded, reports)
        click.echo(write_answer(out, answer, reports))
    return answer.exit_code


@click.command()
@click.argument("experiment")
@click.option(
    "--search",
    "space",
    multiple=True,
    metavar="KEY=VALUES",
    help="A setting to search: KEY=LOW..HIGH or KEY=A,B,C. [backoff, cap, budget, heartbeat, retention, return window]",
)
@click.option("--trials", type=click.IntRange(1), default=64, show_default=True, help="Combinations to try.")
@click.option("--replications", type=click.IntRange(2), default=3, show_default=True, help="Runs of each combination.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value for all trials.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the search and of the first replication.")
@click.option("--workers", type=click.IntRange(1), help="Local processes. [one for each processor]")
@click.option("--dask", metavar="ADDRESS", help="Run on this Dask scheduler, such as tcp://10.0.0.5:8786.")
@click.option("--out", type=_PATH, required=True, help="The directory; a search that was interrupted is continued.")
@needs_extra("planning")
def tune(
    experiment: str,
    space: tuple[str, ...],
    trials: int,
    replications: int,
    overrides: tuple[str, ...],
    seed: int | None,
    workers: int | None,
    dask: str | None,
    out: Path,
) -> int:
    """Search settings of EXPERIMENT's clients and servers for the frontier of downtime, dials and server load.

    Runs the population lane. Says whether the shipped presets lie on the frontier that was found; frontier.md has it,
    trials.json every trial.

    Exit codes: 0 finished, 2 bad input, 4 a run or a worker failed.
    """
    from resilience.eventlog.vocabulary import Lane
    from resilience.experiment.loader import load, to_toml
    from resilience.lab.command import interruptible, say

    from .design import parse_factor
    from .evaluation import Scenario
    from .progress import SweepProgress
    from .tuning import SPACE, TuneRequest, search, to_markdown

    loaded = load(experiment, overrides)
    # A client that gives up is out for the whole run.
    statistics = msgspec.structs.replace(loaded.statistics, deadline=loaded.duration)
    loaded = msgspec.structs.replace(loaded, statistics=statistics)
    first = loaded.seed if seed is None else seed
    scenario = Scenario(name=loaded.name, text=to_toml(loaded), lane=Lane.POPULATION, seed=first)
    factors = tuple(parse_factor(text, "--search") for text in space or SPACE)
    request = TuneRequest(scenario, factors, trials, replications)
    executor, number = _executor(workers, dask)
    with interruptible() as begun:
        begun.remedy = "what was computed is kept: the same command continues from it"
        found = search(request, out, executor, SweepProgress(say, number))
    click.echo(to_markdown(request, found))
    return ExitCode.PASS


def _first_measured(expectations: Sequence[Expectation]) -> Expectation | None:
    """The first one of the whole run whose metric a sweep measures."""
    from .figures import FIGURES

    whole = (each for each in expectations if each.cohort is None and each.fault is None)
    return next((each for each in whole if each.metric in FIGURES), None)


def _target(expectation: Expectation | None) -> Target | None:
    from reports.sweep import Target as Made

    if expectation is None:
        return None
    return Made(
        metric=expectation.metric,
        op=expectation.op,
        threshold=expectation.threshold,
        confidence=expectation.confidence,
    )


def _executor(
    workers: int | None, dask: str | None
) -> tuple[Callable[[], AbstractContextManager[Workers]], int | None]:
    """Where to compute, and on how many processes as far as that is known."""
    from .workers import dask_workers, local_workers, worker_count

    if dask is None:
        number = worker_count(workers)
        return lambda: local_workers(number), number
    if workers is not None:
        raise UsageError("--workers: is for local processes; with --dask the cluster decides")
    _require_extra("cluster", "--dask")
    return lambda: dask_workers(dask), None


def _require_extra(extra: str, option: str) -> None:
    advice = missing_of(extra)
    if advice is not None:
        raise UsageError(f"{option}: {advice}")
