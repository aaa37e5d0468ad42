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

import re

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment

from .frames import RunHistory, once_per_run

_BRACKET = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\.\.")
_MAX_CALL_S = 5.0
"""Seconds; a bracket that claims more is not one."""

_TIMES = ("planned_start", "planned_end", "fault_at", "earliest", "healed_at", "confirmed_at", "cleared_at")
_PLAN = ("fault_id", "kind", "place", "event", "stratum", "planned_start", "planned_end")
_COLUMNS = ("fault_id", "kind", "place", "event", "stratum", *_TIMES, "invalid")


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
    happened = _of_episodes(log.recorded_episodes) if log.recorded_episodes is not None else _of_events(log)
    known = dict.fromkeys([*planned, *happened.index[happened["fault_at"].notna()]])
    rows = [_row(fault_id, planned.get(fault_id)) for fault_id in known]
    frame = pd.DataFrame(rows, columns=list(_PLAN)).join(happened, on="fault_id")[list(_COLUMNS)]
    frame = frame.astype({**dict.fromkeys(_TIMES, "float64"), "invalid": "object"})
    frame = frame.assign(invalid=frame["invalid"].where(frame["invalid"].notna(), None))
    frame = frame.assign(event=_physical_events(frame, log.end))
    frame = frame.assign(stratum=_event_strata(frame))
    by_start = frame["fault_at"].fillna(frame["planned_start"]).to_numpy()
    return frame.iloc[np.argsort(by_start, kind="stable")].reset_index(drop=True)


def _row(fault_id: str, plan: FaultWindow | None) -> dict[str, object]:
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


def _of_events(log: RunHistory) -> pd.DataFrame:
    """What the log says of each fault id, which is the index."""
    started = _firsts(log, LogEventKind.FAULT_STARTED)
    invalid = _firsts(log, LogEventKind.FAULT_INVALID)
    times = {
        "fault_at": started["t"],
        "earliest": pd.Series(
            [_earliest(t, detail) for t, detail in zip(started["t"], started["detail"], strict=True)],
            index=started.index,
            dtype="float64",
        ),
        "healed_at": _firsts(log, LogEventKind.FAULT_ENDED)["t"],
        "confirmed_at": _firsts(log, LogEventKind.FAULT_CONFIRMED)["t"],
        "cleared_at": _firsts(log, LogEventKind.FAULT_CLEARED)["t"],
        "invalid": invalid["cause"].astype(object).fillna("no cause given"),
    }
    return pd.DataFrame(times)


def _of_episodes(episodes: pd.DataFrame) -> pd.DataFrame:
    """The same for a run that kept episodes only: its windows are what its simulator says."""
    first = episodes.drop_duplicates("fault_id").set_index("fault_id")
    first.index = first.index.astype(str)
    at, healed = first["fault_at"], first["healed_at"]
    return pd.DataFrame(
        {"fault_at": at, "earliest": at, "healed_at": healed, "confirmed_at": at, "cleared_at": healed, "invalid": None}
    )


def _firsts(log: RunHistory, kind: LogEventKind) -> pd.DataFrame:
    """The first record of this kind of each fault id, which is the index."""
    found = log.rows(kind).dropna(subset=["ref"]).drop_duplicates("ref")
    return found.set_index(found["ref"].astype(str))


def _physical_events(frame: pd.DataFrame, run_end: float) -> pd.Series:
    """The physical event of each window; a window that was not undone lasts until ``run_end``.

    Windows that only touch do not overlap; windows of no length at the same instant do.
    """
    start = frame["planned_start"].fillna(frame["fault_at"])
    end = frame["planned_end"].fillna(frame["healed_at"]).fillna(run_end)
    spans = pd.DataFrame({"strike": frame["event"], "start": start, "end": end}).groupby("strike", sort=False)
    strikes = spans.agg(start=("start", "min"), end=("end", "max")).sort_values(["start", "end"], kind="stable")
    latest_end = strikes["end"].cummax().shift()
    begins_event = (strikes["start"] >= latest_end) & (strikes["start"] > strikes["start"].shift())
    begins_event = begins_event | latest_end.isna()
    names = strikes.index.to_series().where(begins_event).ffill()
    return frame["event"].map(names)


def _event_strata(frame: pd.DataFrame) -> pd.Series:
    """The strata of all windows of an event, joined, for each window."""
    joined = frame.groupby("event")["stratum"].agg(lambda strata: " + ".join(sorted(set(strata))))
    return frame["event"].map(joined)


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
    columns = ["fault_id", "kind", "place", "links", "event", "stratum", *_TIMES]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_TIMES, "float64"))
    frame = frame.assign(event=_physical_events(frame, experiment.duration))
    return frame.assign(stratum=_event_strata(frame))
