"""Checks of losses and silence: no loss without a fault, and dead peers are detected. Believes clients and server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.drivers import FleetDriver
from resilience.experiment.faults import ClientSuspendFault
from resilience.experiment.primitives import Direction
from resilience.experiment.schedule import SERVER, FaultWindow
from resilience.protocol.client.connection import OWN_CHOICES

from ..checking import MOST_SHOWN, CheckResult, named_rows, result_of, result_of_rows
from ..frames import RunHistory
from ..summary import Counterexample
from ..windows import windows_frame
from .connections import recoveries
from .selection import MISSING, by_group, ends_group, is_kind, joint_codes, last_where, select, starts_group
from .sessions import AFTERMATH_S, LOSSES, FaultTimes, client_sessions, fault_times, settle_s

STOP_S = 1.0
"""Seconds within which a client records that its loss was a leave or a replacement."""

_SIGNS_AT_SERVER = (
    LogEventKind.SESSION_CREATED,
    LogEventKind.SESSION_RESUMED,
    LogEventKind.HEARTBEAT_ACKED,
    LogEventKind.ANSWER_COMMITTED,
    LogEventKind.ANSWER_REPLIED,
    LogEventKind.MESSAGE_REFUSED,
)
_SENT_BY_CLIENT = (LogEventKind.PEER_SUSPECTED, LogEventKind.PONG_SENT, LogEventKind.ANSWER_SUBMITTED)
_RECEIVED_BY_CLIENT = (LogEventKind.STREAM_DELIVERED, LogEventKind.ANSWER_ACKED, LogEventKind.PONG_SENT)
_ATTACHES = (LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED)
_RELEASES = (
    LogEventKind.SESSION_DETACHED,
    LogEventKind.SESSION_FENCED,
    LogEventKind.SESSION_LEFT,
    LogEventKind.SESSION_EXPIRED,
)


def losses_have_faults(history: RunHistory) -> CheckResult:
    """Every session that a client lost, it lost in a fault window of its link or of the server, or shortly after.

    A drain, a leave, a replacement by another connection of the same person, and a client's own choice of a new
    connection are no losses. Where clients have a clock of their own, a loss may be as much later than it says as that
    clock is uncertain.
    """
    sessions = client_sessions(history).sort_values("until", kind="stable")
    until = sessions["until"].to_numpy()
    lost = is_kind(sessions.rename(columns={"closed_by": "kind", "kind": "was"}), *LOSSES)
    times, latest = fault_times(history), until + _clock_uncertainty(history, sessions)
    explained = times.covers(sessions, until) | times.covers(sessions, latest) | _in_drain(history, until)
    explained |= _stopped(history, sessions) | _chosen(history, sessions)

    def describe(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        return f"{case.actor}: lost its session at {case.until:.3f} s ({case.closed_by}) without a fault on its link"

    cases = sessions.assign(opened=sessions["t"], t=until)
    unknown = None if len(sessions) else "no client had a session"
    return result_of_rows(cases, lost & ~explained, describe, unknown=unknown)


def _clock_uncertainty(history: RunHistory, sessions: pd.DataFrame) -> NDArray[np.float64]:
    """By how much each session's times may be off, seconds: by the least known clock of a driver; 0 in the fleet."""
    clocks = history.rows(LogEventKind.DRIVER_CLOCK)["value"]
    drivers = history.experiment.drivers_by_cohort
    foreign = [cohort for cohort, driver in drivers.items() if not isinstance(driver, FleetDriver)]
    return np.where(sessions["cohort"].isin(foreign), clocks.max() if len(clocks) else 0.0, 0.0)


def _in_drain(history: RunHistory, t: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each time lies in a drain of the server."""
    covered = np.zeros(len(t), dtype=bool)
    for drain in named_rows(select(history, LogEventKind.SERVER_DRAINING, role=Role.SERVER, columns=("value",))):
        covered |= (t >= drain.t) & (t <= drain.t + (drain.value or 0.0) + AFTERMATH_S)
    return covered


def _chosen(history: RunHistory, sessions: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each session's client ended it by itself for a new snapshot."""
    ends = select(history, LogEventKind.TRANSPORT_LOST, role=Role.CLIENT, columns=("actor", "cause"))
    chosen = ends[ends["cause"].isin(OWN_CHOICES).to_numpy(dtype=bool)]
    own = set(zip(chosen["actor"].astype(str), chosen["t"], strict=True))
    ended = zip(sessions["actor"].astype(str), sessions["until"], strict=True)
    return np.array([end in own for end in ended], dtype=bool) if own else np.zeros(len(sessions), dtype=bool)


def _stopped(history: RunHistory, sessions: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each session's client left or was replaced about when it lost the session."""
    kinds = (LogEventKind.CLIENT_LEFT, LogEventKind.SESSION_SUPERSEDED)
    stops = select(history, *kinds, role=Role.CLIENT, columns=("actor",))
    last = stops.groupby("actor", observed=True)["t"].max()
    stopped_at = sessions["actor"].astype(object).map(last).astype(float).to_numpy() if len(last) else np.nan
    return np.asarray(np.abs(stopped_at - sessions["until"].to_numpy()) <= STOP_S, dtype=bool)


# --- silence ----------------------------------------------------------------------------------------------------------


def dead_peers_detected(history: RunHistory) -> CheckResult:
    """Both ends end a silent connection within their limits.

    The client: ``probe_after`` + ``probe_deadline`` after a silence has begun. The server: ``grace_period`` after the
    last sign of life, where the log has its heartbeats. Slack: 2 s, and how late the clients' own loops ran.
    """
    clients, deaf = _deaf_clients(history)
    servers, silent, more = _silent_connections(history)
    found = sorted([*deaf, *silent], key=lambda case: case.t or 0.0)
    none = None if clients + servers else "no connection was silent for as long as the limits allow"
    result = result_of(clients + servers, found, inapplicable=none)
    return replace(result, broken_cases=result.broken_cases + more)


def _deaf_clients(history: RunHistory) -> tuple[int, list[Counterexample]]:
    """How many sessions a silence outlasted the client's limit in, and those that ended later than that."""
    client = history.experiment.client
    limit = client.probe_after + client.probe_deadline + settle_s(history)
    sessions, times = client_sessions(history), fault_times(history)
    cases, found = 0, []
    for window, start, end in _silent_windows(history):
        if end - start <= limit:
            continue
        in_window = (sessions["t"] < start - AFTERMATH_S) & (sessions["until"] > start)
        struck = sessions[in_window & _is_struck(window, sessions, times)]
        struck = struck[~_heard(history, struck, start + AFTERMATH_S, end)]
        struck = struck[~_stood_still(history, struck, times, start, start + limit)]
        cases += len(struck)
        for late in named_rows(struck[struck["until"] - start > limit].sort_values("row")):
            text = f"{late.actor}: silence from {start:.3f} s on, its session lasted until {late.until:.3f} s"
            found.append(Counterexample(actor=late.actor, t=start + limit, text=f"{text}, allowed {limit:g} s"))
    return cases, found


def _silent_windows(history: RunHistory) -> Iterator[tuple[FaultWindow, float, float]]:
    """The confirmed windows in which clients hear nothing, with their begin and end."""
    planned = {window.fault_id: window for window in history.experiment.windows(history.info.seed)}
    windows = windows_frame(history).dropna(subset=["fault_at", "confirmed_at"])
    for row in named_rows(windows[windows["invalid"].isna()][["fault_id", "fault_at", "healed_at"]]):
        window = planned.get(row.fault_id)
        if window is not None and Direction.DOWN in window.fault.silent_ways:
            yield window, row.fault_at, history.end if row.healed_at is None else row.healed_at


def _is_struck(window: FaultWindow, sessions: pd.DataFrame, times: FaultTimes) -> NDArray[np.bool_]:
    if window.place == SERVER:
        return np.ones(len(sessions), dtype=bool)
    if window.fault.share >= 1.0 or times.group_of is None:
        return (sessions["cohort"] == window.place).to_numpy(dtype=bool, na_value=False)
    links = sessions["actor"].astype(str).map(dict(times.group_of))
    return links.isin(window.links).to_numpy(dtype=bool)


def _heard(history: RunHistory, sessions: pd.DataFrame, since: float, end: float) -> NDArray[np.bool_]:
    """Whether each session's client received something in this time: then its link was not silent."""
    rows = select(history, *_RECEIVED_BY_CLIENT, role=Role.CLIENT, columns=("actor",))
    heard = rows[rows["t"].between(since, end)]["actor"].unique()
    return sessions["actor"].isin(heard).to_numpy(dtype=bool)


def _stood_still(
    history: RunHistory, sessions: pd.DataFrame, times: FaultTimes, start: float, end: float
) -> NDArray[np.bool_]:
    """Whether each session's client was suspended at some time of these: it cannot notice a silence then."""
    still = np.zeros(len(sessions), dtype=bool)
    for window in history.experiment.windows(history.info.seed):
        if isinstance(window.fault, ClientSuspendFault) and window.starts_at < end and window.ends_at > start:
            still |= _is_struck(window, sessions, times)
    return still


def _silent_connections(history: RunHistory) -> tuple[int, list[Counterexample], int]:
    """How many connections were silent for the grace period; the first that the server then kept; how many more."""
    grace = history.experiment.server.grace_period
    if history.end <= grace or not len(select(history, LogEventKind.HEARTBEAT_SENT)):
        return 0, [], 0
    events = _signs_of_life(history)
    t, last = events["t"].to_numpy(), ends_group(events["who"].to_numpy())
    following = np.where(last, history.end, np.roll(t, -1))
    long = events.assign(until=following)[_is_attached(events) & (following - t > grace)]
    long = long.assign(until=np.minimum(long["until"], _server_end(history, long["t"].to_numpy())))
    long = long[long["until"] - long["t"] > grace]
    limit = grace + settle_s(history)
    late = long[long["until"] - long["t"] > limit].sort_values("row")
    shown = [
        Counterexample(
            actor=case.session_id,
            t=case.t + limit,
            text=f"{case.session_id}: no sign of life from {case.t:.3f} s on, "
            f"its connection counted as live until {case.until:.3f} s, allowed {limit:g} s",
        )
        for case in named_rows(late.head(MOST_SHOWN))
    ]
    return len(long), shown, len(late) - len(shown)


def _signs_of_life(history: RunHistory) -> pd.DataFrame:
    """What the server heard of each participant or its client sent, and what ended connections, by participant."""
    kinds = (*_SIGNS_AT_SERVER, *_RELEASES, *_SENT_BY_CLIENT)
    events = select(history, *kinds, columns=("kind", "session_id"))
    events = events[events["session_id"].notna().to_numpy() & (events["t"] <= history.end).to_numpy()]
    (who,) = joint_codes(events["session_id"])
    order = by_group(who)
    return events.iloc[order].reset_index(drop=True).assign(who=who[order])


def _is_attached(events: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether the participant has a live connection at the server after each event."""
    attaches = is_kind(events, *_ATTACHES)
    latest = last_where(attaches | is_kind(events, *_RELEASES))
    mine = (latest != MISSING) & (latest >= last_where(starts_group(events["who"].to_numpy())))
    return np.asarray(mine & attaches[latest], dtype=bool)


def _server_end(history: RunHistory, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """When the server of each time was killed, replaced or drained; infinite where it was not, now where none ran."""
    windows = windows_frame(history).dropna(subset=["fault_at"])
    ends = [
        *windows.loc[windows["place"] == SERVER, "earliest"],
        *recoveries(history)["t"],
        *select(history, LogEventKind.SERVER_DRAINING, role=Role.SERVER)["t"],
    ]
    sorted_ends = np.append(np.sort(np.asarray(ends, dtype=np.float64)), np.inf)
    until = np.asarray(sorted_ends[np.searchsorted(sorted_ends, t)], dtype=np.float64)
    kills = windows[windows["place"] == SERVER]
    for start, end in zip(kills["earliest"], kills["healed_at"].fillna(history.end), strict=True):
        until = np.where((start <= t) & (t <= end), t, until)
    return until
