"""How late a message that a client received may be: a fault of its link held it back, or it was suspended itself.

Judges nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.lab.participants import participants_of, person_of
from resilience.units import Seconds

from ..frames import RunHistory, once_per_run
from ..windows import windows_frame
from .sessions import union_of

THROUGH_S: Seconds = 1.0
"""How long after its end what a fault held back still arrives."""


def held_back_s(history: RunHistory, actors: pd.Series, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each message, by its receiver and time: for how long faults may have held it back, seconds.

    What one fault lets through may meet the next one, so the time counts from the first of several in succession.
    """
    held = np.zeros(len(t))
    links = actors.astype(str).map(person_of).map(_link_of(history)).to_numpy()
    for link, spans in _holding_spans(history).items():
        mine = links == link
        for start, stop in spans:
            late = mine & (t >= start) & (t <= stop)
            held[late] = t[late] - start
    return held


@once_per_run
def _link_of(history: RunHistory) -> dict[str, str]:
    return {who.actor: who.link for who in participants_of(history.experiment, history.info.seed)}


@once_per_run
def _holding_spans(history: RunHistory) -> dict[str, list[tuple[float, float]]]:
    """By link: the disjoint spans in which bytes were held back, or not read, and then still arrived."""
    planned = {window.fault_id: window for window in history.experiment.windows(history.info.seed)}
    frame = windows_frame(history).dropna(subset=["fault_at"])
    stops = frame["healed_at"].fillna(history.end) + THROUGH_S + history.lab_lag
    spans: dict[str, list[tuple[float, float]]] = {}
    for fault_id, start, stop in zip(frame["fault_id"], frame["earliest"], stops, strict=True):
        if fault_id in planned and planned[fault_id].fault.holds_back:
            for link in planned[fault_id].links:
                spans.setdefault(link, []).append((float(start), float(stop)))
    return {link: union_of(mine) for link, mine in spans.items()}
