"""The unit of analysis: one participant, one fault window on its cohort's link. Tells outcomes apart, computes nothing.

Columns of the episode frame (times in seconds since the run's start; ``*_s`` are durations in seconds):

================  ========  =========================================================================
column            dtype     meaning
================  ========  =========================================================================
fault_id          category  the window: the event by which drops are correlated
kind, stratum     category  of the window
cohort            category  of the participant
participant       category  the client's actor name
outcome           category  :class:`resilience.eventlog.vocabulary.Outcome`
came_back_by      category  resumed, rejoined (after clean-up, same identity), joined (a new identity); else missing
open_at_fault     bool      a session was open when the fault began
fault_at          float64   ``fault.started``
detected_at       float64   the first loss noticed by client or server; ``fault_at`` when no session was open
detected_by       category  client, server, fault (no session was open)
healed_at         float64   ``fault.ended``
connected_at      float64   the last ``transport.opened`` before ``restored_at``
restored_at       float64   ``session.restored`` that agrees with the server's truth; NaN otherwise
ended_at          float64   when the episode ended, or observation of it did
attempts          Int64     dials from ``detected_at`` to ``ended_at``
detection_s       float64   fault_at -> detected_at
reconnection_s    float64   detected_at -> ended_at
downtime_s        float64   fault_at -> ended_at
excess_s          float64   the later of healed_at and fault_at -> ended_at; at least 0
affected          bool      counts in the success rate
returned          bool      outcome is restored: durations are times of return
never             bool      gave up, lost its identity or came back corrupt: it will never return
================  ========  =========================================================================

A row that is affected but neither ``returned`` nor ``never`` is censored: its durations are lower bounds. Rows that are
not affected have no durations.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Outcome, Role
from resilience.experiment.schedule import SERVER
from resilience.lab.participants import participants_of

from .frames import RunHistory
from .windows import windows_frame

POST_HEAL_WINDOW_S = 3.0
"""Seconds after the heal within which a loss is the heal's own work, even if another fault has begun."""

CLOCKS = {
    "detection_s": "link cut → loss noticed by client or server",
    "reconnection_s": "loss noticed → session restored with the right state",
    "downtime_s": "link cut → session restored with the right state",
    "excess_s": "link usable again → session restored with the right state",
}
"""Which clock each latency runs from and to."""

AFFECTED = (Outcome.RESTORED, Outcome.GAVE_UP, Outcome.IDENTITY_LOST, Outcome.CORRUPT, Outcome.CENSORED)
_NEVER = (Outcome.GAVE_UP, Outcome.IDENTITY_LOST, Outcome.CORRUPT)
_CATEGORIES = ("fault_id", "kind", "stratum", "cohort", "participant", "outcome", "came_back_by", "detected_by")

STATE_AFTER = {
    LogEventKind.TRANSPORT_OPENING: "dialing",
    LogEventKind.TRANSPORT_OPENED: "joining",
    LogEventKind.SESSION_JOINED: "open",
    LogEventKind.SESSION_RESTORED: "open",
    LogEventKind.TRANSPORT_FAILED: "down",
    LogEventKind.TRANSPORT_LOST: "down",
    LogEventKind.PEER_DEAD: "down",
    LogEventKind.GAVE_UP: "gave_up",
    LogEventKind.CLIENT_LEFT: "left",
    LogEventKind.CLIENT_DISMISSED: "gave_up",
    LogEventKind.SESSION_SUPERSEDED: "left",
}
"""What each client event says of the client's state from then on."""

_FINAL = (LogEventKind.GAVE_UP, LogEventKind.CLIENT_DISMISSED)
"""Stopped for good, and not by the person's own wish."""

_LINKED = ("dialing", "joining", "open")


class _ClientEvents:
    """The clients' side of the log as small tables sorted by ``t``; ``who`` numbers the participants."""

    def __init__(self, log: RunHistory) -> None:
        frame = log.frame
        mine = frame[(frame["role"] == Role.CLIENT.value) & (frame["t"] <= log.end)]
        self.names = pd.Index(sorted(mine["actor"].dropna().unique()))
        columns = ["t", "kind", "cohort", "session_id", "connection_no", "cause", "detail"]
        self.events = mine[columns].assign(who=self.names.get_indexer(mine["actor"]))
        known = self.events.dropna(subset=["session_id"]).drop_duplicates("session_id")
        self.who_is = pd.Series(
            known["who"].to_numpy(), index=known["session_id"].astype(str).to_numpy(), dtype="int64"
        )
        self.states = self.events.assign(state=self.events["kind"].astype(str).map(dict(STATE_AFTER)))
        self.states = self.states.dropna(subset=["state"])

    def of(self, *kinds: LogEventKind) -> pd.DataFrame:
        """Their events of these kinds."""
        return self.events[self.events["kind"].isin([kind.value for kind in kinds])]


def episodes_frame(log: RunHistory) -> pd.DataFrame:
    """Every episode of the run; columns and dtypes as in this module's docstring."""
    clients = _ClientEvents(log)
    rows = _window_participant_pairs(log, clients)
    rows = rows.assign(**_exposure(rows, clients))
    rows = rows.assign(**_detection(rows, _losses(log, clients), log.end))
    rows = rows.assign(**_ending(rows, clients, log))
    rows["outcome"] = _outcomes(rows)
    rows = rows.assign(**_times(rows, clients, log.end))
    return _typed(rows)


def _window_participant_pairs(log: RunHistory, clients: _ClientEvents) -> pd.DataFrame:
    """Window x participant that it strikes, with the time before which a loss still belongs to the window."""
    windows = windows_frame(log).dropna(subset=["fault_at"])
    windows = windows.assign(
        harness=windows["invalid"].notna() | windows["confirmed_at"].isna(),
        heal_or_end=windows["healed_at"].fillna(log.end),
    )
    members = clients.events[["who", "cohort"]].dropna().drop_duplicates("who").astype({"cohort": str})
    everybody = windows[windows["place"] == SERVER].merge(members, how="cross")
    cohorts = windows.merge(members, left_on="place", right_on="cohort", how="inner")
    rows = pd.concat([cohorts, everybody], ignore_index=True)
    rows = rows.assign(participant=clients.names.to_numpy()[rows["who"].to_numpy(dtype=int)])
    rows = rows[_struck(log, rows)].sort_values(["fault_at", "fault_id", "who"], kind="stable", ignore_index=True)
    upcoming = rows.groupby("who")["earliest"].shift(-1).fillna(np.inf)
    return rows.assign(next_fault=upcoming)


def _struck(log: RunHistory, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows' participants use a link that the window acts on; all of a cohort but where a fault has a share."""
    seed = log.info.seed
    windows = {window.fault_id: window for window in log.experiment.windows(seed) if window.fault.share < 1.0}
    if not windows:
        return np.ones(len(rows), dtype=bool)
    links = {participant.actor: participant.link for participant in participants_of(log.experiment, seed)}
    return np.array(
        [
            fault_id not in windows or links.get(who) in windows[fault_id].links
            for fault_id, who in zip(rows["fault_id"], rows["participant"], strict=True)
        ],
        dtype=bool,
    )


def _lookup(rows: pd.DataFrame, at: str, table: pd.DataFrame, direction: str, *, exact: bool) -> pd.DataFrame:
    """For each row, the nearest row of ``table`` of its ``who`` before or after ``rows[at]``; missing where none."""
    wanted = rows[["who", at]].dropna().sort_values(at, kind="stable").reset_index(names="row")
    found = pd.merge_asof(
        wanted.astype({"who": "int64"}),
        table.astype({"who": "int64"}),
        left_on=at,
        right_on="t",
        by="who",
        direction="forward" if direction == "forward" else "backward",
        allow_exact_matches=exact,
    )
    return found.set_index("row").reindex(rows.index)


def _exposure(rows: pd.DataFrame, clients: _ClientEvents) -> dict[str, pd.Series]:
    """Whether the fault found an open transport or a dial, and a session to lose."""
    states = clients.states[["who", "t", "state"]]
    before = _lookup(rows, "earliest", states, "backward", exact=False)["state"]
    dials = clients.of(LogEventKind.TRANSPORT_OPENING, LogEventKind.TRANSPORT_OPENED)[["who", "t"]]
    dialed = _lookup(rows, "earliest", dials, "forward", exact=True)["t"] <= rows["heal_or_end"]
    joined = clients.of(LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)[["who", "t"]]
    had_session = _lookup(rows, "earliest", joined, "backward", exact=False)["t"].notna()
    return {"exposed": (before.isin(_LINKED) | dialed) & had_session, "open_at_fault": before == "open"}


def _losses(log: RunHistory, clients: _ClientEvents) -> pd.DataFrame:
    """Losses noticed by either side: ``who``, ``t``, ``by``."""
    client = clients.of(LogEventKind.TRANSPORT_LOST, LogEventKind.PEER_DEAD)[["who", "t"]].assign(by="client")
    frame = log.frame
    detached = frame[(frame["kind"] == LogEventKind.SESSION_DETACHED.value) & (frame["t"] <= log.end)]
    who = clients.who_is.reindex(detached["session_id"].astype(str)).to_numpy()
    server = pd.DataFrame({"who": who, "t": detached["t"].to_numpy(), "by": "server"}).dropna(subset=["who"])
    return pd.concat([client, server]).sort_values("t", kind="stable")


def _detection(rows: pd.DataFrame, losses: pd.DataFrame, end: float) -> dict[str, pd.Series]:
    """When the loss was noticed; a loss counts until the cohort's next fault, and always shortly after the heal."""
    first = _lookup(rows, "earliest", losses, "forward", exact=True)
    ours = (first["t"] < rows["next_fault"]) | (first["t"] <= rows["heal_or_end"] + POST_HEAL_WINDOW_S)
    noticed = first["t"].where(ours & (first["t"] <= end)).clip(lower=rows["fault_at"])
    detected = noticed.where(rows["open_at_fault"], rows["fault_at"])
    by = first["by"].where(noticed.notna()).where(rows["open_at_fault"], "fault")
    return {"detected_at": detected, "detected_by": by, "unnoticed": rows["open_at_fault"] & noticed.isna()}


def _ending(rows: pd.DataFrame, clients: _ClientEvents, log: RunHistory) -> dict[str, pd.Series]:
    """How it ended: back (and by which way, with what), stopped for good, or still open at the run's end."""
    columns = ["who", "t", "kind", "session_id", "connection_no", "detail"]
    arrivals = clients.of(LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)[columns]
    arrivals = _with_server_digest(arrivals, log)
    back = _lookup(rows, "detected_at", arrivals, "forward", exact=False)
    stops = clients.of(*_FINAL, LogEventKind.CLIENT_LEFT, LogEventKind.SESSION_SUPERSEDED)[["who", "t", "kind"]]
    stop = _lookup(rows, "detected_at", stops, "forward", exact=True)
    is_back = back["t"].notna() & ~(stop["t"] < back["t"])
    return {
        "back": is_back,
        "new_identity": back["kind"] == LogEventKind.SESSION_JOINED.value,
        "agrees": back["agrees"].fillna(value=False).astype(bool),
        "resumed_as": back["resumed_as"],
        "gave_up": ~is_back & stop["kind"].isin([kind.value for kind in _FINAL]),
        "ended_at": back["t"].where(is_back, stop["t"]).fillna(log.end),
    }


def _with_server_digest(arrivals: pd.DataFrame, log: RunHistory) -> pd.DataFrame:
    """Each arrival of a client, with whether its digest equals the server's of the same session and connection."""
    frame = log.frame
    resumed = frame[frame["kind"] == LogEventKind.SESSION_RESUMED.value]
    server_digest = resumed[["session_id", "connection_no", "detail", "outcome"]].astype({"session_id": "string"})
    server_digest = server_digest.drop_duplicates(["session_id", "connection_no"])
    server_digest = server_digest.rename(columns={"detail": "truth", "outcome": "resumed_as"})
    matched = arrivals.astype({"session_id": "string"}).merge(
        server_digest, on=["session_id", "connection_no"], how="left"
    )
    return matched.assign(agrees=(matched["detail"] == matched["truth"]).fillna(value=False).astype(bool))


def _outcomes(rows: pd.DataFrame) -> NDArray[np.object_]:
    """The first case that holds, in the order of this table."""
    cases = [
        (rows["harness"], Outcome.HARNESS),
        (~rows["exposed"], Outcome.NOT_EXPOSED),
        (rows["unnoticed"], Outcome.RODE_THROUGH),
        (rows["back"] & rows["new_identity"], Outcome.IDENTITY_LOST),
        (rows["back"] & rows["agrees"], Outcome.RESTORED),
        (rows["back"], Outcome.CORRUPT),
        (rows["gave_up"], Outcome.GAVE_UP),
    ]
    conditions = [case.to_numpy(dtype=bool) for case, _ in cases]
    return np.select(conditions, [outcome.value for _, outcome in cases], Outcome.CENSORED.value).astype(object)


def _times(rows: pd.DataFrame, clients: _ClientEvents, end: float) -> dict[str, pd.Series]:
    """The clocks and counts of the affected; nothing for the others."""
    affected = rows["outcome"].isin([outcome.value for outcome in AFFECTED])
    returned = rows["outcome"] == Outcome.RESTORED.value
    ended, detected = rows["ended_at"].where(affected), rows["detected_at"].where(affected)
    healed = rows["healed_at"].fillna(end).clip(lower=rows["fault_at"])
    opened = clients.of(LogEventKind.TRANSPORT_OPENED)[["who", "t"]]
    restored = rows["ended_at"].where(returned)
    last_open = _lookup(rows.assign(restored_at=restored), "restored_at", opened, "backward", exact=True)["t"]
    came = rows["resumed_as"].where(returned).astype(object)
    return {
        "affected": affected,
        "returned": returned,
        "never": rows["outcome"].isin([outcome.value for outcome in _NEVER]),
        "restored_at": restored,
        "ended_at": ended,
        "detected_at": detected,
        "detected_by": rows["detected_by"].where(affected),
        "connected_at": last_open,
        "came_back_by": came.where(rows["outcome"] != Outcome.IDENTITY_LOST.value, "joined"),
        "attempts": _attempts(rows.assign(ended=ended, detected=detected), clients),
        "detection_s": detected - rows["fault_at"],
        "reconnection_s": ended - detected,
        "downtime_s": ended - rows["fault_at"],
        "excess_s": (ended - healed).clip(lower=0.0),
    }


def _attempts(rows: pd.DataFrame, clients: _ClientEvents) -> pd.Series:
    """Dials at or after ``detected`` and up to ``ended``, by the difference of two running counts."""
    dials = clients.of(LogEventKind.TRANSPORT_OPENING)[["who", "t"]]
    dials = dials.assign(n=dials.groupby("who").cumcount() + 1)
    until = _lookup(rows, "ended", dials, "backward", exact=True)["n"].fillna(0)
    before = _lookup(rows, "detected", dials, "backward", exact=False)["n"].fillna(0)
    return (until - before).where(rows["ended"].notna()).astype("Int64")


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    columns = [
        *_CATEGORIES,
        "open_at_fault",
        *("fault_at", "detected_at", "healed_at", "connected_at", "restored_at", "ended_at"),
        "attempts",
        *CLOCKS,
        *("affected", "returned", "never"),
    ]
    frame = rows[columns].astype(dict.fromkeys(_CATEGORIES, "category"))
    outcomes = [outcome.value for outcome in Outcome]
    return frame.assign(outcome=frame["outcome"].cat.set_categories(outcomes))


def state_segments(log: RunHistory) -> pd.DataFrame:
    """What each participant was doing when: ``participant``, ``cohort`` (str), ``start``, ``stop`` (s), ``state``.

    ``state`` is connected (a session is open), reconnecting (lost one and not back), gave_up, joining (no session yet).
    """
    clients = _ClientEvents(log)
    states = clients.states.sort_values(["who", "t"], kind="stable")
    had = (states["state"] == "open").groupby(states["who"]).cummax()
    shown = states["state"].map({"open": "connected", "gave_up": "gave_up", "left": "left"})
    states["shown"] = shown.fillna(had.map({True: "reconnecting", False: "joining"}))
    changed = (states["who"] != states["who"].shift()) | (states["shown"] != states["shown"].shift())
    kept = states[changed]
    following = kept["t"].shift(-1).where(kept["who"] == kept["who"].shift(-1), log.end)
    frame = pd.DataFrame(
        {
            "participant": clients.names.to_numpy()[kept["who"].to_numpy(dtype=int)],
            "cohort": kept["cohort"].astype(str).to_numpy(),
            "start": kept["t"].to_numpy(),
            "stop": following.to_numpy(),
            "state": kept["shown"].to_numpy(),
        }
    )
    return frame[frame["state"] != "left"].reset_index(drop=True)
