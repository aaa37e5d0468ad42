"""Checks of a participant's connections at the server. Believes the server's log."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import DetachCause, LogEventKind, Role
from resilience.experiment.faults import ServerDrainFault, ServerSuspendFault, kinds_of

from ..checking import CheckResult, named_rows, result_of
from ..frames import RunHistory, once_per_run
from ..summary import Counterexample
from ..windows import windows_frame
from .selection import MISSING, by_group, first_position, is_kind, joint_codes, last_where, select, starts_group

TOLERANCE_S = 0.5
"""Seconds by which the records of two tasks of one server may be out of order."""

_ATTACHES = (LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED)
_CONNECTION_KINDS = (
    *_ATTACHES,
    LogEventKind.SESSION_FENCED,
    LogEventKind.SESSION_DETACHED,
    LogEventKind.SESSION_LEFT,
    LogEventKind.SESSION_EXPIRED,
    LogEventKind.TRANSPORT_LOST,
)
_OWN_CAUSES = tuple(cause.value for cause in DetachCause)


def one_live_connection(history: RunHistory) -> CheckResult:
    """One live connection per participant; numbers only grow; only the loss of the current one detaches."""
    events = _connection_events(history)
    suspects = np.unique(events["who"].to_numpy()[_is_suspicious(events)])
    theirs = events[events["who"].isin(suspects)]
    none = None if is_kind(events, *_ATTACHES).any() else "no participant connected"
    return result_of(len(events), _replayed(theirs), inapplicable=none)


def _connection_events(history: RunHistory) -> pd.DataFrame:
    """The records about connections, with the participant's code ``who`` and the number of the server, ``life``."""
    columns = ("kind", "session_id", "connection_no", "cause")
    events = select(history, *_CONNECTION_KINDS, role=Role.SERVER, columns=columns)
    under_way = events["session_id"].notna() & (events["t"] <= history.end)  # later the laboratory ends the server
    events = events[under_way.to_numpy()].reset_index(drop=True)
    life = np.searchsorted(recoveries(history)["row"].to_numpy(), events["row"].to_numpy())
    number = events["connection_no"].fillna(0).to_numpy(dtype=np.int64)
    return events.assign(who=joint_codes(events["session_id"])[0], life=life, number=number)


@once_per_run
def recoveries(history: RunHistory) -> pd.DataFrame:
    """The starts of servers that recovered the run of an earlier one."""
    starts = select(history, LogEventKind.SERVER_STARTED, role=Role.SERVER, columns=("outcome",))
    return starts[starts["outcome"].isin(["recovered"])].reset_index(drop=True)


def resumptions(history: RunHistory) -> NDArray[np.float64]:
    """When a fault that had suspended the server let it continue; an order to end wakes it too."""
    windows = windows_frame(history)
    kinds = windows["kind"]
    suspended = windows[kinds.isin(kinds_of(ServerSuspendFault))].dropna(subset=["fault_at"])
    ordered = windows.loc[kinds.isin(kinds_of(ServerDrainFault)), "fault_at"].dropna().to_numpy(dtype=np.float64)
    begun, ended = suspended["fault_at"].to_numpy(), suspended["healed_at"].fillna(history.end).to_numpy()
    woken = [t for t in ordered if ((begun <= t) & (t <= ended)).any()]
    return np.concatenate([suspended["healed_at"].dropna().to_numpy(dtype=np.float64), woken])


def _is_suspicious(events: pd.DataFrame) -> NDArray[np.bool_]:
    """Marks at least one record of every participant whose records break the rule, and few others."""
    marked = np.zeros(len(events), dtype=bool)
    order = by_group(events["who"].to_numpy())
    marked[order] = _marks_attachments(events.iloc[order])
    return marked | _marks_detachments(events)


def _marks_attachments(events: pd.DataFrame) -> NDArray[np.bool_]:
    """In the order of participants: attachments with an older number, or while nothing had ended the one before."""
    who, number, life = (events[name].to_numpy() for name in ("who", "number", "life"))
    attaches = is_kind(events, *_ATTACHES)
    latest = last_where(attaches)
    latest[latest < last_where(starts_group(who))] = MISSING
    before = np.concatenate([[MISSING], latest[:-1]])[: len(latest)]
    before[starts_group(who)] = MISSING
    ends = ~attaches & (latest != MISSING) & (number == number[latest])
    ended = np.cumsum(ends)
    still_live = (ended == ended[before]) & (life == life[before])
    lower = number <= number[before]
    replaced = ~attaches & (latest != MISSING) & (number < number[latest])
    marked = replaced & is_kind(events, LogEventKind.SESSION_DETACHED)
    marked |= attaches & np.where(before == MISSING, number <= 0, lower | still_live)
    return np.asarray(marked, dtype=bool)


def _marks_detachments(events: pd.DataFrame) -> NDArray[np.bool_]:
    """Detachments by the end of a connection that was not lost by then."""
    lost = is_kind(events, LogEventKind.TRANSPORT_LOST)
    detached = is_kind(events, LogEventKind.SESSION_DETACHED) & ~events["cause"].isin(_OWN_CAUSES).to_numpy(dtype=bool)
    width = int(events["number"].max()) + 2 if len(events) else 1
    lives = int(events["life"].max()) + 1 if len(events) else 1
    keys = ((events["who"] * lives + events["life"]) * width + events["number"]).to_numpy(dtype=np.int64)
    at = first_position(keys[detached], keys[lost])
    t = events["t"].to_numpy()
    lost_at = np.where(at == MISSING, math.inf, t[lost][at] if lost.any() else math.inf)
    marked = np.zeros(len(events), dtype=bool)
    marked[np.flatnonzero(detached)[lost_at > t[detached] + TOLERANCE_S]] = True
    return marked


# --- the suspects, replayed -------------------------------------------------------------------------------------------


@dataclass
class _ConnectionHistory:
    """Replays one participant's connections on the server. ``current``: the newest number that was attached."""

    who: str
    losses: dict[int, float] = field(default_factory=dict)
    current: int = 0
    live: set[int] = field(default_factory=set)

    def take(self, event: Any) -> str | None:  # noqa: ANN401 - a named tuple of the table
        """The rule that this event breaks, in words, or None."""
        if event.kind in _ATTACHES:
            return self._attach(event.number, event)
        if event.kind == LogEventKind.SESSION_DETACHED:
            return self._detach(event.number, event)
        self.live.discard(event.number)
        return None

    def restart(self, losses: dict[int, float]) -> None:
        """The server restarted: no connection to the earlier one is left."""
        self.live.clear()
        self.losses = losses

    def _attach(self, number: int, event: Any) -> str | None:  # noqa: ANN401 - a named tuple of the table
        if number <= self.current:
            return self._say(event, f"attached as connection {number} after connection {self.current}")
        others = sorted(other for other in self.live if self._lives(other, event.t))
        self.current, self.live = number, {number}
        if others:
            return self._say(event, f"connection {number} attached while {others[0]} was live and not fenced")
        return None

    def _detach(self, number: int, event: Any) -> str | None:  # noqa: ANN401 - a named tuple of the table
        self.live.discard(number)
        if event.cause in _OWN_CAUSES:
            return None
        if number < self.current:
            return self._say(event, f"detached by connection {number}, which {self.current} had replaced")
        if self._lives(number, event.t):
            return self._say(event, f"connection {number} was detached ({event.cause}) though it had not been lost")
        return None

    def _lives(self, number: int, t: float) -> bool:
        return self.losses.get(number, math.inf) > t + TOLERANCE_S

    def _say(self, event: Any, what: str) -> str:  # noqa: ANN401 - a named tuple of the table
        return f"{self.who} at {event.t:.3f} s: {what}"


def _replayed(events: pd.DataFrame) -> Iterator[Counterexample]:
    """Every counterexample among these records, in order of time."""
    fences: dict[str, _ConnectionHistory] = {}
    for _, life in events.groupby("life"):
        losses = _losses(life)
        for who, fence in fences.items():
            fence.restart(losses[who])
        for event in named_rows(life):
            who = event.session_id
            text = fences.setdefault(who, _ConnectionHistory(who, losses[who])).take(event)
            if text is not None:
                yield Counterexample(actor=who, t=event.t, text=text)


def _losses(events: pd.DataFrame) -> dict[str, dict[int, float]]:
    """When each connection was first seen to be lost, by participant and number."""
    losses: dict[str, dict[int, float]] = defaultdict(dict)
    for event in named_rows(events[is_kind(events, LogEventKind.TRANSPORT_LOST)]):
        losses[event.session_id].setdefault(event.number, event.t)
    return losses
