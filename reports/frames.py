"""The event log as one table, and the run around it. Knows the log's words; judges nothing.

Columns of the event frame, one row per event that counts, in the order of ``t``:

=============  ========  ============================================================================
column         dtype     meaning
=============  ========  ============================================================================
t              float64   seconds since the run's start, one monotonic clock for all processes
role           category  client, server, injector, runner: every :class:`~resilience.eventlog.vocabulary.Role`
actor          category  who recorded it
kind           category  every :class:`~resilience.eventlog.vocabulary.LogEventKind`
cohort         category  of a client or a fault; missing elsewhere
session_id     category  the participant's public id, once it has one
connection_no  Int32     client transports: number of the dial; sessions: fencing number
seq            Int32     position in the room's stream
attempt        Int32     of the reconnection
outcome        category  verdict or state, by kind
cause          category  by kind
value          float64   by kind; NaN where there is none
ref            category  what the event is about: fault id, ``"<question>/<key>"``
detail         category  state digest, epoch, call bracket, by kind
=============  ========  ============================================================================

After ``run.ended`` only the closing records count (:data:`CLOSING`): what the server commits while it stops, final
scores and final states, which belong together with the database.

The observation frame has one column per field of :class:`resilience.lab.observer.Observation`, with the dtypes of
:mod:`reports.columns`, in the order of ``t``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec
import numpy as np
import pandas as pd

from resilience.errors import EvidenceError, ExperimentError, UsageError
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.experiment.loader import load_file
from resilience.experiment.spec import Experiment
from resilience.lab.health import LabHealth
from resilience.lab.observation import Observation
from resilience.lab.recording import read_stored_run_file
from resilience.lab.run_directory import RunInfo, read_run_info
from resilience.lab.stored_run import StoredRun

from .columns import frame_of, records_of
from .evidence import CLOSING, read_evidence, until_end

_Record = TypeVar("_Record", bound=msgspec.Struct)
_Result = TypeVar("_Result")


class FrameRecords(Sequence[_Record]):
    """The rows of a frame as records, made when the first is asked for. Slow and large: for what has no columns yet."""

    def __init__(self, frame: pd.DataFrame, record: type[_Record], fixed: dict[str, object]) -> None:
        self.frame = frame
        self._record, self._fixed = record, fixed

    @cached_property
    def _records(self) -> list[_Record]:
        return list(records_of(self.frame, self._record, self._fixed))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.frame)

    @overload
    def __getitem__(self, place: int) -> _Record: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[_Record]: ...
    def __getitem__(self, place: int | slice) -> _Record | Sequence[_Record]:
        """The record of one row, or of several."""
        return self._records[place]

    def __iter__(self) -> Iterator[_Record]:
        """The records in order."""
        return iter(self._records)

    def __eq__(self, other: object) -> bool:
        """Whether the other holds equal records in the same order."""
        return isinstance(other, Sequence) and self._records == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class RunHistory:
    """One run, read back: what it was (``info``, ``experiment``) and what happened (:attr:`frame`, :attr:`observed`).

    ``stored`` is what the database held at the end, where the run kept it. ``problems`` say what is missing in the
    evidence or contradicts it, each with its file: with any of them no verdict can be believed. ``recorded_episodes``
    is the episode frame of a run that kept episodes and no events. ``judged_by`` names the experiment file whose
    expectations replace the run's own; ``path`` is the run directory, where there is one.

    ``events`` and ``observations`` are the same as objects, slow and large; new code reads the frames.
    """

    info: RunInfo
    experiment: Experiment
    events: Sequence[LogEvent]
    observations: Sequence[Observation] = ()
    stored: StoredRun | None = None
    problems: tuple[str, ...] = ()
    recorded_episodes: pd.DataFrame | None = None
    judged_by: str | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        """Leave out what came after the end."""
        if not isinstance(self.events, FrameRecords):
            ended = next((event.t for event in self.events if event.kind is LogEventKind.RUN_ENDED), np.inf)
            kept = [event for event in self.events if event.t <= ended or event.kind in CLOSING]
            object.__setattr__(self, "events", kept)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The events as a table; columns as in this module's docstring."""
        return self.events.frame if isinstance(self.events, FrameRecords) else events_frame(self.events)

    @cached_property
    def observed(self) -> pd.DataFrame:
        """What clients were shown, as a table; columns as in this module's docstring."""
        kept = self.observations
        return kept.frame if isinstance(kept, FrameRecords) else frame_of(kept, Observation)

    @cached_property
    def end(self) -> float:
        """When observation ended, seconds: ``run.ended``, or else the last event or the plan; 0 for an empty log."""
        ended, t = self.rows(LogEventKind.RUN_ENDED)["t"], self.frame["t"]
        if self.recorded_episodes is not None:
            return self.info.duration_s
        last = ended if len(ended) else t.iloc[-1:]
        return float(last.iloc[0]) if len(last) else 0.0

    @cached_property
    def lab_health(self) -> LabHealth:
        """What the laboratory measured of itself; empty where it cannot run late, and before the end."""
        texts = self.rows(LogEventKind.LAB_HEALTH)["detail"].dropna()
        return msgspec.json.decode(texts.iloc[-1], type=LabHealth) if len(texts) else LabHealth()

    @cached_property
    def lab_lag(self) -> float:
        """The worst lateness of the clients' own loops, seconds; 0 where none was measured."""
        clients = [process.lag_max or 0.0 for process in self.lab_health.processes if process.role == "worker"]
        return max(clients, default=0.0)

    @cached_property
    def _kinds(self) -> np.ndarray:
        return self.frame["kind"].cat.codes.to_numpy()

    def rows(self, *kinds: LogEventKind, role: Role | None = None) -> pd.DataFrame:
        """The rows of :attr:`frame` of these kinds, in order of ``t``; of one role only when it is given."""
        wanted = np.zeros(len(LogEventKind), dtype=bool)
        wanted[[_NUMBER[kind] for kind in kinds]] = True
        found = self.frame.take(np.flatnonzero(wanted[self._kinds]))
        return found if role is None else found[found["role"] == role.value]

    @cached_property
    def _by_kind(self) -> dict[LogEventKind, list[LogEvent]]:
        groups: dict[LogEventKind, list[LogEvent]] = defaultdict(list)
        for event in self.events:
            groups[event.kind].append(event)
        return groups

    def of(self, kind: LogEventKind, role: Role | None = None) -> list[LogEvent]:
        """The events of one kind, in order; of one role only when it is given. Slow, as ``events``."""
        events = self._by_kind.get(kind, [])
        return events if role is None else [event for event in events if event.role is role]


def once_per_run(compute: Callable[[RunHistory], _Result]) -> Callable[[RunHistory], _Result]:
    """Keep the result with the history, as ``functools.cached_property`` does; those that share it do not change it."""
    key = f"_{compute.__module__}.{compute.__qualname__}"

    @wraps(compute)
    def cached(history: RunHistory) -> _Result:
        kept: dict[str, Any] = history.__dict__
        if key not in kept:
            kept[key] = compute(history)
        found: _Result = kept[key]
        return found

    return cached


_NUMBER = {kind: number for number, kind in enumerate(LogEventKind)}


def load_history(run_dir: Path, experiment: Path | None = None) -> RunHistory:
    """Read a run directory of any lane.

    ``experiment`` is a file whose expectations and statistics judge the run instead of its own. What can be read but is
    incomplete or contradicts itself is in ``problems``. Raises :class:`~resilience.errors.UsageError` when ``run_dir``
    is no run directory or ``experiment`` no experiment, :class:`~resilience.errors.EvidenceError` when a file of the
    run cannot be read; both in one line.
    """
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir}: no such run directory")
    info = read_run_info(run_dir)
    own = _own_experiment(run_dir)
    found = read_evidence(run_dir, info, own)
    return RunHistory(
        info=info,
        experiment=own if experiment is None else _rejudged(own, load_file(experiment)),
        events=FrameRecords(found.events, LogEvent, {"lane": info.lane}),
        observations=FrameRecords(found.observed, Observation, {}),
        stored=read_stored_run_file(run_dir),
        problems=found.problems,
        recorded_episodes=found.episodes,
        judged_by=None if experiment is None else str(experiment),
        path=run_dir,
    )


def _own_experiment(run_dir: Path) -> Experiment:
    try:
        return load_file(run_dir / "experiment.toml")
    except ExperimentError as error:
        raise EvidenceError(str(error)) from error


def _rejudged(own: Experiment, other: Experiment) -> Experiment:
    return msgspec.structs.replace(own, expectations=other.expectations, statistics=other.statistics)


def events_frame(events: Sequence[LogEvent]) -> pd.DataFrame:
    """The events as a table; columns and dtypes as in this module's docstring."""
    return until_end(frame_of(events, LogEvent, without=("lane",)))
