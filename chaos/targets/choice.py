"""The target of an experiment, made; and what is wrong with it on this machine, before anything starts."""

from __future__ import annotations

from pathlib import Path

from resilience.errors import UsageError
from resilience.experiment.spec import Experiment
from resilience.experiment.targets import CommandTargetSpec, ExternalTargetSpec, QuizTargetSpec
from resilience.runtime import RunClock

from .command import CommandTarget, find_program
from .external import ExternalTarget
from .protocol import TargetServer
from .quiz import QuizTarget


def require_target(experiment: Experiment, *, database: str | None = None) -> None:
    """Raise :class:`~resilience.errors.UsageError` when the target cannot be had on this machine as it is described.

    ``database``: the URL that the user gave for the quiz server, if any.
    """
    spec = experiment.target
    if database is not None and not isinstance(spec, QuizTargetSpec):
        raise UsageError(
            f"--db: is for this program's own server, and the experiment's target is of the kind {spec.kind}"
        )
    if isinstance(spec, CommandTargetSpec):
        find_program(spec)


def make_target(
    experiment: Experiment, seed: int, run_dir: Path, *, clock: RunClock, database: str | None = None
) -> TargetServer:
    """The target of one run, not started yet; ``database`` as of :func:`require_target`."""
    match experiment.target:
        case QuizTargetSpec():
            return QuizTarget(experiment, seed, run_dir, clock=clock, database=database)
        case CommandTargetSpec() as spec:
            return CommandTarget(spec, run_dir, clock=clock)
        case ExternalTargetSpec() as spec:
            return ExternalTarget(spec, clock=clock)
