"""Who failed, where and why: the affected episodes without return, grouped by window, outcome and cause.

The cause is what the client itself recorded last between the fault and the end of its episode. Judges nothing and
knows no page.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind, Outcome, Role

from .checks.selection import select
from .frames import RunHistory
from .summary import FailureGroup

FIRST_NAMES = 10
"""How many participants of a group are named."""

_LAST_RECORDS: dict[LogEventKind, str] = {
    LogEventKind.TRANSPORT_OPENING: "a dial was under way",
    LogEventKind.TRANSPORT_OPENED: "connected, but no session followed",
    LogEventKind.TRANSPORT_FAILED: "the last dial failed",
    LogEventKind.TRANSPORT_LOST: "the last connection was lost",
    LogEventKind.PEER_DEAD: "the server did not answer a probe",
    LogEventKind.SESSION_REJECTED: "the server rejected the session",
    LogEventKind.CLIENT_DISMISSED: "the server closed the connection for good",
}
"""What a client recorded last, in words; the record's own cause is added."""

_CORRUPT = "the restored state differs from the server's"
_UNKNOWN = "the client recorded nothing after the fault"


def failure_groups(history: RunHistory, episodes: pd.DataFrame) -> tuple[FailureGroup, ...]:
    """The failed episodes in groups, the largest first; ``episodes`` as made by :mod:`reports.episodes`."""
    columns = ["fault_id", "kind", "cohort", "participant", "outcome", "fault_at", "ended_at", "attempts"]
    failed = episodes.loc[episodes["affected"] & ~episodes["returned"], columns].reset_index(drop=True)
    if failed.empty:
        return ()
    texts = ["fault_id", "kind", "cohort", "participant", "outcome"]
    failed = failed.astype(dict.fromkeys(texts, "str"))
    failed["cause"] = _causes(history, failed)
    failed["attempts"] = failed["attempts"].fillna(0).astype("int64")
    keys = ["fault_id", "kind", "cohort", "outcome", "cause"]
    groups = [_group(rows) for _, rows in failed.groupby(keys, sort=True)]
    return tuple(sorted(groups, key=lambda group: -group.episodes))


def _group(rows: pd.DataFrame) -> FailureGroup:
    names = rows["participant"].sort_values().iloc[:FIRST_NAMES]
    shared = rows.iloc[0]
    return FailureGroup(
        fault_id=str(shared["fault_id"]),
        kind=str(shared["kind"]),
        cohort=str(shared["cohort"]),
        outcome=str(shared["outcome"]),
        cause=str(shared["cause"]),
        episodes=len(rows),
        least_dials=int(rows["attempts"].min()),
        most_dials=int(rows["attempts"].max()),
        participants=tuple(str(name) for name in names),
    )


def _causes(history: RunHistory, failed: pd.DataFrame) -> pd.Series:
    """The cause of each failed episode, in words."""
    last = _last_records(history, failed)
    words = last["kind"].astype(object).map({kind.value: text for kind, text in _LAST_RECORDS.items()})
    detail = last["cause"].astype(object).fillna("").astype(str)
    said = words.astype(object) + np.where(detail == "", "", ": " + detail)
    return said.fillna(_UNKNOWN).mask(failed["outcome"] == Outcome.CORRUPT.value, _CORRUPT).astype(str)


def _last_records(history: RunHistory, failed: pd.DataFrame) -> pd.DataFrame:
    """``kind`` and ``cause`` of what each client recorded last, no earlier than the fault; missing where nothing."""
    records = select(history, *_LAST_RECORDS, role=Role.CLIENT, columns=("actor", "kind", "cause")).drop(columns="row")
    names = pd.Index(failed["participant"].unique())
    actors = records["actor"].astype("category")
    known = names.get_indexer(pd.Index(actors.cat.categories.astype(str)))
    records = records.assign(who=known[actors.cat.codes.to_numpy()], kind=records["kind"].astype(str))
    records = records[records["who"] >= 0].astype({"who": "int64"})
    wanted = pd.DataFrame({"who": names.get_indexer(failed["participant"]).astype("int64"), "at": failed["ended_at"]})
    wanted = wanted.reset_index(names="row").sort_values("at", kind="stable")
    found = pd.merge_asof(wanted, records, left_on="at", right_on="t", by="who")
    found = found.set_index("row").reindex(failed.index)
    recent = found["t"] >= failed["fault_at"]
    return found[["kind", "cause"]].where(recent)
