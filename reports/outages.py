"""From fault windows to outages of participants: whom a window reached, what proves it, which windows are one outage.

Three tables of arrays, each built from the one before: :class:`Strikes` (one participant, one window), what the log
says about each (:class:`Findings`), and :class:`Outages`. Decides no outcome and measures no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.faults import FaultEdge, connections_end
from resilience.experiment.schedule import SERVER
from resilience.lab.participants import participants_of, person_of

from .frames import RunHistory
from .participant_events import (
    ARRIVALS,
    DIALING,
    JOINING,
    NONE,
    OPEN,
    Flags,
    Numbers,
    ParticipantEvents,
    Timeline,
    Times,
)

POST_HEAL_WINDOW_S = 3.0
"""Seconds after a fault closes connections within which a loss is its work, whatever still arrives meanwhile."""

STOPS = (
    LogEventKind.GAVE_UP,
    LogEventKind.CLIENT_DISMISSED,
    LogEventKind.CLIENT_LEFT,
    LogEventKind.SESSION_SUPERSEDED,
)
"""After these a client does not come back by itself."""


@dataclass(frozen=True)
class Strikes:
    """Participant ``who`` and a ``window`` (a row of ``windows``) on its link; by participant, then by time."""

    windows: pd.DataFrame
    who: Numbers
    window: Numbers

    def of(self, column: str) -> Times:
        """A time of each strike's window."""
        return self.windows[column].to_numpy(dtype=np.float64)[self.window]

    def flag(self, column: str) -> Flags:
        """A flag of each strike's window."""
        return self.windows[column].to_numpy(dtype=bool)[self.window]


@dataclass(frozen=True)
class Findings:
    """What the log says about each strike.

    ``open``: a session was open. ``reached``: the fault found a connection or a dial, and a session to lose. ``lost``:
    position of the loss (-1: none is its work). ``alive_at``: when the connection was proven to have survived; infinite
    if it never was. ``ending``: row of the frame of what came next, a return or a stop; -1 if nothing did.
    """

    open: Flags
    reached: Flags
    lost: Numbers
    alive_at: Times
    ending: Numbers


@dataclass(frozen=True)
class Outages:
    """Strikes that are one outage. ``first``, ``last``: its strikes; ``windows``: how many; ``strike_outage``: of each.

    ``outage_s``: seconds for which a window held, until ``ended_at``. ``healed_at``: the last heal until then; NaN if
    the link was not usable at the end. ``ever_healed``: it was usable at some time.
    """

    first: Numbers
    last: Numbers
    windows: Numbers
    strike_outage: Numbers
    ended_at: Times
    outage_s: Times
    healed_at: Times
    ever_healed: Flags


# strikes --------------------------------------------------------------------------------------------------------------


def strikes_of(history: RunHistory, events: ParticipantEvents, windows: pd.DataFrame) -> Strikes:
    """Every window paired with the participants whose links it acts on."""
    windows = windows.dropna(subset=["fault_at"]).sort_values(["fault_at", "fault_id"], kind="stable")
    invalid = windows["invalid"].notna() | windows["confirmed_at"].isna()
    windows = windows.assign(invalid=invalid, alive_after=_closed_by(windows)).reset_index(drop=True)
    struck = _partly_struck(history, events)
    places, fault_ids = windows["place"].astype(str), windows["fault_id"].astype(str)
    members = [_members(place, events, struck.get(name)) for place, name in zip(places, fault_ids, strict=True)]
    who = np.concatenate([*members, np.zeros(0, dtype=np.int64)])
    window = np.repeat(np.arange(len(windows)), np.array([len(group) for group in members], dtype=np.int64))
    earliest = windows["earliest"].to_numpy(dtype=np.float64)[window]
    order = np.lexsort((window, earliest, who))
    return Strikes(windows, who[order], window[order])


def _closed_by(windows: pd.DataFrame) -> Times:
    """From when on no connection that the window touched is open; the heal where connections may survive it."""
    ends = [connections_end(kind) for kind in windows["kind"]]
    begin = np.array([edge is FaultEdge.BEGIN for edge in ends], dtype=bool)
    return np.where(begin, windows["fault_at"], windows["healed_at"].fillna(np.inf))


def _members(place: str, events: ParticipantEvents, struck: Flags | None) -> Numbers:
    codes, names = events.cohorts
    mine = codes != NONE if place == SERVER else codes == (names.get_loc(place) if place in names else NONE - 1)
    return np.flatnonzero(mine if struck is None else mine & struck)


def _partly_struck(history: RunHistory, events: ParticipantEvents) -> dict[str, Flags]:
    """For each window of a fault that strikes only a share: which participants use a link that it acts on."""
    seed = history.info.seed
    windows = [window for window in history.experiment.windows(seed) if window.fault.share < 1.0]
    if not windows:
        return {}
    links = {participant.actor: participant.link for participant in participants_of(history.experiment, seed)}
    mine = pd.Index([links.get(person_of(name), "") for name in events.names])
    return {window.fault_id: mine.isin(window.links) for window in windows}


# findings -------------------------------------------------------------------------------------------------------------


def findings_of(strikes: Strikes, events: ParticipantEvents) -> Findings:
    """What the log says about each strike, without regard to the others."""
    states, state = events.states
    before = Timeline.take(state, states.last_before(strikes.who, strikes.of("earliest")), NONE)
    dials = events.of(LogEventKind.TRANSPORT_OPENING)
    arrivals = events.of(*ARRIVALS)
    is_open = before == OPEN
    reached = (np.isin(before, (DIALING, JOINING, OPEN)) | _dialed(strikes, events)) & _had_session(strikes, arrivals)
    lost, lost_at = _losses(strikes, events, is_open)
    alive_at = _alive_at(strikes, events, dials, is_open & reached, lost_at)
    lost = np.where(alive_at < np.inf, NONE, lost)
    since = np.fmax(np.where(lost == NONE, np.nan, lost_at), strikes.of("fault_at"))
    return Findings(is_open, reached, lost, alive_at, _next_ending(strikes.who, since, arrivals, events))


def _dialed(strikes: Strikes, events: ParticipantEvents) -> Flags:
    """Whether each participant dialed or connected within the window."""
    dials = events.of(LogEventKind.TRANSPORT_OPENING, LogEventKind.TRANSPORT_OPENED)
    at = dials.at(dials.first_from(strikes.who, strikes.of("earliest")))
    healed = strikes.of("healed_at")
    return np.asarray(at <= np.where(np.isnan(healed), events.end, healed))


def _had_session(strikes: Strikes, arrivals: Timeline) -> Flags:
    return np.asarray(arrivals.last_before(strikes.who, strikes.of("earliest")) != NONE)


def _losses(strikes: Strikes, events: ParticipantEvents, is_open: Flags) -> tuple[Numbers, Times]:
    """The first loss since the strike where a session was open: its position and time."""
    timeline, _ = events.losses
    found = np.where(is_open, timeline.first_from(strikes.who, strikes.of("earliest")), NONE)
    return found, timeline.at(found)


def _alive_at(strikes: Strikes, events: ParticipantEvents, dials: Timeline, connected: Flags, lost_at: Times) -> Times:
    """When a sign of life proves that the connection survived the window; infinite where none does.

    It is one on the same connection: before the client's next dial and before its loss. A loss that follows at once is
    the window's work all the same.
    """
    alive_at = np.full(len(strikes.who), np.inf)
    closed_by = strikes.of("alive_after")
    asked = np.flatnonzero(connected & ~(lost_at <= closed_by + POST_HEAL_WINDOW_S))
    who, wanted = strikes.who[asked], np.zeros(events.participants, dtype=bool)
    wanted[who] = True
    signs = events.signs_of_life(wanted)
    sign = signs.at(signs.first_after(who, closed_by[asked]), np.inf)
    next_dial = dials.at(dials.first_from(who, strikes.of("earliest")[asked]), np.inf)
    proven = (sign < next_dial) & ~(sign >= lost_at[asked])
    alive_at[asked] = np.where(proven, sign, np.inf)
    return alive_at


def _next_ending(who: Numbers, since: Times, arrivals: Timeline, events: ParticipantEvents) -> Numbers:
    """The row of the return or stop that follows; a client may stop in the very moment in which it notices the loss."""
    stops = events.of(*STOPS)
    back, stop = arrivals.first_after(who, since), stops.first_from(who, since)
    stopped = stops.at(stop, np.inf) < arrivals.at(back, np.inf)
    back_row, stop_row = Timeline.take(arrivals.row, back, NONE), Timeline.take(stops.row, stop, NONE)
    return np.where(stopped, stop_row, back_row)


# outages --------------------------------------------------------------------------------------------------------------


def outages_of(strikes: Strikes, findings: Findings, events: ParticipantEvents) -> Outages:
    """Merge strikes: a window that begins before the participant got back from the one before continues its outage.

    A strike that did not reach its participant can continue an outage, but not begin one; one that its connection
    survived is on its own.
    """
    outage = _outage_of_strike(strikes, findings, events)
    order = np.lexsort((strikes.window, outage))
    ordered = outage[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    ends = np.append(begins, len(ordered))[1:] - 1
    first, last = order[begins], order[ends]
    ended_at = np.where(findings.alive_at[last] < np.inf, events.end, _time_of(findings.ending[last], events))
    rank = np.cumsum(np.diff(ordered, prepend=-1) != 0) - 1
    strike_outage = np.empty(len(outage), dtype=np.int64)
    strike_outage[order] = rank
    measured = _link_times(strikes, order, rank, ended_at)
    return Outages(first, last, ends - begins + 1, strike_outage, ended_at, *measured)


def _outage_of_strike(strikes: Strikes, findings: Findings, events: ParticipantEvents) -> Numbers:
    """A number for each strike, equal for those of one outage, and growing with the first of them."""
    survived = findings.alive_at < np.inf
    outage = np.arange(len(strikes.who))
    chained = np.flatnonzero(~survived)
    who, healed = strikes.who[chained], strikes.of("healed_at")[chained]
    until = np.fmax(_time_of(findings.ending[chained], events, np.inf), np.where(np.isnan(healed), np.inf, healed))
    until = np.where(findings.reached[chained], until, -np.inf)
    reach = pd.Series(until).groupby(who).cummax().to_numpy()
    same = who[1:] == who[:-1]
    continues = np.append(np.zeros(1, dtype=bool), same & (strikes.of("earliest")[chained][1:] <= reach[:-1]))
    begins = np.flatnonzero(~continues[: len(chained)])
    outage[chained] = chained[np.repeat(begins, np.diff(np.append(begins, len(chained))))]
    return outage


def _link_times(strikes: Strikes, order: Numbers, rank: Numbers, ended_at: Times) -> tuple[Times, Times, Flags]:
    """Seconds without a usable link until the end, the last heal until the end, whether there was a heal at all."""
    end = ended_at[rank]
    start, healed = strikes.of("fault_at")[order], strikes.of("healed_at")[order]
    until = np.minimum(np.where(np.isnan(healed), np.inf, healed), end)
    groups = pd.Series(until).groupby(rank)
    before = groups.cummax().groupby(rank).shift().fillna(-np.inf).to_numpy()
    down = np.maximum(until - np.maximum(np.minimum(start, end), before), 0.0)
    count = len(ended_at)
    outage_s = np.bincount(rank, weights=down, minlength=count)
    heals = pd.DataFrame({"in_time": np.where(healed <= end, healed, np.nan), "any": healed})
    found = heals.groupby(rank).agg(last=("in_time", "max"), first=("any", "min"))
    unhealed = np.bincount(rank, weights=np.isnan(healed) & (start <= end), minlength=count) > 0
    last = found["last"].fillna(found["first"]).to_numpy(dtype=np.float64)
    return outage_s.astype(np.float64), np.where(unhealed, np.nan, last), found["first"].notna().to_numpy(dtype=bool)


def _time_of(rows: Numbers, events: ParticipantEvents, default: float | None = None) -> Times:
    """The time of each row of the frame; the run's end, or ``default``, where there is none."""
    return Timeline.take(events.t, rows, events.end if default is None else default)


# clusters -------------------------------------------------------------------------------------------------------------


def merged_events(strikes: Strikes, outages: Outages, counted: Flags) -> tuple[NDArray[Any], NDArray[Any]]:
    """The event and the stratum of each window; events that share a ``counted`` outage are one, named by the first.

    So no participant is in two clusters of the statistics by one return.
    """
    codes, names = pd.factorize(strikes.windows["event"])
    event = codes[strikes.window]
    order = np.lexsort((strikes.window, outages.strike_outage))
    outage, ordered = outages.strike_outage[order], event[order]
    joined = (outage[1:] == outage[:-1]) & counted[outage[1:]] if len(outage) else np.zeros(0, dtype=bool)
    pairs = np.unique(np.stack([ordered[:-1][joined], ordered[1:][joined]]), axis=1)
    component = _components(len(names), pairs)
    table = strikes.windows.assign(component=component[codes] if len(codes) else codes)
    name = table.groupby("component")["event"].transform("first")
    stratum = table.groupby("component")["stratum"].transform(_joined)
    return name.to_numpy(), stratum.to_numpy()


def _components(count: int, pairs: NDArray[np.int64]) -> NDArray[Any]:
    """A number for each of so many nodes, equal for those that pairs connect."""
    if not pairs.shape[1]:
        return np.arange(count)
    from scipy.sparse import coo_array, csgraph  # noqa: PLC0415 - only a run in which events share outages needs it

    graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(count, count))
    _, component = csgraph.connected_components(graph, directed=False)
    return np.asarray(component)


def _joined(strata: pd.Series) -> str:
    return " + ".join(sorted({part for stratum in strata.unique() for part in str(stratum).split(" + ")}))
