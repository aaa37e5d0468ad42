"""Checks of what must have happened by some time: returns, verdicts, the stream. Believes what clients received."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.targets import EvidenceSource
from resilience.lab.run_directory import RunStatus

from ..checking import CheckResult, result_of, result_of_rows
from ..frames import RunHistory
from ..summary import Counterexample
from .answers import NO_ANSWER, answer_records
from .selection import (
    MISSING,
    Codes,
    ends_group,
    first_position,
    is_kind,
    joint_codes,
    last_where,
    pair_keys,
    pairs_of,
    select,
    starts_group,
)
from .sessions import (
    LOSSES,
    NOWHERE,
    OPENS,
    STOPS,
    Seconds,
    client_sessions,
    epoch_numbers,
    fault_times,
    numbers_of,
    session_events,
    settle_s,
    stream_rows,
)

VERDICT_S = 5.0
"""Seconds of an open session on a link without a fault within which every submitted answer has its verdict."""


def server_lives(history: RunHistory) -> CheckResult:
    """The server ended only when a fault ended it.

    Counted by server processes where the server has a log; else the runner's standing watch saw one server all along.
    """
    has_log = EvidenceSource.SERVER_LOG in history.experiment.evidence
    starts = len(select(history, LogEventKind.SERVER_STARTED, role=Role.SERVER)) if has_log else 1
    if history.info.status != RunStatus.COMPLETED:
        return CheckResult(0, inapplicable="the run did not complete")
    if not starts:
        return CheckResult(0, inapplicable="the log has no start of a server")
    cause = history.info.cause
    return result_of(starts, [] if cause is None else [Counterexample(actor="server", t=None, text=cause)])


def clients_return(history: RunHistory) -> CheckResult:
    """``statistics.deadline`` after the last fault every client that neither left nor gave up has a session."""
    ends = select(history, LogEventKind.FAULT_ENDED)["t"]
    deadline = history.experiment.statistics.deadline
    if not len(ends):
        return CheckResult(0, inapplicable="no fault ended")
    if history.end - ends.max() < deadline:
        return CheckResult(0, inapplicable=f"the run ended less than {deadline:g} s after its last fault")
    last = _last_session_events(history)
    away = is_kind(last, *LOSSES) & (history.end - last["t"] >= settle_s(history)).to_numpy()
    return result_of_rows(last, away, lambda case: f"{case.actor}: away since {case.t:.3f} s, {case.kind}")


def _last_session_events(history: RunHistory) -> pd.DataFrame:
    """The last event of each client that opened, ended or stopped a session; a loss after a stop ends nothing."""
    events = session_events(history)
    last = np.flatnonzero(ends_group(events["who"].to_numpy()))
    decisive = last_where(is_kind(events, *OPENS, *STOPS))[last]
    same = (decisive != MISSING) & (events["who"].to_numpy()[decisive] == events["who"].to_numpy()[last])
    stopped = same & is_kind(events, *STOPS)[decisive]
    return events.iloc[np.where(stopped, decisive, last)].sort_values("row").reset_index(drop=True)


# --- answers ----------------------------------------------------------------------------------------------------------


def answers_get_verdicts(history: RunHistory) -> CheckResult:
    """Every submitted answer has its verdict within :data:`VERDICT_S` of open sessions without a fault on the link.

    An answer that has none at the end is judged once its client, connected then, had :data:`SETTLE_S` of such time. The
    lateness of the clients' own loops is added to both.
    """
    submitted, acks = answer_records(history).submitted, answer_records(history).acks
    submitted = submitted[(submitted["t"] <= history.end).to_numpy()].reset_index(drop=True)
    answers = [table["answer"].to_numpy() for table in (submitted, acks)]
    wanted, known = pair_keys(joint_codes(submitted["actor"], acks["actor"]), answers)
    at = first_position(wanted, known)
    told_at = np.where(at == MISSING, np.inf, acks["t"].to_numpy()[at] if len(acks) else np.inf)
    until = np.minimum(told_at, history.end)
    bound = VERDICT_S + history.lab_lag
    suspect = (at == MISSING) | (until - submitted["t"].to_numpy() > bound)
    acked, connected = at != MISSING, np.zeros(len(submitted))
    at_end = np.zeros(len(submitted), dtype=bool)
    cases = submitted.assign(until=until)
    connected[suspect], at_end[suspect] = _connected(history, cases[suspect])
    due = (connected > bound) | (~acked & at_end & (connected >= settle_s(history)))
    checked = int((acked | due).sum())
    unknown = None if checked else "no submitted answer had time for a verdict"
    none = None if len(submitted) else NO_ANSWER
    cases = cases.assign(connected=connected)
    return result_of_rows(cases, due, _describe_wait, checked=checked, unknown=unknown, inapplicable=none)


def _describe_wait(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
    where = f"{case.actor} at {case.t:.3f} s: no verdict on {case.ref}"
    return f"{where} within {case.connected:.1f} s of connected time"


def _connected(history: RunHistory, cases: pd.DataFrame) -> tuple[Seconds, NDArray[np.bool_]]:
    """For how many seconds each case's client had a session on a link without a fault, and whether it has one at last.

    Counted from the submission to the verdict or the end.
    """
    sessions = client_sessions(history)
    own, theirs = joint_codes(cases["actor"], sessions["actor"])
    case, session = pairs_of(own, theirs)
    opened, closed = (sessions[name].to_numpy()[session] for name in ("t", "until"))
    low = np.maximum(cases["t"].to_numpy()[case], opened)
    high = np.minimum(cases["until"].to_numpy()[case], closed)
    clear = fault_times(history).clear_s(sessions.take(session), low, high)
    is_last = sessions["closed_by"].isna().to_numpy()[session]
    connected = np.bincount(case, weights=clear, minlength=len(cases))
    at_end = np.bincount(case, weights=is_last, minlength=len(cases)) > 0
    return connected.astype(np.float64), at_end


# --- the stream -------------------------------------------------------------------------------------------------------


def stream_reaches_everyone(history: RunHistory) -> CheckResult:
    """Every session receives the stream to the end of the run, its own end, or the next fault on its link.

    How far the stream is, is what any client has received and what the server logged, :data:`SETTLE_S` before.
    """
    sessions = client_sessions(history)
    if not len(sessions):
        return CheckResult(0, unknown="no client had a session")
    opened, until = sessions["t"].to_numpy(), sessions["until"].to_numpy()
    settle = settle_s(history)
    judged_at = fault_times(history).last_clear(sessions, opened, until)
    reached, own_epoch = _reached(history)
    epoch = _epochs(history, opened)
    epoch = np.where(epoch == MISSING, own_epoch, epoch)
    due = _published(history, epoch, judged_at - settle)
    cases = sessions.assign(reached=reached, due=due, judged_at=judged_at)
    cases = cases[(judged_at - opened >= settle) & (due > NOWHERE)].sort_values("row")
    unknown = None if len(cases) else "no session was long enough"

    def describe(case: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        where = f"{case.actor}: at position {case.reached} of {case.due}"
        if case.closed_by is None:
            return f"{where} at the end"
        return f"{where} in the session of {case.t:.3f} to {case.until:.3f} s"

    return result_of_rows(cases, cases["reached"] < cases["due"], describe, unknown=unknown)


def _reached(history: RunHistory) -> tuple[Codes, Codes]:
    """The last position of each session, and the epoch of its messages, in the order of ``client_sessions``."""
    rows = stream_rows(history)
    delivered = rows["delivered"].to_numpy()
    starts = np.flatnonzero(~delivered & (rows["t"] <= history.end).to_numpy())
    all_starts = np.append(np.flatnonzero(~delivered), len(rows))
    following = all_starts[np.searchsorted(all_starts, starts, side="right")]
    who, seq, epoch = (rows[name].to_numpy() for name in ("who", "seq", "epoch"))
    last = following - 1
    last = np.where(who[last] == who[starts], last, starts)
    return seq[last].astype(np.int64), epoch[last].astype(np.int64)


def _epochs(history: RunHistory, t: Seconds) -> Codes:
    """The number of the epoch that the server of each time announced at its start, or of the only one that there is."""
    starts = select(history, LogEventKind.SERVER_STARTED, role=Role.SERVER, columns=("detail",))
    known = epoch_numbers(history)
    if not len(starts):
        return np.full(len(t), 0 if len(known) == 1 else MISSING, dtype=np.int64)
    numbers = np.append(known.get_indexer(pd.Index(starts["detail"].astype("string"))), MISSING)
    at = np.searchsorted(starts["t"].to_numpy(), t, side="right") - 1
    return np.asarray(numbers[at], dtype=np.int64)


def _published(history: RunHistory, epoch: Codes, t: Seconds) -> Codes:
    """The stream's position in each epoch at each time; :data:`NOWHERE` where nothing was published."""
    marks = pd.concat([_advances(history), _server_marks(history)]).sort_values("t", kind="stable")
    due = np.full(len(t), NOWHERE, dtype=np.int64)
    for number, published in marks.groupby("epoch"):
        times, position = published["t"].to_numpy(), np.maximum.accumulate(published["seq"].to_numpy())
        at = np.searchsorted(times, t, side="right") - 1
        mine = (epoch == number) & (at >= 0)
        due[mine] = position[at[mine]]
    return due


def _advances(history: RunHistory) -> pd.DataFrame:
    """When any client received a position beyond all that clients had received in that epoch."""
    rows = select(history, LogEventKind.STREAM_DELIVERED, role=Role.CLIENT, columns=("seq", "detail"))
    seq = rows["seq"].array.to_numpy(dtype=np.int32, na_value=NOWHERE)
    epoch = numbers_of(epoch_numbers(history), rows["detail"])
    found = [np.empty(0, dtype=np.int64)]
    for number in np.unique(epoch):
        own = np.flatnonzero(epoch == number)
        found.append(own[starts_group(np.maximum.accumulate(seq[own]))])
    at = np.concatenate(found)
    return pd.DataFrame({"epoch": epoch[at], "seq": seq[at].astype(np.int64), "t": rows["t"].to_numpy()[at]})


def _server_marks(history: RunHistory) -> pd.DataFrame:
    """Positions that the server logged when it published a question's opening or close."""
    kinds = (LogEventKind.QUESTION_OPENED, LogEventKind.QUESTION_CLOSED)
    marks = select(history, *kinds, role=Role.SERVER, columns=("seq",)).dropna(subset=["seq"])
    epoch = _epochs(history, marks["t"].to_numpy())
    return pd.DataFrame({"epoch": epoch, "seq": marks["seq"].to_numpy(dtype=np.int64), "t": marks["t"].to_numpy()})
