"""How late a message that a client received may be because a fault held it back. Judges nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.lab.participants import participants_of
from resilience.units import Seconds

from ..frames import RunHistory, once_per_run
from ..windows import windows_frame

THROUGH_S: Seconds = 1.0
"""How long after its end what a fault held back still arrives."""


def held_back_s(history: RunHistory, actors: pd.Series, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each message, by its receiver and time: for how long faults of its link may have held it back, seconds."""
    held = np.zeros(len(t))
    links = actors.astype(str).map(_link_of(history))
    for struck, start, stop in _holding_windows(history):
        late = links.isin(struck).to_numpy(dtype=bool) & (t >= start) & (t <= stop + THROUGH_S + history.lab_lag)
        held = np.where(late, np.maximum(held, t - start), held)
    return held


@once_per_run
def _link_of(history: RunHistory) -> dict[str, str]:
    return {who.actor: who.link for who in participants_of(history.experiment, history.info.seed)}


@once_per_run
def _holding_windows(history: RunHistory) -> list[tuple[frozenset[str], float, float]]:
    """The links, the begin and the end of every window that held bytes back."""
    planned = {window.fault_id: window for window in history.experiment.windows(history.info.seed)}
    frame = windows_frame(history).dropna(subset=["fault_at"])
    stops = frame["healed_at"].fillna(history.end)
    return [
        (frozenset(planned[fault_id].links), float(start), float(stop))
        for fault_id, start, stop in zip(frame["fault_id"], frame["earliest"], stops, strict=True)
        if fault_id in planned and planned[fault_id].fault.holds_back
    ]
