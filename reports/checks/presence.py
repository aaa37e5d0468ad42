"""Checks of identities and presence: who joined, who is absent, who was announced. Believes clients and server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import DetachCause, LogEventKind, Role

from ..checking import CheckResult, named_rows, result_of, result_of_rows
from ..frames import RunHistory
from ..summary import Counterexample
from .connections import recoveries
from .other_tabs import other_tabs
from .selection import MISSING, by_group, ends_group, first_position, is_kind, joint_codes, select, starts_group

CLEANUP_SLACK_S = 2.0
"""Seconds the server may take beyond ``cleanup_interval`` to sweep an absent participant."""

AWAY = "temporarily_disconnected"

_ENDS_ABSENCE = (
    LogEventKind.SESSION_CREATED,
    LogEventKind.SESSION_RESUMED,
    LogEventKind.SESSION_FENCED,
    LogEventKind.SESSION_EXPIRED,
    LogEventKind.SESSION_LEFT,
)


def announced_once(history: RunHistory) -> CheckResult:
    """Each identity is announced to the room once; a reconnection is silent."""
    found = select(history, LogEventKind.PARTICIPANT_ANNOUNCED, columns=("session_id",))
    (who,) = joint_codes(found["session_id"])
    at = first_position(who, who)
    cases = found.assign(actor=found["session_id"], before=found["t"].to_numpy()[at])
    back = len(select(history, LogEventKind.SESSION_RESUMED, LogEventKind.SESSION_RESTORED))
    return result_of_rows(
        cases,
        at != np.arange(len(found)),
        lambda case: f"{case.session_id}: announced at {case.before:.3f} s and again at {case.t:.3f} s",
        inapplicable=None if back else "no participant came back, so none could be announced again",
    )


def identities_kept(history: RunHistory) -> CheckResult:
    """No client joins twice, hears that its session is unknown, or is replaced by a connection not its own.

    A tab is replaced by another one of the participant, or rejected because another one has the session.
    """
    joins = select(history, LogEventKind.SESSION_JOINED, role=Role.CLIENT, columns=("actor", "kind", "cause"))
    ends = select(
        history,
        LogEventKind.SESSION_REJECTED,
        LogEventKind.SESSION_SUPERSEDED,
        role=Role.CLIENT,
        columns=("actor", "kind", "cause"),
    )
    ends = ends[~_work_of_another_tab(history, ends)]
    (who,) = joint_codes(joins["actor"])
    is_first = first_position(who, who) == np.arange(len(who))
    times = pd.Series(who).map(pd.Series(who).value_counts()).to_numpy(dtype=np.int64)
    twice = joins.assign(times=times)[is_first & (times > 1)]
    cases = pd.concat([twice, ends.assign(times=0)], ignore_index=True)

    def describe(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        if case.times:
            return f"{case.actor} joined {case.times} times"
        return f"{case.actor} at {case.t:.3f} s: {case.kind} ({case.cause})"

    return result_of_rows(cases, np.ones(len(cases), dtype=bool), describe, checked=int(is_first.sum()))


def _work_of_another_tab(history: RunHistory, ends: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of these ends another tab of the participant may have caused.

    One that dialled before may replace a tab, and one that was restored may make its token an old one.
    """
    tabs = other_tabs(history)
    replaced = is_kind(ends, LogEventKind.SESSION_SUPERSEDED)
    rows = zip(ends["actor"].astype(str), ends["t"], ends["cause"], replaced, strict=True)
    return np.array(
        [
            tabs.dialled_before(actor, t) if is_replaced else tabs.explain(actor, t, cause)
            for actor, t, cause, is_replaced in rows
        ],
        dtype=bool,
    )


# --- absence ----------------------------------------------------------------------------------------------------------


def nobody_stuck(history: RunHistory) -> CheckResult:
    """Every absence ends in a resume, clean-up or leave within ``cleanup_interval`` + 2 s and what the server was late.

    A restarted server records at its start which participants are away, and gives each the whole clean-up time. A
    participant that is away at the run's end, but not for so long yet, leaves the rule undecided.
    """
    limit = history.experiment.server.cleanup_interval + CLEANUP_SLACK_S
    everything = _presence_events(history)
    events = everything[(everything["t"] <= history.end).to_numpy()].reset_index(drop=True)
    absences = _absences(events, history)
    absences = absences.assign(allowed=limit + _lateness_within(absences, history))
    overdue = (absences["until"] - absences["t"]) > absences["allowed"]

    def describe(absence: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        lasted = absence.until - absence.t
        return f"{absence.actor}: {AWAY} from {absence.t:.3f} s for {lasted:.1f} s, allowed {absence.allowed:g} s"

    found = result_of_rows(absences.sort_values("until", kind="stable"), overdue, describe)
    cases = int((is_kind(events, LogEventKind.SESSION_DETACHED) | _is_found_away(events)).sum())
    counterexamples = [*found.counterexamples, *_stuck_at_end(history, everything)]
    waiting = absences[absences["open"] & ~overdue]
    unknown = _undecided(waiting, limit, history.end) if len(waiting) else None
    result = result_of(cases, counterexamples, unknown=unknown)
    none = None if cases else "no participant was ever away"
    extra = max(found.broken_cases - len(found.counterexamples), 0)
    return CheckResult(cases, result.broken, unknown, none, result.counterexamples, result.broken_cases + extra)


def _lateness_within(absences: pd.DataFrame, history: RunHistory) -> NDArray[np.float64]:
    """For each absence: the seconds that the server's timer was late while it lasted, which it gives back."""
    late = select(history, LogEventKind.SERVER_LATE, role=Role.SERVER, columns=("value",))
    times = late["t"].to_numpy(dtype=float)
    order = np.argsort(times, kind="stable")
    given = np.concatenate([[0.0], np.cumsum(late["value"].to_numpy(dtype=float)[order])])
    first, last = (
        np.searchsorted(times[order], absences[name].to_numpy(dtype=float), side="right") for name in ("t", "until")
    )
    return np.asarray(given[last] - given[first], dtype=np.float64)


def _undecided(waiting: pd.DataFrame, limit: float, end: float) -> str:
    first = next(iter(named_rows(waiting.head(1))))
    return (
        f"{len(waiting)} participants are away at the end, {first.actor} since {first.t:.3f} s: "
        f"observed for {end - first.t:.1f} s of the {limit:g} s that are allowed"
    )


def _presence_events(history: RunHistory) -> pd.DataFrame:
    """The server's records about presence, by participant and then in order of time."""
    kinds = (*_ENDS_ABSENCE, LogEventKind.SESSION_DETACHED, LogEventKind.SESSION_STATE)
    events = select(history, *kinds, role=Role.SERVER, columns=("kind", "session_id", "cause", "outcome"))
    is_state = is_kind(events, LogEventKind.SESSION_STATE)
    closing = is_state & ~events["cause"].isin([DetachCause.RESTART.value]).to_numpy(dtype=bool)
    events = events[events["session_id"].notna().to_numpy() & ~closing]
    (who,) = joint_codes(events["session_id"])
    order = by_group(who)
    events = events.iloc[order].reset_index(drop=True)
    return events.assign(who=who[order], actor=events["session_id"])


def _is_found_away(events: pd.DataFrame) -> NDArray[np.bool_]:
    return is_kind(events, LogEventKind.SESSION_STATE)


def _absences(events: pd.DataFrame, history: RunHistory) -> pd.DataFrame:
    """Every absence of a known participant: ``actor``, ``t`` (its begin), ``until``, ``open`` (the run ended first).

    A join whose reply never reached its client leaves no participant, so its loss is no absence.
    """
    who, t = events["who"].to_numpy(), events["t"].to_numpy()
    ends = is_kind(events, *_ENDS_ABSENCE)
    begins = starts_group(who)
    group = np.cumsum(begins) - 1
    count = np.cumsum(ends)
    first = np.flatnonzero(begins)
    known = (count - (count - ends)[first][group] > 0) if len(events) else ends
    from_restart = events["cause"].isin([DetachCause.RESTART.value]).to_numpy(dtype=bool)
    is_absence = ~ends & (known | from_restart)
    is_last = ends_group(who)
    until = np.where(is_last, np.inf, np.roll(t, -1))
    restarts = recoveries(history)
    # a new server begins all absences again: those that it names
    following = np.searchsorted(restarts["row"].to_numpy(), events["row"].to_numpy())
    restart_row = np.append(restarts["row"].to_numpy(dtype=float), np.inf)[following]
    next_row = np.where(is_last, np.inf, np.roll(events["row"].to_numpy(dtype=float), -1))
    forgotten = restart_row < next_row
    is_open = is_absence & is_last & ~forgotten
    table = events.assign(until=np.minimum(until, history.end), open=is_open)
    return table[is_absence & ~forgotten].sort_values("row").reset_index(drop=True)[["actor", "t", "until", "open"]]


def _stuck_at_end(history: RunHistory, events: pd.DataFrame) -> list[Counterexample]:
    """Participants whose last state is temporary absence though the server logged no unfinished absence."""
    states = select(history, LogEventKind.SESSION_STATE, role=Role.SERVER, columns=("session_id", "outcome", "cause"))
    restarts = recoveries(history)["row"]
    of_last_server = states["row"] > (restarts.iloc[-1] if len(restarts) else MISSING)  # one that drained tells its own
    final = ~states["cause"].isin([DetachCause.RESTART.value]).to_numpy(dtype=bool) & of_last_server.to_numpy()
    waiting = states[states["outcome"].isin([AWAY]).to_numpy(dtype=bool) & final]
    last = events[ends_group(events["who"].to_numpy())]
    connected = last[is_kind(last, *_ENDS_ABSENCE)].set_index("session_id")
    found = []
    for state in named_rows(waiting[~waiting["session_id"].isin(last["session_id"])]):
        text = f"{state.session_id}: {AWAY} at the end without a detachment on record"
        found.append(Counterexample(actor=state.session_id, t=state.t, text=text))
    for state in named_rows(waiting[waiting["session_id"].isin(connected.index)]):
        since = connected.loc[state.session_id]
        text = f"{state.session_id}: {AWAY} at the end, though the last record of its presence is {since['kind']}"
        found.append(Counterexample(actor=state.session_id, t=state.t, text=f"{text} at {since['t']:.3f} s"))
    return sorted(found, key=lambda case: case.t or 0.0)
