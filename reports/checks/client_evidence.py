"""What the clients of a run were shown, as tables, and the fault windows that touched each of them. Judges nothing.

Columns of the observation frame, one row per :class:`~resilience.lab.observer.Observation` up to the run's end, each
client's rows in the order in which it made them: the fields of that class. ``t``, ``since``, ``heard`` and
``remaining`` are float64 seconds, whole numbers Int64, ``stale`` bool; texts are objects, None where there is none.

Columns of the connection frame, one row per connection that had a session:

===========  =======  =================================================================================
column       dtype    meaning (times in seconds since the run's start)
===========  =======  =================================================================================
actor        str      the client
participant  str      its id, as the snapshot of this connection said
connection   int64    number of the dial
restored     bool     whether its snapshot restored a session; else it joined
since        float64  when its snapshot arrived
epoch, seq   str      the position in the stream of that snapshot (``seq`` int64)
until        float64  when it ended, or the run
ended_by     str      ``lost``, ``left`` or ``open``: open at the run's end
cause        str      of the loss; None where it was not lost
heard        float64  its last message
pings        int64    heartbeats that arrived
link         str      the link of the client; ``?`` for a client that the experiment does not know
calm_until   float64  the first moment after ``since`` at which a fault that touches it begins or ends, or ``until``
faulty       bool     whether such a fault held at ``since``
===========  =======  =================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.schedule import SERVER
from resilience.lab.observation import STREAM_KINDS, ObservationKind
from resilience.lab.participants import participants_of, person_of
from resilience.lab.stored_run import StoredRun
from resilience.units import Instant, Seconds

from ..checking import Check, CheckResult
from ..frames import RunHistory, once_per_run
from ..windows import windows_frame
from .selection import MISSING, Codes, first_position, joint_codes, pair_keys, starts_group, values_at
from .sessions import harmless_windows, proxy_failures

SETTLE_S: Seconds = 1.0
"""How much later than others a healthy client may be shown the same."""

HEAL_SLACK_S: Seconds = 1.0
"""How long after its end a fault may still end a connection."""

_TIMES = ("t", "remaining", "since", "heard")
_INTEGERS = ("score", "correct", "connection", "seq", "answer", "points", "fence", "pings")
_WELCOMES = (ObservationKind.JOINED, ObservationKind.RESTORED)
_ENDS = (ObservationKind.LOST, ObservationKind.LEFT, ObservationKind.OPEN)
_UNKNOWN_LINK = "?"


@once_per_run
def observations(history: RunHistory) -> pd.DataFrame:
    """Every observation of a run; columns and dtypes as in this module's docstring. Shared: not to be changed."""
    return pd.DataFrame({str(name): _plain_column(str(name), values) for name, values in history.observed.items()})


def _plain_column(name: str, values: pd.Series) -> Any:  # noqa: ANN401 - a series, or an array of pandas or numpy
    if name in _TIMES:
        return values.to_numpy(dtype=np.float64)
    if name in _INTEGERS:
        return values.array.astype("Int64")
    if name == "stale":
        return values.array.fillna(False).astype(bool)  # noqa: FBT003 - the value that a missing one has
    if isinstance(values.dtype, pd.CategoricalDtype):
        texts = values.cat.categories.to_numpy(dtype=object)
        return pd.Series(values_at(texts, values.cat.codes.to_numpy(), None), dtype="object")
    return values.astype(object).where(values.notna(), None)


def observations_until(history: RunHistory, end: Instant) -> pd.DataFrame:
    """:func:`observations` up to ``end``, and what ended each connection."""
    seen = observations(history)
    kept = (seen["t"].to_numpy() <= end) | seen["kind"].isin(_ENDS).to_numpy()
    return seen if kept.all() else seen[kept].reset_index(drop=True)


@dataclass(frozen=True)
class ClientEvidence:
    """One run as its clients saw it."""

    history: RunHistory

    @property
    def end(self) -> Instant:
        """When observation ended."""
        return self.history.end

    @property
    def stored(self) -> StoredRun | None:
        """What the database held at the end."""
        return self.history.stored

    @cached_property
    def settle(self) -> Seconds:
        """:data:`SETTLE_S`, and how late the clients' own loops ran."""
        return SETTLE_S + self.history.lab_lag

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The observation frame."""
        return observations_until(self.history, self.end)

    @cached_property
    def _of(self) -> dict[tuple[ObservationKind, ...], pd.DataFrame]:
        return {}

    def of(self, *kinds: ObservationKind) -> pd.DataFrame:
        """The rows of these kinds, without those of connections that a newer one had replaced. Shared."""
        if kinds not in self._of:
            wanted = self.rows["kind"].isin(kinds).to_numpy(dtype=bool) & ~self.rows["stale"].to_numpy(dtype=bool)
            self._of[kinds] = self.rows.take(np.flatnonzero(wanted))
        return self._of[kinds]

    def connection_of(self, rows: pd.DataFrame) -> Codes:
        """For rows of :attr:`rows`: where their connection stands in :attr:`connections`; MISSING where it does not."""
        return first_position(self.connection_keys(rows), self.connection_keys(self._welcomes))

    def connection_keys(self, rows: pd.DataFrame) -> Codes:
        """A number for the connection of each of these rows of :attr:`rows`."""
        keys: Codes = self._keys[rows.index.to_numpy()]
        return keys

    def in_calm(self, rows: pd.DataFrame, seconds: Seconds) -> pd.DataFrame:
        """Those of these rows after which their connection lasted for ``seconds`` without a fault."""
        at = self.connection_of(rows)
        rows, at = rows[at != MISSING], at[at != MISSING]
        change, faulty = self.first_change(self.connections["link"].take(at), rows["t"])
        until = self.connections["until"].to_numpy()[at]
        lasts = np.asarray(np.minimum(change, until) > rows["t"].to_numpy() + seconds, dtype=bool)
        return rows.take(np.flatnonzero(lasts & ~faulty))

    @cached_property
    def _keys(self) -> Codes:
        connection = self.rows["connection"].fillna(MISSING).to_numpy(dtype=np.int64)
        return pair_keys(joint_codes(self.rows["actor"]), [connection])[0]

    @cached_property
    def _welcomes(self) -> pd.DataFrame:
        """The first snapshot of each connection that had a session."""
        found = self.of(*_WELCOMES)
        return found[~pd.Series(self.connection_keys(found)).duplicated().to_numpy()]

    @cached_property
    def stream(self) -> pd.DataFrame:
        """The numbered messages, each with the connection it arrived on; ``epoch`` is None before a snapshot."""
        return self.of(*STREAM_KINDS)

    @cached_property
    def positions(self) -> dict[str, pd.DataFrame]:
        """By epoch: every number that any client was shown, in order, with ``t`` of the first client."""
        rows = self.stream.dropna(subset=["seq"])
        seqs, times = rows["seq"].to_numpy(dtype=np.int64), rows["t"].to_numpy()
        (epochs,) = joint_codes(rows["epoch"])
        names = rows["epoch"].to_numpy(dtype=object)
        order = np.lexsort((times, seqs, epochs))
        order = order[epochs[order] != MISSING]
        found: dict[str, pd.DataFrame] = {}
        for own in np.split(order, np.flatnonzero(np.diff(epochs[order])) + 1) if len(order) else ():
            first = own[starts_group(seqs[own])]
            found[str(names[own[0]])] = pd.DataFrame({"seq": seqs[first], "t": times[first]}, copy=False)
        return dict(sorted(found.items()))

    @cached_property
    def presence(self) -> pd.DataFrame:
        """Presence as shown: one row per receiver (``actor``) and participant ``about``, with the ``sign``."""
        rows = self.of(ObservationKind.PRESENCE)
        contents = [str(content or "").split() for content in rows["content"]]
        at = np.repeat(np.arange(len(rows)), [len(content) for content in contents])
        shown = [word for content in contents for word in content]
        columns = {name: rows[name].array.take(at) for name in ("t", "actor", "epoch", "seq")}
        texts = {"content": shown, "sign": [word[:1] for word in shown], "about": [word[1:] for word in shown]}
        return pd.DataFrame(columns | {name: pd.Series(words, dtype="object") for name, words in texts.items()})

    # connections ------------------------------------------------------------------------------------------------------

    @cached_property
    def connections(self) -> pd.DataFrame:
        """The connection frame."""
        welcomes = self._welcomes
        since = welcomes["t"].to_numpy()
        until, ended_by, cause, heard, pings = self._endings(welcomes)
        is_open = ~(until <= self.end) | (ended_by == ObservationKind.OPEN)
        until = np.where(is_open, self.end, until)
        cause[is_open] = None
        names = (self.links.get(person_of(actor), _UNKNOWN_LINK) for actor in welcomes["actor"])
        link = pd.Series(list(names), dtype="object")
        calm, faulty = self.first_change(link, pd.Series(since))
        columns = {
            **{name: welcomes[name].array for name in ("actor", "connection", "participant", "epoch", "seq", "fence")},
            "restored": (welcomes["kind"] == ObservationKind.RESTORED).to_numpy(dtype=bool),
            "since": since,
            "heard": np.minimum(np.where(np.isnan(heard), since, heard), self.end),
            "pings": pings,
            "until": until,
            "ended_by": pd.Series(np.where(is_open, ObservationKind.OPEN, ended_by), dtype="object"),
            "cause": pd.Series(cause, dtype="object"),
            "link": link,
            "calm_until": np.minimum(calm, until),
            "faulty": faulty,
        }
        return pd.DataFrame(columns, copy=False)

    def _endings(self, welcomes: pd.DataFrame) -> tuple[NDArray[Any], ...]:
        """Of the first record of each connection's end: time, kind, cause, last message, heartbeats."""
        ends = self.rows[self.rows["kind"].isin(_ENDS)]
        at = first_position(self.connection_keys(welcomes), self.connection_keys(ends))
        until, heard = (values_at(ends[name].to_numpy(), at, np.nan) for name in ("t", "heard"))
        kind, cause = (values_at(ends[name].to_numpy(dtype=object), at, None) for name in ("kind", "outcome"))
        pings = values_at(ends["pings"].fillna(0).to_numpy(dtype=np.int64), at, 0)
        return until, kind, cause, heard, pings

    # faults -----------------------------------------------------------------------------------------------------------

    @cached_property
    def links(self) -> dict[str, str]:
        """The link of each participant, which all of its tabs use."""
        return {who.actor: who.link for who in participants_of(self.history.experiment, self.history.info.seed)}

    @cached_property
    def windows(self) -> pd.DataFrame:
        """Every window that happened: those of ``reports.windows`` with ``links`` (None: all) and ``start``, ``stop``.

        One that was not undone lasts until the run's end. A kill at a boundary of the server's work begins as planned:
        the server may drain before it dies.
        """
        planned = {window.fault_id: window for window in self.history.experiment.windows(self.history.info.seed)}
        frame = windows_frame(self.history)
        frame = frame[frame["fault_at"].notna()].reset_index(drop=True)
        links: list[frozenset[str] | None] = []
        for fault_id, place in zip(frame["fault_id"], frame["place"], strict=True):
            known = planned.get(fault_id)
            links.append(None if place == SERVER else frozenset(known.links if known else (place,)))
        start = np.fmin(frame["earliest"], frame["fault_at"])
        at_boundary = [name in planned and hasattr(planned[name].fault, "crash") for name in frame["fault_id"]]
        start = np.where(at_boundary, np.fmin(start, frame["planned_start"]), start)
        return frame.assign(
            links=pd.Series(links, dtype="object"), start=start, stop=frame["healed_at"].fillna(self.end)
        )

    @cached_property
    def _harmless(self) -> frozenset[str]:
        return harmless_windows(self.history)

    def touching(self, link: str) -> pd.DataFrame:
        """What disturbs the clients of a link, with ``kind``, ``start`` and ``stop``: its own windows, the server's.

        A failure of the link's proxy is one more: what ends there is the laboratory's doing, not the system's.
        """
        disturb = [name not in self._harmless for name in self.windows["fault_id"]]
        mine = [links is None or link in links for links in self.windows["links"]]
        hit = [each and other for each, other in zip(disturb, mine, strict=True)]
        own = self.windows.loc[np.array(hit, dtype=bool), ["kind", "start", "stop"]]
        failed = [(start, stop) for place, start, stop in proxy_failures(self.history) if place == link]
        columns = {
            "kind": pd.Series([*own["kind"], *(LogEventKind.LINK_REPLACED for _ in failed)], dtype="object"),
            "start": np.array([*own["start"], *(start for start, _ in failed)], dtype=np.float64),
            "stop": np.array([*own["stop"], *(stop for _, stop in failed)], dtype=np.float64),
        }
        return pd.DataFrame(columns)

    @cached_property
    def _spans(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By link: when what touches it began, and when it ended, each in order."""
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for link in {*self.links.values(), _UNKNOWN_LINK}:
            own = self.touching(link)
            found[link] = np.sort(own["start"].to_numpy()), np.sort(own["stop"].to_numpy())
        return found

    def first_change(self, links: pd.Series, times: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """For each link and time: when a fault next begins or ends there (inf: never), and whether one holds then."""
        change, faulty = np.full(len(times), np.inf), np.zeros(len(times), dtype=bool)
        moments, names = times.to_numpy(dtype=np.float64), links.to_numpy()
        for link, (starts, stops) in self._spans.items():
            mine = names == link
            both = np.append(np.sort(np.concatenate([starts, stops])), np.inf)
            change[mine] = both[np.searchsorted(both, moments[mine], side="right")]
            faulty[mine] = np.searchsorted(starts, moments[mine], "right") > np.searchsorted(
                stops, moments[mine], "right"
            )
        return change, faulty

    def is_excused(self, link: str, begin: Instant, end: Instant) -> bool:
        """Whether what touches the link held, or had just ended, at any time from ``begin`` to ``end``."""
        starts, stops = self._spans.get(link) or self._spans[_UNKNOWN_LINK]
        begun = np.searchsorted(starts, end + self.history.lab_lag, side="right")
        over = np.searchsorted(stops, begin - HEAL_SLACK_S - self.history.lab_lag, side="left")
        return bool(begun > over)


@once_per_run
def evidence_of(history: RunHistory) -> ClientEvidence:
    """What the clients of a run saw, for the checks that share it."""
    return ClientEvidence(history)


def of_clients(check: Callable[[ClientEvidence], CheckResult]) -> Check:
    """A check of a history that applies where the run kept what its clients were shown."""

    @wraps(check)
    def judged(history: RunHistory) -> CheckResult:
        if not len(history.observed):
            return CheckResult(0, inapplicable="the run kept no record of what its clients were shown")
        return check(evidence_of(history))

    return judged
