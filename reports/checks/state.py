"""Checks of what clients hold: the stream of room messages, and the state after a restore. Believes clients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind, Role

from ..checking import MOST_SHOWN, CheckResult, result_of_rows
from ..frames import RunHistory
from .selection import MISSING, first_position, joint_codes, pair_keys, select, starts_group
from .sessions import NOWHERE, stream_rows


def stream_without_gap(history: RunHistory) -> CheckResult:
    """After joining at position s a client takes s+1, s+2 and so on, of one epoch, until its next session event.

    A client that leaves a connection because of a gap has seen one.
    """
    rows = stream_rows(history)
    first = starts_group(rows["who"].to_numpy())
    delivered, seq, epoch = (rows[name].to_numpy() for name in ("delivered", "seq", "epoch"))
    last = np.where(first, seq.dtype.type(NOWHERE), np.roll(seq, 1))
    after_delivery = ~first & np.roll(delivered, 1)
    is_skipped = delivered & (seq != last + 1)
    is_mixed = delivered & after_delivery & (epoch != np.roll(epoch, 1)) & (np.roll(epoch, 1) != MISSING)
    at = np.flatnonzero(is_skipped | is_mixed)
    previous = rows["row"].to_numpy()[at - 1]
    broken = rows.take(at).assign(last=last[at], previous=previous).sort_values("row")
    actors, details = history.frame["actor"].array, history.frame["detail"].array
    shown = broken.assign(
        actor=actors.take(broken["row"]), detail=details.take(broken["row"]), of=details.take(broken["previous"])
    )
    cases = pd.concat([shown, _gaps_seen(history, rows)]).sort_values("row", kind="stable")
    return result_of_rows(cases, np.ones(len(cases), dtype=bool), _describe_gap, checked=int(delivered.sum()))


def _describe_gap(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
    where = f"{case.actor} at {case.t:.3f} s"
    seq, last = (None if position == NOWHERE else position for position in (case.seq, case.last))
    if not case.delivered:
        return f"{where}: saw a gap after position {last}"
    if case.seq != case.last + 1:
        return f"{where}: took position {seq} after {last}"
    return f"{where}: epoch {case.detail} after {case.of}"


def _gaps_seen(history: RunHistory, rows: pd.DataFrame) -> pd.DataFrame:
    """Losses because of a gap, with the position before each."""
    losses = select(history, LogEventKind.TRANSPORT_LOST, role=Role.CLIENT, columns=("actor", "cause"))
    gaps = losses[losses["cause"].isin(["stream_gap"])].drop(columns="cause")
    shown = gaps.head(MOST_SHOWN)
    before = [_position_before(history, rows, *gap) for gap in zip(shown["actor"], shown["row"], strict=True)]
    before += [NOWHERE] * (len(gaps) - len(shown))
    return gaps.assign(delivered=False, seq=0, last=np.array(before, dtype=np.int64))


def _position_before(history: RunHistory, rows: pd.DataFrame, actor: str, row: int) -> int:
    earlier = rows[rows["row"] < row]
    mine = earlier[np.asarray(history.frame["actor"].array.take(earlier["row"]) == actor)]
    return int(mine["seq"].iloc[-1]) if len(mine) else NOWHERE


def restored_state_true(history: RunHistory) -> CheckResult:
    """What a client holds after a restore equals what the server recomputes for that session and connection."""
    columns = ("actor", "session_id", "connection_no", "detail")
    restored = select(history, LogEventKind.SESSION_RESTORED, role=Role.CLIENT, columns=columns)
    resumed = select(history, LogEventKind.SESSION_RESUMED, role=Role.SERVER, columns=columns)
    tables = (restored, resumed)
    sessions = joint_codes(*(table["session_id"] for table in tables))
    numbers = [table["connection_no"].fillna(MISSING).to_numpy(dtype=np.int64) for table in tables]
    wanted, known = pair_keys(sessions, numbers)
    # the last record of a number counts
    at = first_position(wanted, known[::-1])
    at = np.where(at == MISSING, MISSING, len(known) - 1 - at)
    truth = resumed["detail"].to_numpy(dtype=object)
    cases = restored.assign(
        is_known=at != MISSING, truth=truth[at] if len(truth) else np.full(len(restored), None, dtype=object)
    )
    held, due = joint_codes(cases["detail"], cases["truth"])
    is_wrong = (at == MISSING) | (held != due) | (held == MISSING)

    def describe(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        where = f"{case.actor} ({case.session_id}, connection {case.connection_no}) at {case.t:.3f} s"
        if not case.is_known:
            return f"{where}: restored, but the server has no record of this resume"
        return f"{where}: holds {case.detail}, the server recomputed {case.truth}"

    none = None if len(restored) else "no client reconnected"
    return result_of_rows(cases, is_wrong, describe, inapplicable=none)
