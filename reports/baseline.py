"""A run's baseline: a small file from which later runs can be compared with it, when its directory is gone.

It holds the experiment, the verdicts, every compared metric with the bounds that a comparison needs, and sums per fault
window, so that a run of the same seed and schedule is still paired by window (:func:`reports.paired.paired_sums`).
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import pandas as pd

from resilience.errors import HarnessError, UsageError
from resilience.experiment.spec import Experiment
from resilience.text_files import read_text

from .compare import EQUIVALENCE, confidence_of
from .comparison import METRICS, ComparedRun
from .expectations import Estimate
from .measured import Measured
from .paired import WindowSums
from .render import to_json
from .stats import Interval
from .unpaired import RunMean

SCHEMA_VERSION = 1
LABEL = "baseline"

Stored = float | Literal["infinite"] | None
"""A number that may be infinite, or unknown (null)."""

Bounds = tuple[Stored, Stored]


class StoredMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric with one-sided bounds at the confidence of agreement and of a change; ``mean``: as of ``Measured``."""

    value: Stored
    n: int
    agreement: Bounds
    change: Bounds
    mean: RunMean | None


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The file. ``confidence``: of each of the bounds ``change``."""

    schema_version: int = SCHEMA_VERSION
    kind: str = LABEL
    run: ComparedRun
    experiment: Experiment
    confidence: float
    metrics: dict[str, StoredMetric]
    windows: tuple[WindowSums, ...]


class _Head(msgspec.Struct):
    """What tells a baseline of this version from any other JSON file."""

    kind: str = ""
    schema_version: int = 0


@dataclass(frozen=True)
class BaselineRun:
    """A baseline as a comparison needs it: without episodes."""

    baseline: Baseline

    @property
    def side(self) -> ComparedRun:
        """The run's description."""
        return self.baseline.run

    @property
    def experiment(self) -> Experiment:
        """Its experiment."""
        return self.baseline.experiment

    @property
    def sums(self) -> tuple[WindowSums, ...]:
        """Its sums per fault window."""
        return self.baseline.windows

    @property
    def affected(self) -> pd.DataFrame | None:
        """No episodes are stored."""
        return None

    def estimate(self, metric: str, confidence: float) -> Estimate:
        """A stored metric, at the stored confidence that serves."""
        stored = self.baseline.metrics[metric]
        low, high = map(_number, stored.agreement if confidence <= EQUIVALENCE else stored.change)
        return Estimate(_number(stored.value), Interval(low, high, "stored"), stored.n)

    def mean(self, metric: str) -> RunMean | None:
        """A stored metric as a mean over the episodes that it was made from."""
        return self.baseline.metrics[metric].mean


def _number(stored: Stored) -> float:
    return math.nan if stored is None else math.inf if stored == "infinite" else float(stored)


def _stored(number: float) -> Stored:
    return None if math.isnan(number) else "infinite" if math.isinf(number) else float(number)


def baseline_of(run: Measured) -> Baseline:
    """The baseline of a run that was read."""
    confidence = confidence_of(2)
    return Baseline(
        run=msgspec.structs.replace(run.side, label=LABEL),
        experiment=run.experiment,
        confidence=confidence,
        metrics={metric: _metric(run, metric, confidence) for metric in METRICS},
        windows=run.sums,
    )


def _metric(run: Measured, metric: str, confidence: float) -> StoredMetric:
    near, far = run.estimate(metric, EQUIVALENCE), run.estimate(metric, confidence)
    return StoredMetric(
        value=_stored(near.value), n=near.n, agreement=_bounds(near), change=_bounds(far), mean=run.mean(metric)
    )


def _bounds(estimate: Estimate) -> Bounds:
    return _stored(estimate.interval.low), _stored(estimate.interval.high)


def write_baseline(run: Measured, path: Path) -> Baseline:
    """Write a run's baseline; :class:`~resilience.errors.HarnessError` in one line if it cannot be written.

    An earlier baseline stays as it is then.
    """
    baseline = baseline_of(run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
            fresh = Path(folder) / "baseline"
            fresh.write_bytes(to_json(baseline))
            fresh.replace(path)
    except OSError as error:
        raise HarnessError(f"{path}: cannot write the baseline: {error.strerror}") from error
    return baseline


def read_baseline(path: Path) -> BaselineRun:
    """A stored baseline; :class:`~resilience.errors.UsageError` in one line if it is missing or not one."""
    advice = "write it with 'resilience report baseline RUN_DIR --out FILE'"
    try:
        content = read_text(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot read the baseline: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a baseline: {error}; {advice}") from error
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.kind != LABEL or head.schema_version != SCHEMA_VERSION:
            raise UsageError(f"{path}: not a baseline of version {SCHEMA_VERSION}; {advice}")
        baseline = msgspec.json.decode(content, type=Baseline)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not a baseline: {error}; {advice}") from error
    missing = [metric for metric in METRICS if metric not in baseline.metrics]
    if missing or baseline.confidence < confidence_of(2):
        raise UsageError(f"{path}: lacks what a comparison needs now; {advice}")
    return BaselineRun(baseline)
