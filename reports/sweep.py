"""A sweep's directory, read and checked: ``sweep.json`` (:class:`Sweep`) and ``sweep.parquet``. Answers nothing.

Columns of ``sweep.parquet``, one row per design point and replication:

===============  =======  =========================================================================================
column           dtype    meaning
===============  =======  =========================================================================================
point            int64    the design point: equal in all its replications
replication      int64    rows of one replication share their random draws in all points (common random numbers)
<decision>       float64  the quantity that is asked for, named by ``decision.name``
<load>           float64  the size of the trigger, named by ``load.name``; only where there is a load
<setting>        float64  any further parameter, named as in ``settings``
<metric>         float64  what a replication measured, at least the target's; named as an expectation's metric
restored         int64    for a target on ``success_rate``: participants that came back, and all that were affected;
affected         int64    absent, or given together
===============  =======  =========================================================================================

The question is answered from the rows at the planned load whose further parameters equal ``settings``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from resilience.errors import UsageError, require
from resilience.experiment.spec import CLOCKS, METRICS, Op
from resilience.text_files import read_text

SCHEMA_VERSION = 1
_LEAST_CONFIDENCE = 0.5


class Provenance(StrEnum):
    """Where a number came from."""

    PUBLISHED = "published"
    MEASURED = "measured"
    ASSUMED = "assumed"


class Assumption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number on which the sweep rests. Published and measured ones name their ``source``."""

    name: str
    value: float | str
    unit: str = ""
    provenance: Provenance
    source: str = ""

    def __post_init__(self) -> None:
        """Check that what is not assumed has a source."""
        sourced = self.provenance is Provenance.ASSUMED or bool(self.source)
        require(sourced, "source", self.source, f"{self.name} is {self.provenance.value}: name the source")


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a point must reach, and how sure that must be.

    ``within``: for a success rate, the longest downtime in seconds of a return that counts; None counts every return.
    """

    metric: str
    op: Op
    threshold: float
    confidence: float = 0.95
    within: float | None = None

    def __post_init__(self) -> None:
        """Check the metric's name and the numbers."""
        require(self.metric in METRICS, "target.metric", self.metric, "must be a metric of an expectation")
        require(math.isfinite(self.threshold), "target.threshold", self.threshold, "must be a number")
        sure = _LEAST_CONFIDENCE < self.confidence < 1
        require(sure, "target.confidence", self.confidence, "must be between 0.5 and 1")
        meant = self.within is None or (self.metric == "success_rate" and 0 < self.within < math.inf)
        require(meant, "target.within", self.within, "is a positive number of seconds, for a success rate only")


class Quantity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A swept quantity: ``name`` of its column, ``unit`` in words, in the plural ("server processes")."""

    name: str
    unit: str


class Decision(Quantity, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The quantity that is asked for; ``higher_is_safer``: more of it cannot make the target harder to reach."""

    higher_is_safer: bool = True


class Load(Quantity, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The size of the trigger that must be survived, ``planned`` in its unit; more is harder."""

    planned: float


class StormCurve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A storm at one point, as columns over ``seconds`` from the trigger; ``decision``: of that point.

    ``connected``: participants; ``joins_per_s`` against ``capacity_per_s``; ``queue_s``: seconds of queued work.
    """

    decision: float
    seconds: tuple[float, ...]
    connected: tuple[float, ...]
    joins_per_s: tuple[float, ...]
    queue_s: tuple[float, ...]
    capacity_per_s: float

    def __post_init__(self) -> None:
        """Check that the columns have one length."""
        columns = (self.connected, self.joins_per_s, self.queue_s)
        same = bool(self.seconds) and all(len(column) == len(self.seconds) for column in columns)
        require(same, "storm", len(self.seconds), "its columns must have one length, and not 0")


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one assumption does to the target's metric when it moves from ``low`` to ``high``, the others as planned.

    ``index``: its total-order share of the variance (Sobol), where the design gives one.
    """

    name: str
    low: float
    high: float
    at_low: float
    at_high: float
    index: float | None = None


class Recovery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds from the end of the trigger until so many were back, at one value of the decision; means.

    ``half``: 50 %; ``most``: 95 %; ``nearly_all``: 99 %; ``everyone``. ``None``: not in every replication.
    """

    at: float
    half: float | None
    most: float | None
    nearly_all: float | None
    everyone: float | None


class BandName(StrEnum):
    """How a system answers a trigger of some size (Bronson et al. 2021)."""

    STABLE = "stable"
    """It returns by itself, and serves hardly a request in vain."""
    VULNERABLE = "vulnerable"
    """It returns, after work in vain."""
    METASTABLE = "metastable"
    """It does not return by itself, though the trigger is over."""


class LoadBand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A size of the trigger at the answer. ``back``: the share that returned; ``work``: requests for each return."""

    load: float
    band: BandName
    back: float
    work: float | None
    last_back_s: float | None


class Recommendation(msgspec.Struct, frozen=True):
    """A setting at the answer, and why it has this value."""

    setting: str
    value: float | None
    unit: str
    reason: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model is known to hold: what it was calibrated on, tested ranges by column, and where it does not.

    ``reached``: the values, at the answer, of those quantities in ``ranges`` that are no columns.
    """

    calibrated_on: tuple[str, ...] = ()
    ranges: dict[str, tuple[float, float]] = {}
    reached: dict[str, float] = {}
    does_not_hold: tuple[str, ...] = ()


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """``sweep.json``. ``stopping``: the rule by which the replications ended, in words; ``command`` repeats the sweep.

    ``settings``: the planned values of the further columns. ``complete`` is false for a sweep that was interrupted.
    ``limiting``: where the safest value of the decision misses the target, what limits it, and what it holds; where it
    is not shown to hold, that it is not shown to miss either; a sentence each.
    """

    schema_version: int
    question: str
    participants: int
    target: Target
    decision: Decision
    load: Load | None = None
    settings: dict[str, float] = {}
    complete: bool = True
    stopping: str = ""
    seed: int = 0
    started_at: str = ""
    command: str = ""
    versions: dict[str, str] = {}
    assumptions: tuple[Assumption, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    storm: StormCurve | None = None
    envelope: Envelope = Envelope()
    recoveries: tuple[Recovery, ...] = ()
    bands: tuple[LoadBand, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    limiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepResult:
    """A sweep that was read: what it was, and its table; columns as in this module's docstring."""

    sweep: Sweep
    table: pd.DataFrame

    @property
    def planned(self) -> pd.DataFrame:
        """The rows whose further parameters are as planned, at any load."""
        rows = self.table
        for name, value in self.sweep.settings.items():
            rows = rows[np.isclose(rows[name], value)]
        return rows


def load_sweep(sweep_dir: Path) -> SweepResult:
    """Read a sweep; :class:`~resilience.errors.UsageError`, in one line, for a missing, foreign or broken one."""
    if not sweep_dir.is_dir():
        raise UsageError(f"{sweep_dir}: no such sweep directory")
    sweep = _read_description(sweep_dir / "sweep.json")
    path = sweep_dir / "sweep.parquet"
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: missing; a sweep has sweep.json and sweep.parquet") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{path}: not a Parquet table: {str(error).splitlines()[0]}") from error
    return SweepResult(sweep, _checked(table, sweep, path))


def _read_description(path: Path) -> Sweep:
    try:
        content = read_text(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; a sweep has sweep.json and sweep.parquet") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a sweep's description: {error}") from error
    try:
        sweep = msgspec.json.decode(content, type=Sweep)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not a sweep's description: {error}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    if sweep.schema_version != SCHEMA_VERSION:
        raise UsageError(f"{path}: version {sweep.schema_version} of the format; this software reads {SCHEMA_VERSION}")
    return sweep


def _checked(table: pd.DataFrame, sweep: Sweep, path: Path) -> pd.DataFrame:
    wanted = ["point", "replication", sweep.decision.name, sweep.target.metric, *sweep.settings]
    wanted += [sweep.load.name] if sweep.load else []
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise UsageError(f"{path}: lacks the columns {', '.join(missing)} that sweep.json names")
    counts = [name for name in ("restored", "affected") if name in table.columns]
    for name in (*wanted, *counts):
        if not pd.api.types.is_numeric_dtype(table[name]) or not np.isfinite(table[name].astype(float)).all():
            raise UsageError(f"{path}: column {name} must hold finite numbers only{_remedy(name)}")
    if table.duplicated(["point", "replication"]).any():
        raise UsageError(f"{path}: a point has a replication twice")
    return table


def _remedy(name: str) -> str:
    """Why a clock's figure is not known; and what to do where that is because clients are away at the end of a run."""
    clock, dot, statistic = name.partition(".")
    if clock not in CLOCKS or not dot:
        return ""
    if statistic == "restricted_mean":
        return ": where no affected client has one it is not known; strike more clients, or for longer"
    return f": where not all return it is not known; take {clock}.restricted_mean, a longer run, or safer values"


def amount(value: float) -> str:
    """A swept quantity in digits: ``1,200,000``, ``0.5``."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
