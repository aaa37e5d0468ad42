"""What proxy and server spend on each return: the dials of a run, and the service times that several runs tell.

No single time tells a service time, so all runs are fitted together. The fits without one run each tell how well they
know it: the pseudo-values of the jackknife, whose mean is the fit and whose scatter is its error (Efron and Stein,
1981). Where there are too few runs for that, each block of seconds is fitted again for one service time after the
other, and those blocks count that it moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.frames import RunHistory
from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.participants import participants_of
from resilience.units import Seconds

from .tandem import Dials, Floats, SeenRun, Service, nearest, nearest_alone, tells_apart

BLOCK_S: Seconds = 5.0
"""What happens within one such span is one block: it shares a herd, and what else the machine did."""

_KINDS = {LogEventKind.SESSION_CREATED.value: 0, LogEventKind.SESSION_RESUMED.value: 1}
SERVICES = ("relay", "handshake", "join", "restore")
"""The parameters that are fitted together, in the order of :class:`~sim.calibration.tandem.Service`."""

_UNTOLD = frozenset({"relay", "handshake"})
"""Those of which runs without a herd tell only the sum."""

NOT_RELAYED = frozenset({"refused", "closed"})
"""Causes of dials that no proxy passed on: refused by it, or closed since no server was there."""


def take_served(history: RunHistory) -> pd.DataFrame:
    """When the server had served each join and resume: ``actor``, ``taken``, ``kind``, and the ``value`` of its record.

    By time. The value is how long the server then took to reply: the commit.
    """
    mine = history.rows(LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED, role=Role.CLIENT)
    mine = mine[["session_id", "actor"]].dropna().astype(object).drop_duplicates("session_id")
    served = history.rows(LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED, role=Role.SERVER)
    served = served[["t", "value", "kind", "session_id"]].astype({"session_id": object, "kind": object})
    found = served.merge(mine, on="session_id").dropna(subset=["value"])
    found = found.assign(taken=found["t"] - found["value"], kind=found["kind"].map(_KINDS))
    return found[["actor", "taken", "kind", "value"]].sort_values("taken", ignore_index=True)


def seen_dials(
    history: RunHistory, dials: pd.DataFrame, quiet: NDArray[np.bool_], connect: Seconds, way_back: Seconds
) -> Dials:
    """The dials that a proxy accepted, with what was seen of each; only the ``quiet`` ones say anything.

    ``dials``: as of the measured stages. ``way_back``: from the end of the handshake to the client.
    """
    dials = dials.assign(quiet=quiet)
    dials = dials[dials["opened"] | ~dials["cause"].isin(NOT_RELAYED)].sort_values("begin", ignore_index=True)
    links = {each.actor: each.link for each in participants_of(history.experiment, history.info.seed)}
    opened = dials[dials["opened"]].assign(number=lambda rows: rows.index)
    first = pd.merge_asof(
        take_served(history),
        opened[["end", "actor", "number"]].sort_values("end"),
        left_on="taken",
        right_on="end",
        by="actor",
    )
    first = first.dropna(subset=["number"]).drop_duplicates("number")
    taken, kind = np.full(len(dials), np.nan), np.full(len(dials), -1, np.int64)
    number = first["number"].to_numpy(dtype=np.int64)
    taken[number], kind[number] = first["taken"], first["kind"]
    upgraded = np.where(dials["opened"], dials["end"].to_numpy(dtype=np.float64) - way_back, np.nan)
    accepted = dials["begin"].to_numpy(dtype=np.float64) + connect
    link = pd.factorize(dials["actor"].map(links).fillna(""))[0].astype(np.int64)
    return Dials(accepted, link, upgraded, taken, kind).unseen(~dials["quiet"].to_numpy(dtype=bool))


def service_times(runs: Sequence[SeenRun], *, by_run: bool) -> dict[str, Floats]:
    """Independent values of each service time: one of each run, or else of each block; none of what no run tells."""
    whole = nearest(runs, len(_KINDS))
    if whole is None:
        return {name: np.empty(0) for name in SERVICES}
    told = [name for name in SERVICES if _is_seen(runs, name) and (name not in _UNTOLD or tells_apart(runs, whole))]
    made = _of_runs(runs, whole) if by_run else _of_blocks(runs, whole)
    return {name: made[i] if name in told else np.empty(0) for i, name in enumerate(SERVICES)}


def _of_runs(runs: Sequence[SeenRun], whole: Service) -> list[Floats]:
    """The pseudo-values of each service time."""
    values, n = np.array(whole.values), len(runs)
    without = [nearest([*runs[:i], *runs[i + 1 :]], len(_KINDS), whole) for i in range(n)]
    made = np.array([n * values - (n - 1) * np.array((each or whole).values) for each in without])
    return list(made.T)


def _of_blocks(runs: Sequence[SeenRun], whole: Service) -> list[Floats]:
    found: list[list[float]] = [[] for _ in SERVICES]
    for run in runs:
        blocks = np.floor(run.dials.accepted / BLOCK_S)
        for block in np.unique(blocks[np.isfinite(run.dials.upgraded)]):
            for number, values in enumerate(found):
                value = nearest_alone([run.only(blocks == block)], whole, number)
                if value is not None:
                    values.append(value)
    return [np.array(values) for values in found]


def _is_seen(runs: Sequence[SeenRun], name: str) -> bool:
    """Whether any dial says something of it."""
    if name in _UNTOLD:
        return any(np.isfinite(run.dials.upgraded).any() for run in runs)
    kind = SERVICES.index(name) - len(_UNTOLD)
    return any((np.isfinite(run.dials.taken) & (run.dials.kind == kind)).any() for run in runs)
