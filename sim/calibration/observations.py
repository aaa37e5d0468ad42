"""How long each stage took in one run: the parts of an episode that the model's costs stand for, from the event log.

Each function reads a run's history and returns one value per occurrence, in seconds, free of what other parts take.
Whatever overlaps a fault window of its cohort or of the server is left out, except where it is about that window.
Estimates nothing: that is :mod:`sim.calibration.estimates`.

================  =================================================================================================
parameter         one value
================  =================================================================================================
latency           half a heartbeat's round trip
connect,
client_loss,
client_dial,
client_message,
relay, handshake,
join, restore,
commit, reply,
detach            fitted to all dials and ends together (:mod:`sim.calibration.joint_fit`)
message           of one broadcast: the time between two receivers
startup           from the order to start a killed server to its first record
timer             how late a client dials after the delay that it has chosen, of those whose process was idle
injection         from the order to close a link's connections to the first loss of its clients, less its work and half
                  a way
injection_call    from that order to its reply
healing           from the order to end a fault that ends with a close to the first loss of its clients, less its work
                  and half a way; of others the time to the order's reply
kill              from the order to kill the server to the first loss of a cohort, less its work and one way
================  =================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.frames import RunHistory
from reports.windows import windows_frame
from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.faults.declaration import FaultEdge
from resilience.experiment.primitives import FaultTarget
from resilience.experiment.schedule import SERVER
from resilience.lab.participants import person_of
from resilience.units import Seconds

from .returns import SharedMachine, processes_of, seen_run
from .stages import Floats, SeenRun, Surroundings, WorkCosts

PARAMETERS = (
    "latency",
    *WorkCosts._fields,
    "message",
    "startup",
    "timer",
    "injection",
    "injection_call",
    "healing",
    "kill",
)
"""Every cost of the model that a run can tell."""

SINGLE = tuple(name for name in PARAMETERS if name not in WorkCosts._fields)
"""Those of which single occurrences tell a value; the others are fitted together (:mod:`sim.calibration.joint_fit`)."""

MIN_RECEIVERS = 5
"""A broadcast to fewer receivers says little about the time between two of them."""

_INNER = (0.1, 0.9)
"""The part of a broadcast's receivers between whose arrivals the time is measured; the outermost wait for others."""

_CLOSE_S: Seconds = 1.0
"""A loss later than this after an order to close is not the order's work."""

_IDLE_S: Seconds = 0.01
"""A process that recorded nothing for so long has nothing to do."""

_BRACKET = re.compile(r"(-?[\d.]+(?:[eE][-+]?\d+)?)\.\.(-?[\d.]+(?:[eE][-+]?\d+)?)")


class Samples(NamedTuple):
    """Values of one parameter in one run, seconds, and when each was measured, seconds since the run's start."""

    values: Floats
    at: Floats


class Known(NamedTuple):
    """What must be known of a machine before its other parameters are separated, seconds."""

    latency: Seconds
    message: Seconds
    client_loss: Seconds


@dataclass(frozen=True)
class _StruckWindows:
    """The fault windows of a run that really began."""

    frame: pd.DataFrame

    def quiet(self, cohort: pd.Series, begin: pd.Series, end: pd.Series) -> NDArray[np.bool_]:
        """Which of these spans no window of their cohort or of the server touches."""
        quiet = np.ones(len(begin), dtype=bool)
        for place, start, stop in self.frame[["place", "fault_at", "healed_at"]].itertuples(index=False):
            meets = (begin.to_numpy() <= (np.inf if np.isnan(stop) else stop)) & (end.to_numpy() >= start)
            quiet &= ~(meets & ((cohort == place).to_numpy() | (place == SERVER)))
        return quiet


def samples_of(
    history: RunHistory, known: Known, laboratory: SharedMachine, names: Iterable[str] = SINGLE
) -> dict[str, Samples]:
    """The samples of each parameter in one run that has any; ``known`` is used by those that need it."""
    run = _MeasuredStages(history, known, laboratory)
    return {name: run.samples(name) for name in names}


def dials_of(history: RunHistory, known: Known, laboratory: SharedMachine) -> SeenRun:
    """What one run tells of those parameters that are fitted together."""
    return _MeasuredStages(history, known, laboratory).seen()


class _MeasuredStages:
    """What one run says of each parameter, for what is ``known`` of its machine."""

    def __init__(self, history: RunHistory, known: Known, laboratory: SharedMachine) -> None:
        self._history, self._known, self._laboratory = history, known, laboratory
        found = windows_frame(history)
        self._windows = _StruckWindows(found[found["fault_at"].notna()])
        self._measures: Mapping[str, Callable[[], Samples]] = {
            "latency": self._latency,
            "message": self._message,
            "startup": self._startup,
            "timer": self._timer,
            "injection": self._injection,
            "injection_call": self._injection_call,
            "healing": self._healing,
            "kill": self._kill,
        }

    def samples(self, name: str) -> Samples:
        """The samples of one parameter; none of those that are not finite."""
        values, at = self._measures[name]()
        kept = np.isfinite(values)
        return Samples(values[kept], at[kept])

    # links ------------------------------------------------------------------------------------------------------------

    def _latency(self) -> Samples:
        acked = self._history.rows(LogEventKind.HEARTBEAT_ACKED, role=Role.SERVER)
        cohorts = self._cohort_of_session()
        cohort = acked["session_id"].astype(object).map(cohorts)
        quiet = self._windows.quiet(cohort, acked["t"] - acked["value"], acked["t"])
        kept = acked[quiet]
        return Samples((_numbers(kept["value"]) - self._known.message) / 2.0, _numbers(kept["t"]))

    def _cohort_of_session(self) -> dict[object, object]:
        arrived = self._history.rows(LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED, role=Role.CLIENT)
        known = arrived.dropna(subset=["session_id"])
        return dict(zip(known["session_id"].astype(object), known["cohort"].astype(object), strict=True))

    def _dials(self) -> pd.DataFrame:
        """One row per dial that ended: actor, cohort, ``begin``, ``end``, ``opened``, and the cause of a failure."""
        rows = self._history.rows(
            LogEventKind.TRANSPORT_OPENING,
            LogEventKind.TRANSPORT_OPENED,
            LogEventKind.TRANSPORT_FAILED,
            role=Role.CLIENT,
        )[["t", "actor", "cohort", "kind", "connection_no", "cause"]].astype({"actor": object, "cohort": object})
        begun = rows[rows["kind"] == LogEventKind.TRANSPORT_OPENING.value]
        ended = rows[rows["kind"] != LogEventKind.TRANSPORT_OPENING.value]
        key = ["actor", "connection_no"]
        found = begun[[*key, "cohort", "t"]].merge(ended[[*key, "t", "kind", "cause"]], on=key, suffixes=("", "_end"))
        found = found.rename(columns={"t": "begin", "t_end": "end"})
        found["opened"] = found["kind"] == LogEventKind.TRANSPORT_OPENED.value
        return found.sort_values("begin", ignore_index=True)

    # the server -------------------------------------------------------------------------------------------------------

    def seen(self) -> SeenRun:
        """What was seen of each dial and of each end."""
        dials = self._dials()
        quiet = self._windows.quiet(dials["cohort"], dials["begin"], dials["end"])
        machine = Surroundings(self._laboratory.shared_processors, self._known.latency, self._known.message)
        return seen_run(self._history, dials, quiet, self._laboratory, machine)

    def _message(self) -> Samples:
        rows = self._history.rows(LogEventKind.STREAM_DELIVERED, role=Role.CLIENT)
        quiet = self._windows.quiet(rows["cohort"].astype(object), rows["t"], rows["t"])
        low, high = _INNER
        gaps, at = [], []
        for _, times in rows[quiet].groupby(["detail", "seq"], observed=True)["t"]:
            if len(times) >= MIN_RECEIVERS:
                first, last = np.quantile(_numbers(times), _INNER)
                gaps.append((last - first) / ((high - low) * (len(times) - 1)))
                at.append(float(times.min()))
        return _samples(gaps, at)

    def _startup(self) -> Samples:
        windows, started = self._windows.frame, self._history.rows(LogEventKind.SERVER_STARTED, role=Role.SERVER)["t"]
        ordered = windows.loc[windows["kind"] == "server_kill", "healed_at"].dropna()
        spent, at = [], []
        for order in _numbers(ordered):
            later = _numbers(started[started > order])
            if len(later):
                spent.append(later.min() - order)
                at.append(order)
        return _samples(spent, at)

    # clients and injector ---------------------------------------------------------------------------------------------

    def _timer(self) -> Samples:
        planned = self._history.rows(LogEventKind.BACKOFF_SCHEDULED, role=Role.CLIENT)
        planned = planned[["t", "actor", "cohort", "value"]].astype({"actor": object, "cohort": object})
        planned = planned.assign(due=planned["t"] + planned["value"]).rename(columns={"t": "since"})
        dialled = self._history.rows(LogEventKind.TRANSPORT_OPENING, role=Role.CLIENT)[["t", "actor"]]
        dialled = dialled.astype({"actor": object}).assign(dialled=dialled["t"])
        found = pd.merge_asof(
            planned.sort_values("since"),
            dialled.sort_values("t"),
            left_on="since",
            right_on="t",
            by="actor",
            direction="forward",
            allow_exact_matches=False,
        ).dropna(subset=["dialled"])
        suspended = self._windows.frame["kind"].isin(_kinds_of(FaultTarget.CLIENT, self._history))
        quiet = _StruckWindows(self._windows.frame[suspended]).quiet(found["cohort"], found["since"], found["dialled"])
        late = _numbers(found["dialled"] - found["due"])
        idle = self._is_idle(found["actor"], _numbers(found["due"]))
        kept = quiet & idle & (late >= 0)  # sooner: something else than the delay had it dial
        return Samples(late[kept], _numbers(found["due"])[kept])

    def _is_idle(self, actors: pd.Series, at: Floats) -> NDArray[np.bool_]:
        """Whether the processes of these clients had recorded nothing of a connection for a while at these instants."""
        kinds = (LogEventKind.TRANSPORT_OPENING, LogEventKind.TRANSPORT_OPENED, LogEventKind.TRANSPORT_FAILED)
        others = (LogEventKind.TRANSPORT_LOST, LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED)
        rows = self._history.rows(*kinds, *others, role=Role.CLIENT)
        numbers = processes_of(self._history, self._laboratory)
        process = rows["actor"].astype(object).map(person_of).map(numbers).to_numpy(dtype=np.int64)
        mine = actors.map(person_of).map(numbers).to_numpy(dtype=np.int64)
        idle = np.ones(len(at), dtype=bool)
        for number in np.unique(mine):
            times, here = _numbers(rows["t"])[process == number], mine == number
            before = np.concatenate([[-np.inf], times])[np.searchsorted(times, at[here])]
            idle[here] = at[here] - before > _IDLE_S
        return idle

    def _closing(self, edge: FaultEdge) -> pd.DataFrame:
        """The windows of links that close every connection by this edge, and what the order's reply says."""
        faults = {fault.kind for fault in self._history.experiment.faults if fault.connections_end is edge}
        links = _kinds_of(FaultTarget.LINK, self._history)
        windows = self._windows.frame
        return windows[windows["kind"].isin(faults & links) & ~windows["invalid"].notna()]

    def _injection(self) -> Samples:
        return self._closes(
            self._closing(FaultEdge.BEGIN), "fault_at", self._known.latency / 2.0, LogEventKind.TRANSPORT_LOST
        )

    def _injection_call(self) -> Samples:
        return self._calls(LogEventKind.FAULT_STARTED, self._closing(FaultEdge.BEGIN))

    def _healing(self) -> Samples:
        ends = (LogEventKind.TRANSPORT_LOST, LogEventKind.TRANSPORT_FAILED)  # a hole has dials under way
        closes = self._closes(self._closing(FaultEdge.END), "healed_at", self._known.latency / 2.0, *ends)
        others = self._closing(FaultEdge.BEGIN)
        calls = self._calls(LogEventKind.FAULT_ENDED, others[others["healed_at"] > others["fault_at"] + _CLOSE_S / 2])
        return Samples(np.concatenate([closes.values, calls.values]), np.concatenate([closes.at, calls.at]))

    def _kill(self) -> Samples:
        windows = self._windows.frame
        kills = windows.loc[windows["kind"] == "server_kill", ["fault_at"]]
        places = pd.DataFrame({"place": [cohort.name for cohort in self._history.experiment.cohorts]})
        struck = kills.merge(places, how="cross")
        return self._closes(struck, "fault_at", self._known.latency, LogEventKind.TRANSPORT_LOST)

    def _closes(self, windows: pd.DataFrame, edge: str, on_the_way: Seconds, *kinds: LogEventKind) -> Samples:
        """From each window's edge to the first of its cohort's ends that follow it, less what that took."""
        ends = self._history.rows(*kinds, role=Role.CLIENT)
        ends = ends[ends["cause"] == "closed"]
        spent, at = [], []
        for place, order in windows[["place", edge]].dropna().itertuples(index=False):
            times = _numbers(ends.loc[ends["cohort"] == place, "t"])
            mine = times[(times >= order) & (times <= order + _CLOSE_S)]
            if len(mine):
                spent.append(float(mine.min()) - order - on_the_way - self._known.client_loss)
                at.append(order)
        return _samples(spent, at)

    def _calls(self, kind: LogEventKind, windows: pd.DataFrame) -> Samples:
        """How long the orders of these windows took until their reply, where the log has both."""
        rows = self._history.rows(kind)
        rows = rows[rows["ref"].isin(windows["fault_id"])]
        spent, at = [], []
        for t, detail in rows[["t", "detail"]].itertuples(index=False):
            bracket = _BRACKET.fullmatch(detail) if isinstance(detail, str) else None
            if bracket:
                spent.append(float(bracket[2]) - float(bracket[1]))
                at.append(t)
        return _samples(spent, at)


def _kinds_of(target: FaultTarget, history: RunHistory) -> set[str]:
    return {fault.kind for fault in history.experiment.faults if fault.target is target}


def _samples(values: list[float], at: list[float]) -> Samples:
    return Samples(np.asarray(values, dtype=np.float64), np.asarray(at, dtype=np.float64))


def _numbers(column: pd.Series) -> Floats:
    return column.to_numpy(dtype=np.float64)
