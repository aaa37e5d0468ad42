"""Checks of second tabs, which share a session with a first one, and of replayed tokens. Computes no statistic.

The tabs of one participant are clients of their own in the log and in what clients were shown, with names that tell
their participant and their order (``resilience.lab.participants``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.faults import ClientDuplicateFault, kinds_of
from resilience.lab.observation import ObservationKind
from resilience.lab.participants import person_of
from resilience.lab.second_clients import ACCEPTED, UNANSWERED
from resilience.policy.close_codes import CloseCode
from resilience.units import Instant, Seconds

from ..checking import CheckResult, records
from ..frames import RunHistory, once_per_run
from .client_evidence import HEAL_SLACK_S, ClientEvidence, of_clients
from .client_stream import found
from .held_back import held_back_s
from .other_tabs import other_tabs
from .selection import select

TAKE_OVER_S: Seconds = 5.0
"""Within how many seconds of an open connection on a link without a fault a second tab has its session."""

FLIGHT_S: Seconds = 0.5
"""How long after the newer tab's welcome a message that was under way may still reach the older one."""

_OPENS_TABS = kinds_of(ClientDuplicateFault)
_NO_TAB = "no participant opened a second tab"


@of_clients
def second_tabs_take_over(evidence: ClientEvidence) -> CheckResult:
    """A second tab gets the session whose copy it presents: it is the same participant, and never a new one.

    It is rejected where the session's other tab came back first; that one has the session then.
    """
    shown = evidence.of(ObservationKind.JOINED, ObservationKind.RESTORED, ObservationKind.REFUSED)
    shown = shown.assign(person=[person_of(actor) for actor in shown["actor"]])
    joined = shown[shown["kind"] == ObservationKind.JOINED].drop_duplicates("person")
    participants = joined.set_index("person")["participant"].to_dict()
    tabs = other_tabs(evidence.history)
    replies = shown[(shown["actor"] != shown["person"]).to_numpy(dtype=bool)].drop_duplicates("actor")
    problems = [
        f"{row.actor} at {row.t:.3f} s: {row.kind} as {row.participant}, its first tab is {participants[row.person]}"
        for row in records(replies)
        if row.person in participants
        and (row.kind != ObservationKind.RESTORED or row.participant != participants[row.person])
        and not tabs.explain(str(row.actor), row.t, row.outcome)
    ]
    problems += list(_without_any_tab(evidence.history))
    waiting = _opened_tabs(evidence.history)
    answered = _replaced_tabs(evidence.history) | {str(row.actor): float(row.t) for row in records(replies)}
    problems += list(_unanswered(evidence, waiting, answered))
    return found(len(waiting.keys() | set(replies["actor"])), problems, _NO_TAB)


def _without_any_tab(history: RunHistory) -> Iterator[str]:
    """The participants whose tabs were all replaced: of several, one keeps the session."""
    replaced = _replaced_tabs(history)
    tabs: dict[str, set[str]] = defaultdict(set)
    for actor in {*_opened_tabs(history), *replaced}:
        tabs[person_of(actor)] |= {actor, person_of(actor)}
    for person, mine in tabs.items():
        if mine <= replaced.keys():
            last = max(replaced[actor] for actor in mine)
            yield f"{person}: all of its {len(mine)} tabs were replaced, the last at {last:.3f} s"


def _unanswered(evidence: ClientEvidence, opened: dict[str, Instant], replied: dict[str, Instant]) -> Iterator[str]:
    """The tabs that were not answered in time, or never, although no fault touched their link for long enough."""
    limit = TAKE_OVER_S + evidence.history.lab_lag
    for actor, t in opened.items():
        reply, link = replied.get(actor), evidence.links.get(person_of(actor), "?")
        is_late = t + limit <= evidence.end and (reply is None or reply > t + limit)
        if is_late and not _is_disturbed(evidence, link, t, t + limit):
            yield f"{actor}: connected at {t:.3f} s and had no session within {limit:.1f} s"


def _is_disturbed(evidence: ClientEvidence, link: str, opened: Instant, end: Instant) -> bool:
    """Whether a fault touched the link of a tab until ``end``, other than the one that opened the tab before."""
    windows, lag = evidence.touching(link), evidence.history.lab_lag
    opens = windows["kind"].isin(_OPENS_TABS) & (windows["start"] <= opened)
    others = windows[~opens.to_numpy(dtype=bool)]
    held = (others["start"] <= end + lag) & (others["stop"] >= opened - HEAL_SLACK_S - lag)
    return bool(held.any())


def _replaced_tabs(history: RunHistory) -> dict[str, Instant]:
    """When each tab was replaced."""
    ends = select(history, LogEventKind.SESSION_SUPERSEDED, role=Role.CLIENT, columns=("actor",))
    return {str(actor): float(t) for actor, t in ends.groupby("actor", observed=True)["t"].max().items()}


@once_per_run
def _opened_tabs(history: RunHistory) -> dict[str, Instant]:
    """When each second tab had its first open connection."""
    opened = select(history, LogEventKind.TRANSPORT_OPENED, role=Role.CLIENT, columns=("actor",))
    first = opened.groupby("actor", observed=True)["t"].min()
    return {str(actor): float(t) for actor, t in first.items() if person_of(str(actor)) != actor}


@of_clients
def replaced_tabs_stay_closed(evidence: ClientEvidence) -> CheckResult:
    """Once a newer tab has the session, the older one hears no more, and does not come back by itself.

    One whose connection a fault ended does not know, and returns to learn it.
    """
    connections = evidence.connections
    connections = connections.assign(person=[person_of(actor) for actor in connections["actor"]])
    dials = select(evidence.history, LogEventKind.TRANSPORT_OPENING, role=Role.CLIENT, columns=("actor",))
    last_dial = {str(actor): t for actor, t in dials.groupby("actor", observed=True)["t"].max().items()}
    problems, checked = [], 0
    for older, newer in _replacements(connections):
        checked += 1
        late_s = FLIGHT_S + evidence.history.lab_lag
        held = held_back_s(evidence.history, pd.Series([older.actor]), np.array([older.heard]))[0]
        where = f"{older.actor} ({older.participant}), replaced by {newer.actor} at {newer.since:.3f} s"
        if older.heard - held > newer.since + late_s:
            problems.append(f"{where}: heard the server at {older.heard:.3f} s")
        elif last_dial.get(older.actor, -np.inf) > newer.since + late_s and not _lost_to_a_fault(evidence, older):
            problems.append(f"{where}: dialled again, last at {last_dial[older.actor]:.3f} s")
    return found(checked, problems, _NO_TAB)


def _lost_to_a_fault(evidence: ClientEvidence, connection: Any) -> bool:  # noqa: ANN401 - a row of connections
    """Whether a fault ended this connection before the server's close could reach its client."""
    closed = connection.cause is not None and str(CloseCode.SUPERSEDED.value) in connection.cause
    return not closed and _is_disturbed(evidence, connection.link, connection.until, connection.until)


def _replacements(connections: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    """Each first connection of a second tab with the other tab's connection of before, in the server's order."""
    tabs = connections[(connections["actor"] != connections["person"]).to_numpy(dtype=bool)]
    by_person = dict(iter(connections.groupby("person", sort=False)))
    for newer in records(tabs.drop_duplicates("actor")):
        own = by_person[newer.person]
        before = own[(own["actor"] != newer.actor) & (own["since"] < newer.since)]
        for older in records(before.sort_values("since").tail(1)):
            if older.until > newer.since - TAKE_OVER_S:
                yield (older, newer) if older.fence < newer.fence else (newer, older)


@of_clients
def replays_refused(evidence: ClientEvidence) -> CheckResult:
    """A token that was replaced for certain opens no session."""
    rows = evidence.rows[(evidence.rows["kind"] == ObservationKind.REPLAY).to_numpy(dtype=bool)]
    answered = rows[(rows["outcome"] != UNANSWERED).to_numpy(dtype=bool)]
    problems = [
        f"{row.actor} ({row.participant}) at {row.t:.3f} s: its old token {row.token}... opened a session"
        for row in records(answered)
        if row.outcome == ACCEPTED
    ]
    return found(len(answered), problems, "no replaced token was presented")
