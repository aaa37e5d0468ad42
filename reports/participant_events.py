"""The participants' side of an event frame, in sorted arrays. Knows who recorded what and when; concludes nothing.

A participant is a number, its position in the sorted names of the client actors. A :class:`Timeline` holds some events
of all participants, ordered by participant and then by time, so that a search for one event of each of a million
participants is one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.drivers import records_all
from resilience.experiment.targets import EvidenceSource

from .frames import RunHistory

Times = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NONE = -1
"""The position of an event that does not exist."""

DOWN, DIALING, JOINING, OPEN, GAVE_UP, LEFT = range(6)

STATE_AFTER: Mapping[LogEventKind, int] = {
    LogEventKind.TRANSPORT_OPENING: DIALING,
    LogEventKind.TRANSPORT_OPENED: JOINING,
    LogEventKind.SESSION_JOINED: OPEN,
    LogEventKind.SESSION_RESTORED: OPEN,
    LogEventKind.TRANSPORT_FAILED: DOWN,
    LogEventKind.TRANSPORT_LOST: DOWN,
    LogEventKind.PEER_DEAD: DOWN,
    LogEventKind.GAVE_UP: GAVE_UP,
    LogEventKind.CLIENT_DISMISSED: GAVE_UP,
    LogEventKind.CLIENT_LEFT: LEFT,
    LogEventKind.SESSION_SUPERSEDED: LEFT,
}
"""The client's state after each event that changes it."""

ARRIVALS = (LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)

_SIGNS = (
    LogEventKind.STREAM_DELIVERED,
    LogEventKind.PONG_SENT,
    LogEventKind.ANSWER_ACKED,
    LogEventKind.CLIENT_ACKNOWLEDGED,
    LogEventKind.CLIENT_OBSERVED,
)
_POSITION_BITS = 32
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Timeline:
    """Some events: the participant and time of each, in this order, and its ``row`` in the event frame.

    Times that are asked for may be NaN: no event is before or after them.
    """

    who: Numbers
    t: Times
    row: Numbers
    starts: Numbers

    @classmethod
    def of(cls, who: NDArray[Any], t: Times, row: NDArray[Any], participants: int) -> Timeline:
        """From events in any order; those of one participant at one time keep their order."""
        if not (np.diff(t) >= 0).all():
            order = np.argsort(t, kind="stable")
            who, t, row = who[order], t[order], row[order]
        order = stable_order(who)
        sorted_who = who[order].astype(np.int64)
        starts = np.searchsorted(sorted_who, np.arange(participants + 1))
        return cls(sorted_who, t[order], row[order].astype(np.int64), starts)

    def first_from(self, who: Numbers, t: Times) -> Numbers:
        """The position of each participant's first event at or after ``t``."""
        return self._first(who, t, after=False)

    def first_after(self, who: Numbers, t: Times) -> Numbers:
        """The position of each participant's first event later than ``t``."""
        return self._first(who, t, after=True)

    def last_before(self, who: Numbers, t: Times) -> Numbers:
        """The position of each participant's last event earlier than ``t``."""
        return self._last(who, t, until=False)

    def last_until(self, who: Numbers, t: Times) -> Numbers:
        """The position of each participant's last event at or before ``t``."""
        return self._last(who, t, until=True)

    def count_between(self, who: Numbers, start: Times, stop: Times) -> Numbers:
        """How many events each participant has from ``start`` to ``stop``, both included."""
        return self._bisect(who, stop, right=True) - self._bisect(who, start, right=False)

    def at(self, position: Numbers, default: float = np.nan) -> Times:
        """The times of these positions; ``default`` where there is none."""
        return self.take(self.t, position, default)

    @staticmethod
    def take(values: NDArray[Any], position: Numbers, default: float) -> NDArray[Any]:
        """The values at these positions; ``default`` where there is none."""
        if not len(values):
            return np.full(len(position), default, dtype=np.result_type(values.dtype, np.asarray(default).dtype))
        return np.where(position == NONE, default, values[np.maximum(position, 0)])

    def _first(self, who: Numbers, t: Times, *, after: bool) -> Numbers:
        found = self._bisect(who, t, right=after)
        return np.where(np.isnan(t) | (found >= self.starts[who + 1]), NONE, found)

    def _last(self, who: Numbers, t: Times, *, until: bool) -> Numbers:
        found = self._bisect(who, t, right=until) - 1
        return np.where(np.isnan(t) | (found < self.starts[who]), NONE, found)

    def _bisect(self, who: Numbers, t: Times, *, right: bool) -> Numbers:
        """``searchsorted`` within each participant's own events."""
        low, high = self.starts[who], self.starts[who + 1]
        if not len(self.t):
            return low
        longest = int(np.diff(self.starts).max(initial=0))
        for _ in range(longest.bit_length()):
            middle = (low + high) >> 1
            seen = self.t[np.minimum(middle, len(self.t) - 1)]
            ahead = (seen <= t) if right else (seen < t)
            ahead &= low < high
            low = np.where(ahead, middle + 1, low)
            high = np.where(ahead, high, middle)
        return low


def stable_order(keys: NDArray[Any]) -> Numbers:
    """The permutation that sorts small non-negative integers and keeps the order of equal ones."""
    packed = np.sort((keys.astype(np.int64) << _POSITION_BITS) | np.arange(len(keys)))
    return packed & ((1 << _POSITION_BITS) - 1)


class ParticipantEvents:
    """The events of a run up to its end, participant by participant."""

    def __init__(self, history: RunHistory) -> None:
        frame = history.frame
        self.end = history.end
        self._unchecked = unchecked_cohorts(history)
        self._silence_s = history.experiment.client.probe_after - _ROUNDING_S
        self.length = int(np.searchsorted(frame["t"].to_numpy(), self.end, side="right"))
        self.frame = frame.iloc[: self.length]
        self.t: Times = self.frame["t"].to_numpy(dtype=np.float64)
        self._kinds, self._kind_names = codes_of(self.frame["kind"])
        roles, role_names = codes_of(self.frame["role"])
        self._is_client = roles == _code(role_names, Role.CLIENT.value)
        self._actors, actor_names = codes_of(self.frame["actor"])
        self._sessions, session_names = codes_of(self.frame["session_id"])
        changes = self._rows(*STATE_AFTER)
        present = np.unique(self._actors[changes])
        order = np.argsort(np.asarray(actor_names[present], dtype=object))
        self.names = pd.Index(actor_names[present][order])
        self._who_of_actor = np.full(len(actor_names), NONE, dtype=np.int64)
        self._who_of_actor[present[order]] = np.arange(len(present))
        self._changes = changes
        self.who_of_session = self._first_value(self._sessions, self._rows(*ARRIVALS), len(session_names))

    @property
    def participants(self) -> int:
        """How many there are."""
        return len(self.names)

    @cached_property
    def cohorts(self) -> tuple[NDArray[Any], pd.Index]:
        """The cohort of each participant as a number (-1: unknown), and the cohorts' names."""
        codes, names = codes_of(self.frame["cohort"])
        found = np.full(self.participants, NONE, dtype=np.int64)
        rows = self._changes[::-1]
        rows = rows[codes[rows] != NONE]
        found[self._who(rows)] = codes[rows]
        return found, names

    def of(self, *kinds: LogEventKind) -> Timeline:
        """The clients' events of these kinds."""
        return self._timeline(self._rows(*kinds))

    @cached_property
    def states(self) -> tuple[Timeline, NDArray[np.int8]]:
        """Every change of a client's state, and the state after each."""
        timeline = self._timeline(self._changes)
        table = np.full(len(self._kind_names) + 1, NONE, dtype=np.int8)
        for kind, state in STATE_AFTER.items():
            table[_code(self._kind_names, kind.value)] = state
        return timeline, table[self._kinds[timeline.row]]

    @cached_property
    def losses(self) -> tuple[Timeline, Flags]:
        """Every loss noticed by either side, and whether the server noticed it."""
        client = self._rows(LogEventKind.TRANSPORT_LOST, LogEventKind.PEER_DEAD)
        server = self._server_rows(LogEventKind.SESSION_DETACHED)
        who = np.concatenate([self._who(client), self.who_of_session[self._sessions[server]]])
        rows = np.concatenate([client, server])
        timeline = Timeline.of(who, self.t[rows], rows, self.participants)
        return timeline, ~self._is_client[timeline.row]

    def signs_of_life(self, wanted: Flags) -> Timeline:
        """When each of the ``wanted`` participants' connections was seen to work, by the client or the server.

        A client that has heard nothing for some seconds records for how many: it did hear something before. A number
        below the limit of silence is something else, how long a reply has been owed.
        """
        heard = self._of_wanted(self._rows(*_SIGNS), wanted)
        quiet = self._of_wanted(self._rows(LogEventKind.PEER_SUSPECTED, LogEventKind.PEER_DEAD), wanted)
        silence = self.frame["value"].to_numpy(dtype=np.float64)[quiet]
        quiet, silence = quiet[silence >= self._silence_s], silence[silence >= self._silence_s]
        acked = self._server_rows(LogEventKind.HEARTBEAT_ACKED)
        by_server = self.who_of_session[self._sessions[acked]]
        mine = wanted[by_server]
        who = np.concatenate([self._who(heard), self._who(quiet), by_server[mine]])
        t = np.concatenate([self.t[heard], self.t[quiet] - silence, self.t[acked[mine]]])
        return Timeline.of(who, t, np.concatenate([heard, quiet, acked[mine]]), self.participants)

    def is_kind(self, rows: Numbers, *kinds: LogEventKind) -> Flags:
        """Which of these rows of the frame are of one of the kinds; a missing row is of none."""
        return np.asarray(self._kind_table(kinds)[self._kinds[rows]] & (rows != NONE), dtype=bool)

    def resumed_by_server(self, arrivals: Numbers) -> tuple[NDArray[np.object_], Flags]:
        """How the server says that it resumed the session of each arrival (a row), and that their digests agree.

        Where no source can contradict a client's word, its own word counts (*fresh* or *resumed*).
        """
        how, agrees = self._resumes_logged(arrivals)
        by_word = (arrivals != NONE) & self._counts_by_word(arrivals)
        how[by_word] = self.frame["outcome"].iloc[arrivals[by_word]].astype(object).to_numpy()
        return how, agrees | by_word

    def _counts_by_word(self, arrivals: Numbers) -> Flags:
        """Which of these rows are of clients whose word nothing is compared with."""
        if not (self.length and self._unchecked):
            return np.zeros(len(arrivals), dtype=bool)
        return self.frame["cohort"].iloc[np.maximum(arrivals, 0)].isin(self._unchecked).to_numpy(dtype=bool)

    def _resumes_logged(self, arrivals: Numbers) -> tuple[NDArray[np.object_], Flags]:
        """How the server's log says that it resumed each arrival's session; ``None`` where it says nothing of it."""
        server = self._rows(LogEventKind.SESSION_RESUMED, clients_only=False)
        keys, first = np.unique(self._connection_keys(server), return_index=True)
        server = server[first]
        how: NDArray[np.object_] = np.full(len(arrivals), None, dtype=object)
        agrees = np.zeros(len(arrivals), dtype=bool)
        wanted = self._connection_keys(np.maximum(arrivals, 0)) if self.length else np.zeros(0, dtype=np.int64)
        if not len(keys) or not len(wanted):
            return how, agrees
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = np.flatnonzero((keys[place] == wanted) & (wanted >= 0) & (arrivals != NONE))
        mine, truth = arrivals[known], server[place[known]]
        how[known] = self.frame["outcome"].iloc[truth].astype(object).to_numpy()
        held = self.frame["detail"].iloc[mine].astype("string").array
        same = held == self.frame["detail"].iloc[truth].astype("string").array
        agrees[known] = pd.Series(same).fillna(value=False).to_numpy(dtype=bool)
        return how, agrees

    def _connection_keys(self, rows: Numbers) -> Numbers:
        numbers = self.frame["connection_no"].iloc[rows].fillna(0).to_numpy(dtype=np.int64)
        return np.asarray((self._sessions[rows].astype(np.int64) << _POSITION_BITS) | numbers)

    def _timeline(self, rows: Numbers) -> Timeline:
        return Timeline.of(self._who(rows), self.t[rows], rows, self.participants)

    def _who(self, rows: Numbers) -> Numbers:
        return np.asarray(self._who_of_actor[self._actors[rows]])

    def _of_wanted(self, rows: Numbers, wanted: Flags) -> Numbers:
        who = self._who(rows)
        return np.asarray(rows[(who != NONE) & np.append(wanted, False)[who]])

    def _server_rows(self, kind: LogEventKind) -> Numbers:
        """Rows of the server about a session that a participant had."""
        rows = self._rows(kind, clients_only=False)
        rows = rows[self._sessions[rows] != NONE]
        return np.asarray(rows[self.who_of_session[self._sessions[rows]] != NONE])

    def _kind_table(self, kinds: tuple[LogEventKind, ...]) -> Flags:
        """For each kind's number whether it is wanted; the last entry answers for a missing one."""
        table = np.zeros(len(self._kind_names) + 1, dtype=bool)
        table[[_code(self._kind_names, kind.value) for kind in kinds]] = True
        table[NONE] = False
        return table

    def _rows(self, *kinds: LogEventKind, clients_only: bool = True) -> Numbers:
        wanted = self._kind_table(kinds)[self._kinds]
        return np.flatnonzero(wanted & self._is_client if clients_only else wanted)

    def _first_value(self, keys: NDArray[Any], rows: Numbers, size: int) -> Numbers:
        """For each key the participant of the first of these rows that has it."""
        found = np.full(size + 1, NONE, dtype=np.int64)
        rows = rows[::-1]
        rows = rows[keys[rows] != NONE]
        found[keys[rows]] = self._who(rows)
        return found


def unchecked_cohorts(history: RunHistory) -> frozenset[str]:
    """The cohorts whose clients count as restored on their own word.

    No log of a server, or no record of the state that they hold, can contradict them.
    """
    drivers = history.experiment.drivers_by_cohort
    has_log = EvidenceSource.SERVER_LOG in history.experiment.evidence
    return frozenset(name for name, driver in drivers.items() if not (has_log and records_all(driver)))


def codes_of(column: pd.Series) -> tuple[NDArray[Any], pd.Index]:
    """A column of names as numbers, -1 where it is missing, and the names."""
    values = column.array if isinstance(column.dtype, pd.CategoricalDtype) else pd.Categorical(column)
    return np.asarray(values.codes), pd.Index(values.categories)


def _code(names: pd.Index, name: str) -> int:
    """The number of a name; that of no value when it does not occur."""
    return int(names.get_indexer(pd.Index([name]))[0])
