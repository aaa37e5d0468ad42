"""The calibration file: JSON, versioned, with the machine and the runs that it comes from. Reads, writes, applies.

``docs/calibration.md`` describes the format. A file of another version is refused, since its parameters may mean
something else.
"""

from __future__ import annotations

import math
from collections import Counter
from importlib.resources import files
from pathlib import Path

import msgspec

from reports.pages import failing_in_one_line
from resilience.errors import ConfigError, UsageError
from resilience.experiment.costs import ModelCosts
from resilience.text_files import bundled_texts, read_text
from resilience.units import Seconds

CLIENTS = "clients of one server"
HERD = "connections lost within a second"
RETURNS = "returns in a second"
"""The quantities of which a calibration says what was measured."""

KIND = "quiz-resilience calibration"
SCHEMA_VERSION = 3
"""3: clients have costs too, and all costs are those of threads that share the machine's processors."""
CONFIDENCE = 0.95
"""Two-sided, of every interval."""

LEAST_S: Seconds = 1e-6
"""A cost that a fit found to be none; the model takes none that is 0."""

STARVED_S: Seconds = 0.04
"""A server or proxy that waits longer than this for a processor in a usual second shares its machine with other work.

Herds make a server wait on any machine with few processors, but less in half of all seconds: alone on two processors
fifteen runs waited 2.6 to 10.1 ms on an AMD EPYC, and those of ``herd`` 25 ms on an Intel Xeon."""

SHIPPED = "shipped"
"""The name under which the calibration of this package is found."""


class FittedParameter(msgspec.Struct, frozen=True, kw_only=True):
    """One cost of the model. ``value``, ``low`` and ``high`` in seconds; the bounds are those of the value.

    ``spread``: the relative standard deviation from run to run. ``samples`` of ``runs``, in ``clusters`` that count as
    independent. Where it is not ``fitted`` there is no interval, and ``reason`` says why: the value is that of the fit
    and holds only together with the other costs, or it is the model's default.
    """

    value: Seconds
    low: Seconds | None = None
    high: Seconds | None = None
    spread: float = 0.0
    samples: int = 0
    runs: int = 0
    clusters: int = 0
    fitted: bool = True
    reason: str | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the runs were made: processor model, number of logical processors, operating system. No names."""

    processor: str
    processors: int
    system: str


class CalibrationRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run that was fitted. ``evidence``: SHA-256 of its ``run.json``, which lists the digests of its files.

    ``lateness_s``: the worst lateness of its clients' own loops. ``waited_s``: how long of a usual second (the median)
    the server or a proxy was ready and had no processor. What it covered: ``clients``, ``herd``, the most that lost
    their connections within a second, and ``returns_per_s``, the most that were back within a second.
    """

    experiment: str
    experiment_digest: str
    seed: int
    lane: str
    started_at: str
    evidence: str
    lateness_s: Seconds
    waited_s: Seconds = 0.0
    clients: int = 0
    herd: int = 0
    returns_per_s: float = 0.0

    @property
    def is_starved(self) -> bool:
        """Whether its machine had so much other work that the costs are those of this work too."""
        return self.waited_s > STARVED_S


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """How far fitted runs of one experiment are apart, on average over their pairs.

    ``distance``: Wasserstein-1 of the excess, as a part of its mean. ``tail``: the greater p95 of it by the lesser.
    """

    experiment: str
    runs: int
    distance: float
    tail: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration file. ``note``: what its maker says of the circumstances.

    ``shared_processors`` and ``client_processes``: of the laboratory of its runs, as of the model's costs.
    """

    kind: str = KIND
    schema_version: int = SCHEMA_VERSION
    made_at: str
    versions: dict[str, str]
    machine: Machine
    runs: tuple[CalibrationRun, ...]
    parameters: dict[str, FittedParameter]
    shared_processors: int = 0
    client_processes: int = 0
    repeats: tuple[Repeat, ...] = ()
    note: str = ""
    confidence: float = CONFIDENCE

    @property
    def labels(self) -> tuple[str, ...]:
        """The runs in words: of each experiment, how many and from when."""
        counts = Counter(run.experiment for run in self.runs)
        return tuple(
            f"{name} ({count} runs, {self.machine.processor}, {self.made_at[:10]})" for name, count in counts.items()
        )

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the most that its runs covered, by quantity."""
        if not self.runs:
            return {}
        columns: dict[str, list[float]] = {
            CLIENTS: [float(run.clients) for run in self.runs],
            HERD: [float(run.herd) for run in self.runs],
            RETURNS: [run.returns_per_s for run in self.runs],
        }
        return {name: (min(values), max(values)) for name, values in columns.items()}

    def costs(self, others: ModelCosts, values: dict[str, Seconds] | None = None) -> ModelCosts:
        """Every parameter's value, or these ``values`` of some; ``others`` has what no parameter is about.

        No value is less than :data:`LEAST_S`.
        """
        fitted = {name: each.value for name, each in self.parameters.items()} | (values or {})
        return msgspec.structs.replace(
            others,
            processors=1 if self.shared_processors else others.processors,
            wasted_work=bool(self.shared_processors) or others.wasted_work,
            shared_processors=self.shared_processors,
            client_processes=self.client_processes,
            **{name: max(value, LEAST_S) for name, value in fitted.items()},
        )


class _FileHead(msgspec.Struct):
    """What tells a calibration file from any other, whatever its version."""

    kind: str = ""
    schema_version: int = 0


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write the file, all or nothing; HarnessError in one line when that is not possible."""
    text = msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n"
    with failing_in_one_line(path, "the calibration"):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        try:
            fresh.write_bytes(text)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file, or the shipped one by its name.

    Raises :class:`~resilience.errors.UsageError`, in one line, for a file that cannot be read, is no calibration, is of
    another version, or holds a value that the model cannot use.
    """
    if str(path) == SHIPPED and not path.exists():
        return _decode(bundled_texts(files(__package__), ".json")[SHIPPED], "the shipped calibration")
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise UsageError(f"{path}: cannot be read as a calibration: {said}") from error
    return _decode(text, str(path))


def _decode(text: str | bytes, where: str) -> Calibration:
    try:
        head = msgspec.json.decode(text, type=_FileHead)
    except msgspec.DecodeError as error:
        raise UsageError(f"{where}: not a calibration file: {error}") from error
    if head.kind != KIND:
        raise UsageError(f'{where}: not a calibration file: its kind is "{head.kind}", not "{KIND}"')
    if head.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"{where}: a calibration of version {head.schema_version}, and this program reads version "
            f"{SCHEMA_VERSION}: make it again with sim calibrate"
        )
    try:
        found = msgspec.json.decode(text, type=Calibration)
    except msgspec.DecodeError as error:
        raise UsageError(f"{where}: {error}") from error
    _check(found, where)
    return found


def _check(calibration: Calibration, where: str) -> None:
    durations = {field.name for field in msgspec.structs.fields(ModelCosts) if field.type is Seconds}
    for name, each in calibration.parameters.items():
        if name not in durations:
            raise UsageError(
                f"{where}: parameters.{name}: no cost of the model; there are: {', '.join(sorted(durations))}"
            )
        for key, value in (("value", each.value), ("spread", each.spread)):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{where}: parameters.{name}.{key} = {value}: must be a finite number, at least 0")
    try:
        calibration.costs(ModelCosts())
    except ConfigError as error:
        raise UsageError(f"{where}: {error}") from error
