"""The unit of analysis: one participant and one outage of its link. Tells outcomes apart, computes no statistic.

The network's next outage is never charged to the policy. Windows that strike one participant's link, or the server, and
overlap, touch, or follow before the participant got back, are one outage with one episode and one return. Its excess
counts only time in which the link was usable, from the first heal to the return, so every episode obeys
``downtime_s = outage_s + excess_s`` where the link healed. Events that share an outage become one event.

Columns of the episode frame (times in seconds since the run's start; ``*_s`` are durations in seconds):

================  ========  =========================================================================
column            dtype     meaning
================  ========  =========================================================================
fault_id, kind    category  the first window of the outage and its kind
last_fault_id     category  the last window of the outage
windows           int32     how many windows the outage merges
event, stratum    category  the outage's physical event, by which drops are correlated, and its stratum
cohort            category  of the participant
participant       category  the client's actor name
outcome           category  :class:`resilience.eventlog.vocabulary.Outcome`
came_back_by      category  resumed, rejoined (after clean-up, same identity), joined (a new identity); else missing.
                            Of clients of another program: resumed, fresh, as their driver claims
open_at_fault     bool      a session was open when the outage began
fault_at          float64   ``fault.started`` of the first window
detected_at       float64   the first loss noticed by client or server; NaN when no session was open
detected_by       category  client, server; missing when no session was open
healed_at         float64   the last ``fault.ended`` before the end; NaN when the link was not usable at the end
connected_at      float64   the last ``transport.opened`` before ``restored_at``
restored_at       float64   ``session.restored`` that agrees with the server's truth; NaN otherwise
ended_at          float64   when the episode ended, or observation of it did
attempts          Int64     dials from the loss to ``ended_at``
detection_s       float64   fault_at -> detected_at
reconnection_s    float64   detected_at (fault_at when no session was open) -> ended_at
downtime_s        float64   fault_at -> ended_at
outage_s          float64   of the downtime, the seconds in which a window held
usable_s          float64   of the downtime, the seconds in which the link was usable
excess_s          float64   usable_s; NaN when the link was never usable again
heal_s            float64   fault_at -> healed_at: how long the network kept the participant out
affected          bool      counts in the success rate
returned          bool      outcome is restored: durations are times of return
never             bool      gave up, lost its identity or came back corrupt: it will never return
================  ========  =========================================================================

A row that is affected but neither ``returned`` nor ``never`` is censored: its durations are lower bounds. Rows that are
not affected have no durations.

Every outcome needs evidence. ``rode_through``: a sign of life on the same connection after the heal. Where the kind of
fault leaves no connection open, such a sign means that the connection was not on the link: ``not_exposed``. Without any
sign and without a loss the episode is ``censored``. ``harness``: a canary did not see a window begin, or did not see
the link usable again and neither did the participant. ``left``, ``superseded``: the participant's own choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Outcome
from resilience.experiment.faults import connections_end
from resilience.experiment.schedule import SERVER

from .frames import RunHistory
from .outages import Findings, Outages, Strikes, findings_of, merged_events, outages_of, strikes_of
from .participant_events import NONE, Flags, Numbers, ParticipantEvents
from .windows import windows_frame

CLOCKS = {
    "detection_s": "link cut → loss noticed by client or server",
    "reconnection_s": "loss noticed → session restored with the right state",
    "downtime_s": "link cut → session restored with the right state",
    "excess_s": "link usable again → session restored with the right state",
}
"""Which clock each latency runs from and to."""

AFFECTED = (Outcome.RESTORED, Outcome.GAVE_UP, Outcome.IDENTITY_LOST, Outcome.CORRUPT, Outcome.CENSORED)
_NEVER = (Outcome.GAVE_UP, Outcome.IDENTITY_LOST, Outcome.CORRUPT)
_OUTCOMES = tuple(outcome.value for outcome in Outcome)


def episodes_frame(log: RunHistory) -> pd.DataFrame:
    """Every episode of the run; columns and dtypes as in this module's docstring."""
    if log.recorded_episodes is not None:
        return log.recorded_episodes
    events = ParticipantEvents(log)
    strikes = strikes_of(log, events, windows_frame(log))
    findings = findings_of(strikes, events)
    outages = outages_of(strikes, findings, events)
    how, agrees = events.resumed_by_server(findings.ending[outages.last])
    outcome = _outcomes(strikes, findings, outages, events, agrees)
    affected = np.isin(outcome, [_number(each) for each in AFFECTED])
    labels = _labels(strikes, outages, events, affected)
    labels |= _returns(outcome, how)
    measured = _times(strikes, findings, outages, events, outcome)
    frame = pd.DataFrame(labels | measured)[list(_COLUMNS)]
    order = np.lexsort((strikes.who[outages.first], strikes.window[outages.first]))
    return frame.iloc[order].reset_index(drop=True)


_COLUMNS = (
    *("fault_id", "kind", "last_fault_id", "windows", "event", "stratum", "cohort", "participant", "outcome"),
    *("came_back_by", "open_at_fault"),
    *("fault_at", "detected_at", "detected_by", "healed_at", "connected_at", "restored_at", "ended_at", "attempts"),
    *CLOCKS,
    *("outage_s", "usable_s", "heal_s", "affected", "returned", "never"),
)


def _outcomes(
    strikes: Strikes, findings: Findings, outages: Outages, events: ParticipantEvents, agrees: Flags
) -> NDArray[np.int8]:
    """The number of the first case that holds, in the order of this table."""
    first, end = outages.first, findings.ending[outages.last]
    survived = findings.alive_at[first] < np.inf
    survivable = np.array([connections_end(kind) is None for kind in strikes.windows["kind"]], dtype=bool)
    restored = events.is_kind(end, LogEventKind.SESSION_RESTORED)
    joined = events.is_kind(end, LogEventKind.SESSION_JOINED)
    cases = [
        (_unproved(strikes, findings, outages, back=restored | joined), Outcome.HARNESS),
        (~findings.reached[first], Outcome.NOT_EXPOSED),
        (survived & _per_window(survivable, strikes.window[first]), Outcome.RODE_THROUGH),
        (survived, Outcome.NOT_EXPOSED),
        (joined, Outcome.IDENTITY_LOST),
        (restored & agrees, Outcome.RESTORED),
        (restored, Outcome.CORRUPT),
        (events.is_kind(end, LogEventKind.GAVE_UP, LogEventKind.CLIENT_DISMISSED), Outcome.GAVE_UP),
        (events.is_kind(end, LogEventKind.CLIENT_LEFT), Outcome.LEFT),
        (events.is_kind(end, LogEventKind.SESSION_SUPERSEDED), Outcome.SUPERSEDED),
    ]
    numbers = [_number(outcome) for _, outcome in cases]
    return np.select([case for case, _ in cases], numbers, _number(Outcome.CENSORED)).astype(np.int8)


def _unproved(strikes: Strikes, findings: Findings, outages: Outages, *, back: Flags) -> Flags:
    """Outages of which a window was not confirmed, or of which neither canary nor participant saw the heal."""
    invalid = strikes.flag("invalid")
    unseen = ~np.isnan(strikes.of("healed_at")) & np.isnan(strikes.of("cleared_at")) & findings.reached
    unseen &= ~(findings.alive_at < np.inf)
    count = len(outages.first)
    wrong = np.bincount(outages.strike_outage, weights=invalid, minlength=count) > 0
    unhealed = np.bincount(outages.strike_outage, weights=unseen, minlength=count) > 0
    return wrong | (unhealed & ~back)


def _labels(strikes: Strikes, outages: Outages, events: ParticipantEvents, affected: Flags) -> dict[str, Any]:
    """Who and which fault, as categories."""
    windows, first = strikes.windows, strikes.window[outages.first]
    event, stratum = merged_events(strikes, outages, affected)
    who = strikes.who[outages.first]
    cohort, cohorts = events.cohorts
    return {
        "fault_id": _category(windows["fault_id"].to_numpy(), first),
        "kind": _category(windows["kind"].to_numpy(), first),
        "last_fault_id": _category(windows["fault_id"].to_numpy(), strikes.window[outages.last]),
        "windows": outages.windows.astype(np.int32),
        "event": _category(event, first),
        "stratum": _category(stratum, first),
        "cohort": _categorical(_per_window(cohort, who), cohorts),
        "participant": _categorical(who, events.names),
    }


def _returns(outcome: NDArray[np.int8], how: NDArray[np.object_]) -> dict[str, Any]:
    """How it ended, and how the participant came back."""
    returned = outcome == _number(Outcome.RESTORED)
    came = how.copy()
    came[~returned] = None
    came[outcome == _number(Outcome.IDENTITY_LOST)] = "joined"
    return {
        "outcome": _categorical(outcome, pd.Index(_OUTCOMES)),
        "came_back_by": pd.Categorical(came),
        "affected": np.isin(outcome, [_number(each) for each in AFFECTED]),
        "returned": returned,
        "never": np.isin(outcome, [_number(each) for each in _NEVER]),
    }


def _times(
    strikes: Strikes, findings: Findings, outages: Outages, events: ParticipantEvents, outcome: NDArray[np.int8]
) -> dict[str, Any]:
    """The clocks and counts of the affected; nothing for the others."""
    first = outages.first
    affected = np.isin(outcome, [_number(each) for each in AFFECTED])
    fault_at, who = strikes.of("fault_at")[first], strikes.who[first]
    detected, by = _detection(findings.lost[first], events)
    detected = np.where(affected, np.maximum(detected, fault_at), np.nan)
    ended = np.where(affected, outages.ended_at, np.nan)
    restored = np.where(outcome == _number(Outcome.RESTORED), ended, np.nan)
    since = np.where(np.isnan(detected), fault_at, detected)
    downtime = ended - fault_at
    usable = np.maximum(downtime - outages.outage_s, 0.0)
    return {
        "open_at_fault": findings.open[first],
        "fault_at": fault_at,
        "detected_at": detected,
        "detected_by": _categorical(np.where(affected, by, NONE), pd.Index(["client", "server"])),
        "healed_at": outages.healed_at,
        "connected_at": _connected_at(events, who, restored),
        "restored_at": restored,
        "ended_at": ended,
        "attempts": _attempts(events, who, since, ended),
        "detection_s": detected - fault_at,
        "reconnection_s": ended - since,
        "downtime_s": downtime,
        "outage_s": np.where(affected, outages.outage_s, np.nan),
        "usable_s": usable,
        "excess_s": np.where(outages.ever_healed, usable, np.nan),
        "heal_s": np.where(affected, np.maximum(outages.healed_at - fault_at, 0.0), np.nan),
    }


def _detection(lost: Numbers, events: ParticipantEvents) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """When each loss was noticed, and by whom: 0 client, 1 server, -1 unknown."""
    timeline, by_server = events.losses
    return timeline.at(lost), timeline.take(by_server.astype(np.int8), lost, NONE)


def _connected_at(events: ParticipantEvents, who: Numbers, restored: NDArray[np.float64]) -> NDArray[np.float64]:
    opened = events.of(LogEventKind.TRANSPORT_OPENED)
    return opened.at(opened.last_until(who, restored))


def _attempts(
    events: ParticipantEvents, who: Numbers, since: NDArray[np.float64], ended: NDArray[np.float64]
) -> pd.api.extensions.ExtensionArray:
    """Dials at or after the loss and up to the end."""
    dials = events.of(LogEventKind.TRANSPORT_OPENING).count_between(who, since, ended)
    return pd.arrays.IntegerArray(dials.astype(np.int64), np.isnan(ended))


def _category(names: NDArray[Any], rows: Numbers) -> pd.Categorical:
    """The names of these rows, as a category of all names."""
    codes, categories = pd.factorize(names, sort=True)
    return _categorical(_per_window(codes, rows), pd.Index(categories))


def _categorical(codes: NDArray[Any], names: Any) -> pd.Categorical:  # noqa: ANN401 - the stubs want one type of name
    """Numbers of names, -1 where there is none, as a category."""
    return pd.Categorical.from_codes(codes, names)


def _per_window(values: NDArray[Any], rows: Numbers) -> NDArray[Any]:
    return values[rows] if len(values) else values[:0]


def _number(outcome: Outcome) -> int:
    return _OUTCOMES.index(outcome.value)


def exposure_doubts(episodes: pd.DataFrame) -> tuple[str, ...]:
    """In words, for each window that it concerns: connections that a fault should have closed, and that lived on.

    They did not use the link that was faulted, so the run says nothing about these participants.
    """
    counts = episodes["open_at_fault"] & (episodes["outcome"] != Outcome.HARNESS.value)
    connected = episodes.loc[counts, ["fault_id", "outcome"]]
    missed = connected.loc[connected["outcome"] == Outcome.NOT_EXPOSED.value, "fault_id"].value_counts()
    total = connected["fault_id"].value_counts()
    return tuple(
        f"{fault_id}: {missed[fault_id]} of {total[fault_id]} connected participants were not exposed: their "
        "connections survived a fault that closes every connection of the link, so they bypassed its proxy"
        for fault_id in sorted(missed[missed > 0].index)
    )


def affected_by_window(episodes: pd.DataFrame, windows: pd.DataFrame) -> dict[str, int]:
    """For each window, in how many affected episodes it takes part, whether it began the outage or continued it.

    ``windows``: as made by :func:`reports.windows.windows_frame`. Counts of windows of one outage overlap.
    """
    started = windows.dropna(subset=["fault_at"])
    at = started.set_index("fault_id")["fault_at"]
    found = dict.fromkeys(windows["fault_id"].astype(str), 0)
    names = ["cohort", "fault_id", "last_fault_id"]
    counts = episodes.loc[episodes["affected"], names].groupby(names, observed=True).size().reset_index(name="n")
    for cohort, first, last, count in zip(*(counts[name].tolist() for name in (*names, "n")), strict=True):
        merged = set[str]()
        if first != last:
            within = started["place"].isin([cohort, SERVER]) & started["fault_at"].between(at[first], at[last])
            merged.update(started.loc[within, "fault_id"].astype(str))
        for fault_id in {first, last, *merged}:
            found[fault_id] += count
    return found
