"""Whether the clocks of a run's processes agree: nothing is recorded before what causes it. Judges no participant.

A client dials, the server makes its session, the client joins, in this order on a common clock, whatever is slow. A
clock that is ahead or behind turns the order around, and every latency and every rule about time is wrong by as much.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind

TOLERANCE_S = 0.25
"""Seconds by which an effect may precede its cause. Processes of one machine differ by less than 0.02 s."""

LEAST_SHARE = 0.05
"""Of the clients. A clock is that of a process with many of them; of one session the server's record may be wrong."""

Floats = NDArray[np.float64]


def disagreements(frame: pd.DataFrame) -> Iterator[str]:
    """Clocks that contradict one another by more than :data:`TOLERANCE_S`, in words.

    ``frame``: events with ``kind``, ``t`` (s), ``actor`` and ``session_id``. Only a client's first join counts, to a
    session that no other client ever joined.
    """
    dialled, created, joined = _first_joins(frame)
    least = max(LEAST_SHARE * len(joined), 1.0)
    for early, late, what in (
        (created, dialled, "their first dial after the server had made their sessions"),
        (joined, created, "their join before the server made their sessions"),
    ):
        ahead = late - early
        disordered = ahead[ahead > TOLERANCE_S]
        if len(disordered) > least:
            yield (
                f"the clocks of clients and server disagree: {len(disordered):,} of {len(joined):,} clients recorded "
                f"{what}, by {np.median(disordered):.2f} s"
            )


def _first_joins(frame: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """When each such client dialled first, when the server made its session, and when it joined, seconds."""
    dials = _of(frame, LogEventKind.TRANSPORT_OPENING).groupby("actor", observed=True)["t"].min()
    made = _of(frame, LogEventKind.SESSION_CREATED).groupby("session_id", observed=True)["t"].min()
    joins = _of(frame, LogEventKind.SESSION_JOINED).drop_duplicates("actor").dropna(subset=["session_id"])
    joins = joins[~joins["session_id"].duplicated(keep=False)]
    dialled, created = dials.reindex(joins["actor"]).to_numpy(), made.reindex(joins["session_id"]).to_numpy()
    known = ~(np.isnan(dialled) | np.isnan(created))
    return dialled[known], created[known], joins["t"].to_numpy()[known]


def _of(frame: pd.DataFrame, kind: LogEventKind) -> pd.DataFrame:
    return frame.loc[(frame["kind"] == kind.value).to_numpy(dtype=bool), ["t", "actor", "session_id"]]
