"""A run's directory: ``run.json``, ``experiment.toml``, ``events/*``. Knows names and files, not meaning.

``<root>/<experiment>/<utc>-<seed>-<lane>/``, with ``latest`` next to it pointing at the newest. Repetitions have one
directory, ``<root>/<experiment>/<utc>-<first seed>x<number>-<lane>/``, with the run directory ``seed-<seed>`` of each.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from resilience.errors import EvidenceError, UsageError
from resilience.eventlog.vocabulary import SCHEMA_VERSION, Lane
from resilience.experiment.costs import ModelCosts
from resilience.text_files import read_text

from .manifest import EVENTS, EvidenceFile


class RunStatus(StrEnum):
    """How a run ended, in ``run.json``'s words."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "not_started"
    """No steady state: nothing was injected."""
    HARNESS_FAILED = "harness_failed"


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``. Durations in seconds; ``started_at`` is UTC, ISO 8601; ``wall_s`` is what the run really took.

    ``evidence`` lists the evidence files as they were when the run ended; None until then. ``costs`` are those that a
    modelled server had; None where the server is a real one.
    """

    experiment: str
    experiment_digest: str
    lane: Lane
    seed: int
    started_at: str
    duration_s: float
    status: RunStatus
    cause: str | None = None
    wall_s: float | None = None
    peak_rss_mb: float | None = None
    versions: dict[str, str] = {}
    evidence: tuple[EvidenceFile, ...] | None = None
    costs: ModelCosts | None = None
    schema_version: int = SCHEMA_VERSION


def create_run_dir(  # noqa: PLR0913 - the parts of a path
    name: str, *, lane: Lane, seed: int, stamp: str, out: Path | None, root: Path
) -> Path:
    """Make a run's directory and return it; ``out``, if given, is the directory itself, empty or absent.

    Runs of one experiment, lane and seed that begin in the same second get directories of their own. Raises
    :class:`~resilience.errors.UsageError` for a directory that is in use or cannot be made.
    """
    path = out if out is not None else root / name / f"{stamp}-{seed}-{lane.value}"
    with _refusing_what_cannot_be_made(path, "the run directory"):
        if out is None:
            path = _make_unused(path)
        else:
            _require_empty(path)
        (path / "events").mkdir(parents=True)  # fails for all but one of several runs that found it empty
    return path


def create_repetitions_dir(  # noqa: PLR0913 - the parts of a path
    name: str, *, lane: Lane, seeds: range, stamp: str, out: Path | None, root: Path
) -> Path:
    """Make the directory of several runs and return it; ``out`` and errors as of :func:`create_run_dir`."""
    default = root / name / f"{stamp}-{seeds[0]}x{len(seeds)}-{lane.value}"
    return create_shared_dir(out, default, "the directory of the repetitions")


def create_shared_dir(out: Path | None, default: Path, what: str) -> Path:
    """Make a directory that holds run directories: ``out``, empty or absent, or ``default``, numbered if it is there.

    ``what`` it is, for messages; errors as of :func:`create_run_dir`.
    """
    path = default if out is None else out
    with _refusing_what_cannot_be_made(path, what):
        if out is None:
            return _make_unused(path)
        _require_empty(path)
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _refusing_what_cannot_be_made(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        blocked = next((parent for parent in path.parents if parent.is_file()), None)
        if blocked is not None:
            raise UsageError(f"{path}: cannot make {what}: {blocked} is a file") from None
        raise _in_use(path) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot make {what}: {error.strerror}") from error


def _require_empty(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise _in_use(path)


def _in_use(path: Path) -> UsageError:
    return UsageError(f"{path}: already there and not empty; choose another --out")


def _make_unused(path: Path) -> Path:
    """Make ``path``, or the first of ``path-2``, ``path-3`` and so on that does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        chosen = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with contextlib.suppress(FileExistsError):
            chosen.mkdir()
            return chosen
    raise AssertionError("unreachable")


def point_latest(path: Path) -> str | None:
    """Let ``latest`` next to a run directory point at it; returns why that is not possible, in one line."""
    link = path.parent / "latest"
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".latest-") as folder:
            fresh = Path(folder) / "link"
            fresh.symlink_to(path.name)
            fresh.replace(link)
    except OSError as error:
        return f"{link} does not point at this run: {error.strerror}"
    return None


def write_run_info(run_dir: Path, info: RunInfo) -> None:
    """Write ``run.json`` so that a reader sees the old one or the new one, never half."""
    fresh = run_dir / ".run.json.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n")
    fresh.replace(run_dir / "run.json")


def read_run_info(run_dir: Path) -> RunInfo:
    """``run.json`` of a run.

    Raises :class:`~resilience.errors.UsageError` when ``run_dir`` is no run directory, and
    :class:`~resilience.errors.EvidenceError` when it is one whose ``run.json`` is missing or not one.
    """
    path = run_dir / "run.json"
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            return msgspec.json.decode(read_text(path), type=RunInfo)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EvidenceError(f"{path}: not a run's description: {error}") from error
    if (run_dir / EVENTS).is_dir() or (run_dir / "experiment.toml").exists():
        raise EvidenceError(f"{path}: missing, though {run_dir} holds other files of a run")
    inside = next((path.parent for path in sorted(run_dir.glob("*/run.json"))), None)
    hint = "" if inside is None else f"; it holds runs: name one, such as {inside}"
    raise UsageError(f"{run_dir}: not a run directory: it has no run.json{hint}")
