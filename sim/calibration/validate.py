"""Validates a calibration on run directories: reads them, replays them, judges, writes the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from reports.frames import RunHistory
from reports.pages import render_page, write_files
from reports.render import to_json
from resilience.errors import UsageError

from .accepted_gaps import AcceptedGap
from .calibration_file import Calibration, CalibrationRun
from .goals import Goals
from .measured_run import predict
from .pictures import charts
from .replay import obstacle_to_replay
from .runs import describe, read_runs
from .validation import Excluded, Validation, judge, lines_of, predictions_of

FILES = ("validation.json", "validation.html")

ProgressListener = Callable[[str], None]


def _ignore(_: str) -> None:
    """Listen to nothing."""


def validate(  # noqa: PLR0913 - what is compared with what, and by which goals
    paths: Sequence[Path],
    calibration: Calibration,
    name: str,
    *,
    replications: int,
    goals: Goals | None = None,
    gaps: Sequence[AcceptedGap] = (),
    progress: ProgressListener = _ignore,
) -> Validation:
    """Compare these run directories with what the calibrated model predicts of them; ``name`` is the calibration's.

    Raises :class:`~resilience.errors.UsageError` for a run on which the calibration was fitted, and the errors of
    :func:`sim.calibration.runs.read_runs`. A run that the model lane cannot repeat is excluded, with the reason.
    """
    histories = read_runs(paths)
    described = tuple(describe(history) for history in histories)
    _require_unseen(described, histories, calibration)
    excluded, runs = [], []
    for history in histories:
        label, reason = f"{history.info.experiment}, seed {history.info.seed}", obstacle_to_replay(history)
        if reason is not None:
            excluded.append(Excluded(run=label, reason=reason))
            progress(f"{label}: left out: {reason}")
            continue
        runs.append(predict(history, calibration, replications))
        progress(f"{label}: {len(runs[-1].measured)} episodes, replayed {replications + 1} times")
    chosen = goals or Goals()
    return Validation(
        calibration=name,
        calibrated_at=calibration.made_at,
        machine=calibration.machine,
        runs=described,
        goals=chosen,
        results=judge(runs, chosen, gaps) if runs else (),
        lines=lines_of(runs, calibration.repeats),
        predictions=predictions_of(runs),
        excluded=tuple(excluded),
        gaps=tuple(gaps),
        replications=replications,
        confidence=(replications - 1) / (replications + 1),
    )


def _require_unseen(
    described: Sequence[CalibrationRun], histories: Sequence[RunHistory], calibration: Calibration
) -> None:
    fitted = {run.evidence for run in calibration.runs}
    for run, history in zip(described, histories, strict=True):
        if run.evidence in fitted:
            raise UsageError(f"{history.path}: the calibration was fitted to this run; validate it on others")


def write_validation(validation: Validation, out: Path) -> None:
    """Write ``validation.json`` and ``validation.html`` into ``out``; HarnessError in one line when that fails."""
    page = render_page("validation.html.j2", validation=validation, charts=charts(validation))
    write_files(out, {"validation.json": to_json(validation), "validation.html": page}, "the validation")
