"""The clients' own record of their sessions and of the stream, and when faults acted on their links. Knows no rule.

A session lasts from the moment that a client joined or was restored to its next loss, its stop or the run's end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.schedule import SERVER
from resilience.lab.participants import participants_of, person_of

from ..frames import RunHistory, once_per_run
from ..windows import windows_frame
from .selection import MISSING, by_group, ends_group, is_kind, joint_codes, select, values_at

SETTLE_S = 2.0
"""Seconds before an end from which on what is still under way is not judged."""

AFTERMATH_S = 3.0
"""Seconds after the heal within which a loss is the fault's own work."""

NOWHERE = -(2**31)
"""The position of a client that has none."""

OPENS = (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)
LOSSES = (LogEventKind.TRANSPORT_LOST, LogEventKind.PEER_DEAD)
STOPS = (
    LogEventKind.GAVE_UP,
    LogEventKind.CLIENT_LEFT,
    LogEventKind.CLIENT_DISMISSED,
    LogEventKind.SESSION_SUPERSEDED,
)

Seconds = NDArray[np.float64]
Flags = NDArray[np.bool_]


def settle_s(history: RunHistory) -> float:
    """:data:`SETTLE_S`, and how late the clients' own loops ran."""
    return SETTLE_S + history.lab_lag


@once_per_run
def session_events(history: RunHistory) -> pd.DataFrame:
    """The clients' records that open, end or stop a session, up to the end, by client and then in order of time.

    Columns: ``row``, ``t``, ``kind``, ``actor``, ``cohort``, and ``who``, the client's number.
    """
    columns = ("kind", "actor", "cohort")
    events = select(history, *OPENS, *LOSSES, *STOPS, role=Role.CLIENT, columns=columns)
    events = events[(events["t"] <= history.end).to_numpy()]
    (who,) = joint_codes(events["actor"])
    order = by_group(who)
    return events.iloc[order].reset_index(drop=True).assign(who=who[order])


@once_per_run
def client_sessions(history: RunHistory) -> pd.DataFrame:
    """One row per session of a client, by client and then in order of time.

    Columns: ``row``, ``t`` (opened), ``actor``, ``cohort``, ``who``, ``until`` (lost, stopped or replaced; else the
    run's end), ``closed_by`` (the kind of the event; missing at the run's end).
    """
    events = session_events(history)
    is_last = ends_group(events["who"].to_numpy())
    following = np.roll(np.arange(len(events)), -1)
    until = np.where(is_last, history.end, events["t"].to_numpy()[following])
    kinds: Any = events["kind"].array
    sessions = events.assign(until=until, closed_by=kinds.take(np.where(is_last, MISSING, following), allow_fill=True))
    return sessions[is_kind(events, *OPENS)].drop(columns="kind").reset_index(drop=True)


@once_per_run
def stream_rows(history: RunHistory) -> pd.DataFrame:
    """Joins, restores and stream messages of the clients, by client and then in order of time.

    Columns: ``row``, ``t``, ``who``, ``seq`` (:data:`NOWHERE` where it is missing), ``epoch`` (a number; for messages
    only), ``delivered`` (a message rather than a join or restore).
    """
    kinds = (*OPENS, LogEventKind.STREAM_DELIVERED)
    rows = select(history, *kinds, role=Role.CLIENT, columns=("kind", "actor", "seq", "detail"))
    delivered = is_kind(rows, LogEventKind.STREAM_DELIVERED)
    who = rows["actor"].cat.codes.to_numpy(dtype=np.int32)
    epoch = np.where(delivered, numbers_of(epoch_numbers(history), rows["detail"]), np.int32(MISSING))
    order = by_group(who)
    table = {
        "row": rows["row"].to_numpy(),
        "t": rows["t"].to_numpy(),
        "who": who,
        "seq": rows["seq"].array.to_numpy(dtype=np.int32, na_value=NOWHERE),
        "epoch": epoch,
        "delivered": delivered,
    }
    return pd.DataFrame({name: column[order] for name, column in table.items()}, copy=False)


def numbers_of(names: pd.Index, texts: pd.Series) -> NDArray[np.int32]:
    """The position of each text among the names; :data:`MISSING` where it is none of them."""
    found = names.get_indexer(texts.cat.categories.astype("string")).astype(np.int32)
    return values_at(found, texts.cat.codes.to_numpy(), MISSING)


@once_per_run
def epoch_numbers(history: RunHistory) -> pd.Index:
    """The epochs of the run's streams; the position of each is its number."""
    starts = select(history, LogEventKind.SERVER_STARTED, role=Role.SERVER, columns=("detail",))
    delivered = select(history, LogEventKind.STREAM_DELIVERED, role=Role.CLIENT, columns=("detail",))
    names = [*starts["detail"].dropna().unique(), *delivered["detail"].dropna().unique()]
    return pd.Index(pd.unique(pd.Series(names, dtype="string")))


# --- when faults acted ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FaultTimes:
    """When faults acted on each group of links, as disjoint spans ``(from, to)``, s; ``group_of`` a participant."""

    spans: Mapping[str, list[tuple[float, float]]]
    group_of: Mapping[str, str] | None

    def groups(self, table: pd.DataFrame) -> Iterator[tuple[list[tuple[float, float]], Flags]]:
        """Spans, and which rows (with ``actor`` and ``cohort``) they concern."""
        names: Any = (
            table["cohort"]
            if self.group_of is None
            else table["actor"].astype(str).map(person_of).map(dict(self.group_of))
        )
        for name, spans in self.spans.items():
            concerned = (names == name).to_numpy(dtype=bool, na_value=False)
            if spans and concerned.any():
                yield spans, concerned

    def covers(self, table: pd.DataFrame, t: Seconds) -> Flags:
        """Whether each row's time ``t`` lies in a span of its group or within :data:`AFTERMATH_S` after it."""
        covered = np.zeros(len(table), dtype=bool)
        for spans, concerned in self.groups(table):
            for start, end in spans:
                covered |= concerned & (t >= start) & (t <= end + AFTERMATH_S)
        return covered

    def clear_s(self, table: pd.DataFrame, low: Seconds, high: Seconds) -> Seconds:
        """How many seconds of each row's interval lie outside all spans of its group."""
        clear = np.clip(high - low, 0.0, None)
        for spans, concerned in self.groups(table):
            for start, end in spans:
                clear -= concerned * np.clip(np.minimum(high, end) - np.maximum(low, start), 0.0, None)
        return clear

    def last_clear(self, table: pd.DataFrame, low: Seconds, high: Seconds) -> Seconds:
        """The end of the last part of each row's interval in which the link surely worked; ``low`` where none did.

        What happens within :data:`AFTERMATH_S` of a span may be that fault's work.
        """
        at = high.copy()
        for spans, concerned in self.groups(table):
            for start, end in reversed(spans):
                at = np.where(concerned & (start <= at) & (at <= end + AFTERMATH_S), np.maximum(start, low), at)
        return at


@once_per_run
def fault_times(history: RunHistory) -> FaultTimes:
    """The spans of every disturbing fault that began, per cohort; per link where one struck a part of a cohort only.

    A failure of the laboratory's own proxy counts as one: what is lost then is not the system's loss.
    """
    windows = windows_frame(history)
    return _times_of(history, windows[~windows["fault_id"].isin(list(harmless_windows(history)))])


@once_per_run
def proxy_failures(history: RunHistory) -> list[tuple[str, float, float]]:
    """Of each proxy that failed by itself and was replaced: its link, and between which times it may have failed."""
    rows = history.rows(LogEventKind.LINK_REPLACED)
    return [
        (str(link), float(since), float(since + lasted))
        for link, since, lasted in zip(rows["actor"], rows["t"], rows["value"], strict=True)
    ]


@once_per_run
def harmless_windows(history: RunHistory) -> frozenset[str]:
    """The ids of the windows that disturb no connection: a loss within them needs another cause."""
    windows = history.experiment.windows(history.info.seed)
    return frozenset(window.fault_id for window in windows if not window.fault.disturbs)


def _times_of(history: RunHistory, windows: pd.DataFrame) -> FaultTimes:
    """The spans of these windows, as far as they began, and those of the proxies that failed by themselves."""
    seed, experiment = history.info.seed, history.experiment
    planned = {window.fault_id: window for window in experiment.windows(seed)}
    group_of, links_of_cohort = _groups(history)
    spans: dict[str, list[tuple[float, float]]] = {name: [] for links in links_of_cohort.values() for name in links}
    windows = windows.dropna(subset=["fault_at"])
    ends = windows["healed_at"].fillna(history.end)
    for fault_id, place, start, end in zip(
        windows["fault_id"], windows["place"], windows["earliest"], ends, strict=True
    ):
        window = planned.get(fault_id)
        if place == SERVER:
            struck = list(spans)
        elif window is not None and window.fault.share < 1.0:
            struck = list(window.links)
        else:
            struck = links_of_cohort.get(place, [])
        for name in struck:
            spans[name].append((float(start), max(float(end), float(start))))
    for link, start, end in proxy_failures(history):
        spans.setdefault(link, []).append((start, end))
    return FaultTimes({name: union_of(found) for name, found in spans.items()}, group_of)


def _groups(history: RunHistory) -> tuple[Mapping[str, str] | None, dict[str, list[str]]]:
    """The group of each client (None where cohorts are the groups), and the groups of each cohort."""
    experiment, seed = history.experiment, history.info.seed
    if all(fault.share >= 1.0 for fault in experiment.faults):
        return None, {cohort.name: [cohort.name] for cohort in experiment.cohorts}
    participants = participants_of(experiment, seed)
    links: dict[str, list[str]] = {}
    for participant in participants:
        known = links.setdefault(participant.cohort, [])
        if participant.link not in known:
            known.append(participant.link)
    return {participant.actor: participant.link for participant in participants}, links


def union_of(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same spans, disjoint and in order."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged
