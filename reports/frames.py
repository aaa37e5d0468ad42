"""The event log as one table, and the run around it. Knows the log's words; judges nothing.

Columns of the event frame, one row per line of the log, in the order of ``t``:

=============  ========  ============================================================================
column         dtype     meaning
=============  ========  ============================================================================
t              float64   seconds since the run's start, one monotonic clock for all processes
role           category  client, server, injector, runner
actor          category  who recorded it
kind           category  :class:`resilience.eventlog.vocabulary.LogEventKind`
cohort         category  of a client or a fault; missing elsewhere
session_id     category  the participant's public id, once it has one
connection_no  Int64     client transports: number of the dial; sessions: fencing number
seq            Int64     position in the room's stream
attempt        Int64     of the reconnection
outcome        string    verdict or state, by kind
cause          string    by kind
value          float64   by kind; NaN where there is none
ref            string    what the event is about: fault id, ``"<question>/<key>"``
detail         string    state digest, epoch, call bracket, by kind
=============  ========  ============================================================================
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from resilience.errors import UsageError
from resilience.eventlog.reader import read_events
from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.experiment.loader import load_file
from resilience.experiment.spec import Experiment
from resilience.lab.observer import Observation
from resilience.lab.recording import read_observations, read_stored_run_file
from resilience.lab.run_directory import RunInfo, RunStatus, read_run_info
from resilience.lab.stored_run import StoredRun

_CATEGORIES = ("actor", "cohort", "session_id")
_INTEGERS = ("connection_no", "seq", "attempt")
_LAG = re.compile(r"lag: max (\d+\.\d+) s")
_TEXTS = ("outcome", "cause", "ref", "detail")


@dataclass(frozen=True)
class RunHistory:
    """One run, read back: what it was (``info``, ``experiment``) and what happened (``events``, in order of ``t``).

    ``observations`` are what clients were shown, ``stored`` what the database held at the end, where the run kept them.
    """

    info: RunInfo
    experiment: Experiment
    events: Sequence[LogEvent]
    observations: Sequence[Observation] = ()
    stored: StoredRun | None = None

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The events as a table; columns as in this module's docstring."""
        return events_frame(self.events)

    @cached_property
    def end(self) -> float:
        """When observation ended, seconds: ``run.ended``, or else the last event; 0 for an empty log."""
        ended = self.of(LogEventKind.RUN_ENDED)
        last = ended[:1] or self.events[-1:]
        return last[0].t if last else 0.0

    @cached_property
    def lab_lag(self) -> float:
        """The worst lateness of the clients' own loops, seconds, as ``run.ended`` says; 0 where it says nothing."""
        found = [_LAG.search(event.detail or "") for event in self.of(LogEventKind.RUN_ENDED)]
        return max((float(lag.group(1)) for lag in found if lag), default=0.0)

    @cached_property
    def _by_kind(self) -> dict[LogEventKind, list[LogEvent]]:
        groups: dict[LogEventKind, list[LogEvent]] = defaultdict(list)
        for event in self.events:
            groups[event.kind].append(event)
        return groups

    def rows(self, *kinds: LogEventKind, role: Role | None = None) -> pd.DataFrame:
        """The rows of :attr:`frame` of these kinds, in order of ``t``; of one role only when it is given."""
        chosen = self.frame["kind"].isin([kind.value for kind in kinds])
        if role is not None:
            chosen &= self.frame["role"] == role.value
        return self.frame[chosen]

    def of(self, kind: LogEventKind, role: Role | None = None) -> list[LogEvent]:
        """The events of one kind, in order; of one role only when it is given."""
        events = self._by_kind.get(kind, [])
        return events if role is None else [event for event in events if event.role is role]


def load_history(run_dir: Path) -> RunHistory:
    """Read a run directory of any lane.

    Raises :class:`~resilience.errors.UsageError`, in one line, when it is missing or broken. A run that never started
    may lack events; a completed one may not.
    """
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir}: no such run directory")
    info = read_run_info(run_dir)
    experiment = load_file(run_dir / "experiment.toml")
    has_events = any((run_dir / "events").glob("*.jsonl"))
    events = read_events(run_dir) if has_events or info.status == RunStatus.COMPLETED else []
    return RunHistory(info, experiment, events, read_observations(run_dir), read_stored_run_file(run_dir))


def events_frame(events: Sequence[LogEvent]) -> pd.DataFrame:
    """The events as a table; columns and dtypes as in this module's docstring."""
    columns: dict[str, object] = {
        "t": pd.Series([event.t for event in events], dtype="float64"),
        "role": pd.Categorical([event.role for event in events], categories=[role.value for role in Role]),
        "kind": pd.Categorical([event.kind for event in events], categories=[kind.value for kind in LogEventKind]),
        "value": pd.Series([event.value for event in events], dtype="float64"),
    }
    for name in _CATEGORIES:
        columns[name] = pd.Categorical([getattr(event, name) for event in events])
    for name in _INTEGERS:
        columns[name] = pd.array([getattr(event, name) for event in events], dtype="Int64")
    for name in _TEXTS:
        columns[name] = pd.array([getattr(event, name) for event in events], dtype="string")
    order = [
        "t",
        "role",
        "actor",
        "kind",
        "cohort",
        "session_id",
        *_INTEGERS,
        "outcome",
        "cause",
        "value",
        "ref",
        "detail",
    ]
    return pd.DataFrame(columns)[order]
