"""Fault windows: what was planned, what was really done, and what a canary saw of it. Judges no participant.

Columns of the window frame, one row per fault id, in the order of the start:

================  ========  =========================================================================
column            dtype     meaning (times in seconds since the run's start)
================  ========  =========================================================================
fault_id          str       ``"<index>.<strike>:<kind>@<place>"``
kind, place       str       from the fault id; the place is a cohort, or ``server``
event             str       ``"<index>.<strike>"`` of the first window of the physical event: see below
stratum           str       kind, length and direction of the event's faults; alike events are replicates
planned_start     float64   NaN when the experiment does not plan it
planned_end       float64
fault_at          float64   ``fault.started``; NaN when it never happened
earliest          float64   when the call that injects it began: nothing before can be its work
healed_at         float64   ``fault.ended``; NaN when it never came
confirmed_at      float64   a canary saw it begin; NaN when none did
cleared_at        float64   a canary saw it end
invalid           object    the cause of ``fault.invalid``; None when valid
================  ========  =========================================================================

A physical event is one strike of one fault on all its cohorts, together with every strike that overlaps it in time.
Events are the clusters of the statistics: dividing the same clients into more cohorts adds no event. Planned times
decide where they exist, so that all lanes and seeds of a fixed schedule have the same events.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment

from .checking import records
from .frames import RunHistory, once_per_run

_BRACKET = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\.\.")
_MAX_CALL_S = 5.0
"""Seconds; a bracket that claims more is not one."""

_TIMES = ("planned_start", "planned_end", "fault_at", "earliest", "healed_at", "confirmed_at", "cleared_at")
_OBJECTS = ("links", "invalid")
_COLUMNS = ("fault_id", "kind", "place", "event", "stratum", *_TIMES, "invalid")
_TIME_OF = {
    LogEventKind.FAULT_ENDED: "healed_at",
    LogEventKind.FAULT_CONFIRMED: "confirmed_at",
    LogEventKind.FAULT_CLEARED: "cleared_at",
}
_RECORDED = (LogEventKind.FAULT_STARTED, LogEventKind.FAULT_INVALID, *_TIME_OF)

_Window = dict[str, Any]
"""One window's row while it is put together; times that it has not are missing."""


def fault_kind(fault_id: str) -> str:
    """``"cut"`` of ``"0.0:cut@alpha"``."""
    return fault_id.partition(":")[2].partition("@")[0]


def fault_place(fault_id: str) -> str:
    """``"alpha"`` of ``"0.0:cut@alpha"``: a cohort, or ``server``."""
    return fault_id.partition("@")[2]


def fault_strike(fault_id: str) -> str:
    """``"0.2"`` of ``"0.2:cut@alpha"``: the fault's index and its repetition."""
    return fault_id.partition(":")[0]


@once_per_run
def windows_frame(log: RunHistory) -> pd.DataFrame:
    """Every window that was planned or happened; columns as in this module's docstring. Shared: not to be changed."""
    planned = {window.fault_id: window for window in log.experiment.windows(log.info.seed)}
    recorded = log.recorded_episodes
    happened = _of_events(log) if recorded is None else _of_episodes(recorded, planned, log.end)
    struck = [name for name, window in happened.items() if not math.isnan(_first_known(window, "fault_at"))]
    known = dict.fromkeys([*planned, *struck])
    rows = [_row(name, planned.get(name)) | happened.get(name, {}) for name in known]
    _name_events(rows, log.end)
    rows.sort(key=lambda row: _first_known(row, "fault_at", "planned_start"))
    return _frame_of(rows, _COLUMNS)


def _frame_of(rows: list[_Window], columns: Sequence[str]) -> pd.DataFrame:
    """One row per window; times are numbers, NaN where there is none."""
    data: dict[str, Any] = {name: [row.get(name) for row in rows] for name in columns}
    for name in (*_TIMES, *_OBJECTS):
        if name in data:
            data[name] = pd.Series(data[name], dtype="object" if name in _OBJECTS else "float64")
    return pd.DataFrame(data)


def _row(fault_id: str, plan: FaultWindow | None) -> _Window:
    """What is known of a window before it happens; its event is a single strike yet."""
    return {
        "fault_id": fault_id,
        "kind": fault_kind(fault_id),
        "place": fault_place(fault_id),
        "event": fault_strike(fault_id),
        "stratum": _stratum(fault_id, plan),
        "planned_start": plan.starts_at if plan else None,
        "planned_end": plan.ends_at if plan else None,
    }


def _of_events(log: RunHistory) -> dict[str, _Window]:
    """What the log says of each fault id: of each of its windows' times and causes the first."""
    found: dict[str, _Window] = defaultdict(dict)
    for row in records(log.rows(*_RECORDED)[["t", "kind", "ref", "cause", "detail"]]):
        if not isinstance(row.ref, str):
            continue
        window = found[row.ref]
        if row.kind == LogEventKind.FAULT_STARTED and "fault_at" not in window:
            window |= {"fault_at": row.t, "earliest": _earliest(row.t, row.detail)}
        elif row.kind == LogEventKind.FAULT_INVALID:
            window.setdefault("invalid", row.cause if isinstance(row.cause, str) else "no cause given")
        elif row.kind in _TIME_OF:
            window.setdefault(_TIME_OF[row.kind], row.t)
    return found


def _of_episodes(episodes: pd.DataFrame, planned: Mapping[str, FaultWindow], run_end: float) -> dict[str, _Window]:
    """The same for a run that kept episodes only: its windows are what its simulator says.

    A planned window ends where an episode of that window alone ends; without one, as planned, as simulators do.
    """
    first = episodes[["fault_id", "fault_at", "healed_at"]].drop_duplicates("fault_id")
    alone = episodes.loc[(episodes["windows"] == 1) & episodes["fault_id"].isin(list(planned)), first.columns]
    healed = {str(name): at for name, at in alone.groupby("fault_id", observed=True)["healed_at"].min().items()}
    found = {}
    for row in records(first):
        name, ended = str(row.fault_id), row.healed_at
        if name in planned:
            own = healed.get(name, math.nan)
            ended = planned[name].ends_at if math.isnan(own) else own
        found[name] = {
            **dict.fromkeys(("fault_at", "earliest", "confirmed_at"), row.fault_at),
            **dict.fromkeys(("healed_at", "cleared_at"), ended if ended < run_end else math.nan),
        }
    return found


def _name_events(rows: list[_Window], run_end: float) -> None:
    """Give each window its physical event and stratum; a window that was not undone lasts until ``run_end``.

    Windows that only touch do not overlap; windows of no length at the same instant do.
    """
    spans: dict[str, tuple[float, float]] = {}
    for row in rows:
        start, end = _first_known(row, "planned_start", "fault_at"), _first_known(row, "planned_end", "healed_at")
        before = spans.get(row["event"], (math.inf, -math.inf))
        spans[row["event"]] = min(before[0], start), max(before[1], run_end if math.isnan(end) else end)
    event_of, name = {}, ""
    latest_end, latest_start = -math.inf, -math.inf
    for strike, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        if start >= latest_end and start > latest_start:
            name = strike
        event_of[strike] = name
        latest_end, latest_start = max(latest_end, end), start
    strata: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        row["event"] = event_of[row["event"]]
        strata[row["event"]].add(row["stratum"])
    for row in rows:
        row["stratum"] = " + ".join(sorted(strata[row["event"]]))


def _first_known(row: _Window, *names: str) -> float:
    """The first of these times that the window has; NaN where it has none."""
    known = (row[name] for name in names if row.get(name) is not None and not math.isnan(row[name]))
    return next(known, math.nan)


def _stratum(fault_id: str, plan: FaultWindow | None) -> str:
    if plan is None:
        return fault_kind(fault_id)
    own = [f"{name} {value:g}" if isinstance(value, int | float) else str(value) for name, value in plan.fault.own]
    return " ".join((plan.fault.kind, f"{plan.fault.length:g}s", *own))


def _earliest(t: float, detail: object) -> float:
    """The start of the call's bracket ``"<before>..<after>"``, when the event carries one on the run's clock."""
    found = _BRACKET.match(detail) if isinstance(detail, str) else None
    before = float(found.group(1)) if found else t
    return before if 0.0 <= t - before <= _MAX_CALL_S else t


def planned_windows(experiment: Experiment, seed: int | None = None) -> pd.DataFrame:
    """The windows that an experiment plans: ``fault_id``, ``kind``, ``place``, ``event``, ``stratum``, planned times.

    ``links``: the names of the links that the window acts on; none for a fault of the server.
    """
    rows = [{**_row(window.fault_id, window), "links": window.links} for window in experiment.windows(seed)]
    _name_events(rows, experiment.duration)
    return _frame_of(rows, ("fault_id", "kind", "place", "links", "event", "stratum", *_TIMES))
