"""Fault windows: what was planned, what was really done, and what a canary saw of it. Judges no participant.

Columns of the window frame, one row per fault id, in the order of the start:

================  ========  =========================================================================
column            dtype     meaning (times in seconds since the run's start)
================  ========  =========================================================================
fault_id          str       ``"<index>.<strike>:<kind>@<place>"``
kind, place       str       from the fault id; the place is a cohort, or ``server``
stratum           str       faults alike in kind, length and direction: replicates of one another
planned_start     float64   NaN when the experiment does not plan it
planned_end       float64
fault_at          float64   ``fault.started``; NaN when it never happened
earliest          float64   when the call that injects it began: nothing before can be its work
healed_at         float64   ``fault.ended``; NaN when it never came
confirmed_at      float64   a canary saw it begin; NaN when none did
cleared_at        float64   a canary saw it end
invalid           object    the cause of ``fault.invalid``; None when valid
================  ========  =========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEvent, LogEventKind
from resilience.experiment.schedule import FaultWindow

from .frames import RunHistory

_BRACKET = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\.\.")
_MAX_CALL_S = 5.0
"""Seconds; a bracket that claims more is not one."""

_TIMES = ("planned_start", "planned_end", "fault_at", "earliest", "healed_at", "confirmed_at", "cleared_at")
_COLUMNS = ("fault_id", "kind", "place", "stratum", *_TIMES, "invalid")


def fault_kind(fault_id: str) -> str:
    """``"cut"`` of ``"0.0:cut@alpha"``."""
    return fault_id.partition(":")[2].partition("@")[0]


def fault_place(fault_id: str) -> str:
    """``"alpha"`` of ``"0.0:cut@alpha"``: a cohort, or ``server``."""
    return fault_id.partition("@")[2]


def windows_frame(log: RunHistory) -> pd.DataFrame:
    """Every window that was planned or happened; columns as in this module's docstring."""
    planned = {window.fault_id: window for window in log.experiment.windows(log.info.seed)}
    started = {event.ref: event for event in log.of(LogEventKind.FAULT_STARTED) if event.ref}
    rows = [_row(log, fault_id, planned, started) for fault_id in dict.fromkeys([*planned, *started])]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(dict.fromkeys(_TIMES, "float64"))
    by_start = frame["fault_at"].fillna(frame["planned_start"]).to_numpy()
    return frame.iloc[np.argsort(by_start, kind="stable")].reset_index(drop=True)


def _row(
    log: RunHistory, fault_id: str, planned: Mapping[str, FaultWindow], started: Mapping[str, LogEvent]
) -> dict[str, object]:
    plan, start = planned.get(fault_id), started.get(fault_id)
    ended = _first(log, LogEventKind.FAULT_ENDED, fault_id)
    confirmed = _first(log, LogEventKind.FAULT_CONFIRMED, fault_id)
    cleared = _first(log, LogEventKind.FAULT_CLEARED, fault_id)
    invalid = _first(log, LogEventKind.FAULT_INVALID, fault_id)
    return {
        "fault_id": fault_id,
        "kind": fault_kind(fault_id),
        "place": fault_place(fault_id),
        "stratum": _stratum(fault_id, plan),
        "planned_start": plan.starts_at if plan else None,
        "planned_end": plan.ends_at if plan else None,
        "fault_at": start.t if start else None,
        "earliest": _earliest(start) if start else None,
        "healed_at": ended.t if ended else None,
        "confirmed_at": confirmed.t if confirmed else None,
        "cleared_at": cleared.t if cleared else None,
        "invalid": (invalid.cause or "no cause given") if invalid else None,
    }


def _first(log: RunHistory, kind: LogEventKind, fault_id: str) -> LogEvent | None:
    return next((event for event in log.of(kind) if event.ref == fault_id), None)


def _stratum(fault_id: str, plan: FaultWindow | None) -> str:
    if plan is None:
        return fault_kind(fault_id)
    direction = getattr(plan.fault, "direction", "")
    return " ".join(filter(None, (plan.fault.kind, f"{plan.fault.length:g}s", str(direction))))


def _earliest(started: LogEvent) -> float:
    """The start of the call's bracket ``"<before>..<after>"``, when the event carries one on the run's clock."""
    found = _BRACKET.match(started.detail or "")
    before = float(found.group(1)) if found else started.t
    return before if 0.0 <= started.t - before <= _MAX_CALL_S else started.t
