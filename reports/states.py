"""What every client was doing when, as arrays: for the timeline and for counts over time. Judges nothing.

The states are those of a reader's question: *connected* (a session is open), *reconnecting* (a session was lost and is
not back), *gave up* (stopped for good), *joining* (no session yet), *left* (on purpose, or another connection of the
same person took over).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role

from .checks.selection import select
from .frames import RunHistory
from .participant_events import GAVE_UP as AFTER_GAVE_UP
from .participant_events import LEFT as AFTER_LEFT
from .participant_events import OPEN, STATE_AFTER
from .svg import Floats

CONNECTED, RECONNECTING, GAVE_UP, JOINING, LEFT = range(5)
STATE_WORDS = ("connected", "reconnecting", "gave up", "joining", "left")
"""By the code of a state."""

_CODES = {OPEN: CONNECTED, AFTER_GAVE_UP: GAVE_UP, AFTER_LEFT: LEFT}
_UNDECIDED = -1
"""Neither open nor over: joining or reconnecting, which depends on what came before."""

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class ClientStates:
    """One entry per change of a client's state, in the order of (``who``, ``start``).

    ``who``: number of the client in ``names``; ``start`` and ``stop``: seconds of the run; ``state``: one of the codes
    of this module; ``cohort``: of each client, in the order of ``names``.
    """

    names: Sequence[str]
    cohort: Sequence[str]
    who: Codes
    start: Floats
    stop: Floats
    state: Codes

    def of(self, chosen: Codes) -> ClientStates:
        """Only these clients, by number."""
        kept = np.isin(self.who, chosen)
        return ClientStates(
            self.names, self.cohort, self.who[kept], self.start[kept], self.stop[kept], self.state[kept]
        )

    def extremes(self, state: int, edges: Floats) -> tuple[Floats, Floats]:
        """The least and the greatest number of clients in ``state`` within each bin between ``edges``."""
        begun = self.start[self.state == state]
        over = self.stop[
            (self.state == state) & (self.stop < self.stop.max(initial=0.0))
        ]  # the run's end ends no state
        times = np.concatenate([begun, over])
        change = np.concatenate([np.ones(len(begun)), -np.ones(len(over))])
        order = np.argsort(times, kind="stable")
        moments, first = np.unique(times[order], return_index=True)
        count = np.add.reduceat(change[order], first).cumsum() if len(first) else np.zeros(0)
        at_edge = np.concatenate([[0.0], count])[np.searchsorted(moments, edges[:-1], side="right")]
        which = np.searchsorted(edges, moments, side="right") - 1
        within = (which >= 0) & (which < len(edges) - 1)
        low, high = at_edge.copy(), at_edge.copy()
        np.minimum.at(low, which[within], count[within])
        np.maximum.at(high, which[within], count[within])
        return low, high


def client_states(history: RunHistory) -> ClientStates:
    """Every client's states until the run's end."""
    rows = select(history, *STATE_AFTER, role=Role.CLIENT, columns=("actor", "kind", "cohort"))
    actors = rows["actor"].astype("category").cat.remove_unused_categories()
    who = np.asarray(actors.cat.codes, dtype=np.int64)
    names = [str(name) for name in actors.cat.categories]
    cohorts = _cohorts(rows["cohort"], who, len(names))
    order = np.argsort(who, kind="stable")
    who, times = who[order], rows["t"].to_numpy(dtype=np.float64)[order]
    state = _states(_codes(rows["kind"])[order], who)
    changed = (np.diff(who, prepend=-1) != 0) | (np.diff(state, prepend=-1) != 0)
    who, times, state = who[changed], times[changed], state[changed]
    stop = np.where(np.diff(who, append=-1) == 0, np.append(times[1:], history.end), history.end)
    return ClientStates(names, cohorts, who, times, stop, state)


def _codes(kinds: pd.Series) -> Codes:
    """The state that each event begins, or ``_UNDECIDED``."""
    table = kinds.astype("category")
    after = [_CODES.get(STATE_AFTER.get(LogEventKind(kind), _UNDECIDED), _UNDECIDED) for kind in table.cat.categories]
    return np.asarray(after, dtype=np.int64)[table.cat.codes.to_numpy()] if after else np.zeros(0, dtype=np.int64)


def _states(codes: Codes, who: Codes) -> Codes:
    """The codes with joining and reconnecting told apart: whether the same client had a session before."""
    last_open = np.maximum.accumulate(np.where(codes == CONNECTED, np.arange(len(codes)), -1))
    first_of_client = np.searchsorted(who, who, side="left")
    had_session = last_open >= first_of_client
    return np.where(codes != _UNDECIDED, codes, np.where(had_session, RECONNECTING, JOINING)).astype(np.int64)


def _cohorts(cohorts: pd.Series, who: Codes, count: int) -> list[str]:
    """The first cohort that each client's events name, in the order of the clients' numbers."""
    table = cohorts.astype("category")
    codes = table.cat.codes.to_numpy()
    clients, first = np.unique(who[codes >= 0], return_index=True)
    names = np.full(count, "", dtype=object)
    names[clients] = np.asarray(table.cat.categories, dtype=object)[codes[codes >= 0][first]]
    return [str(name) for name in names]
