"""Checks of answers and scores: what was acknowledged, committed, scored. Believes clients and the server's log."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.lab.run_directory import RunStatus

from ..checking import CheckResult, named_rows, result_of, result_of_rows
from ..frames import RunHistory, once_per_run
from ..summary import Counterexample
from .selection import (
    MISSING,
    Codes,
    first_position,
    forgotten_identities,
    is_kind,
    joint_codes,
    keys_of,
    pair_keys,
    questions,
    select,
)

CLOCK_TOLERANCE_S = 0.02
"""By how much the clocks of two processes of one machine may disagree; one process has one clock and one order."""

ACCEPTED = "accepted"
KEPT = (ACCEPTED, "duplicate")

NO_ANSWER = "no answer was submitted"

_WORDS = ("actor", "session_id", "outcome", "ref")


@dataclass(frozen=True)
class AnswerRecords:
    """What was submitted, told and durable, each row with the numbers of its participant and of its ref.

    ``submitted`` and ``acks`` are the clients' records, ``durable`` the server's: its commits, and what a restarted
    server found stored. ``session`` and ``answer`` are comparable between the three.
    """

    submitted: pd.DataFrame
    acks: pd.DataFrame
    durable: pd.DataFrame


@once_per_run
def answer_records(history: RunHistory) -> AnswerRecords:
    """The run's records of answers."""
    submitted = select(history, LogEventKind.ANSWER_SUBMITTED, role=Role.CLIENT, columns=(*_WORDS, "cohort"))
    acks = select(history, LogEventKind.ANSWER_ACKED, role=Role.CLIENT, columns=_WORDS)
    kinds = (LogEventKind.ANSWER_COMMITTED, LogEventKind.ANSWER_RECOVERED)
    durable = select(history, *kinds, role=Role.SERVER, columns=(*_WORDS, "kind", "value"))
    is_commit = is_kind(durable, LogEventKind.ANSWER_COMMITTED)
    durable = durable[~is_commit | durable["outcome"].isin([ACCEPTED]).to_numpy(dtype=bool)].reset_index(drop=True)
    tables = (submitted, acks, durable)
    sessions = joint_codes(*(table["session_id"] for table in tables))
    answers = joint_codes(*(table["ref"] for table in tables))
    numbered = zip(tables, sessions, answers, strict=True)
    return AnswerRecords(*(table.assign(session=who, answer=ref) for table, who, ref in numbered))


def durable_answers(history: RunHistory) -> pd.DataFrame:
    """The server's records of durable answers."""
    return answer_records(history).durable


def verdicts(history: RunHistory, *outcomes: str) -> pd.DataFrame:
    """The verdicts that clients received; of these outcomes only where some are given."""
    found = answer_records(history).acks
    return found[found["outcome"].isin(outcomes)].reset_index(drop=True) if outcomes else found


def durable_position(acks: pd.DataFrame, durable: pd.DataFrame) -> Codes:
    """Where each answer first stands among the durable ones of its participant."""
    tables = (acks, durable)
    wanted, known = pair_keys([t["session"].to_numpy() for t in tables], [t["answer"].to_numpy() for t in tables])
    return first_position(wanted, known)


def unless_submitted(history: RunHistory) -> str | None:
    """Why a check of answers does not apply: no client answered."""
    kinds = (LogEventKind.ANSWER_SUBMITTED, LogEventKind.ANSWER_ACKED, LogEventKind.ANSWER_COMMITTED)
    return None if len(select(history, *kinds)) else NO_ANSWER


def acknowledged_answers_kept(history: RunHistory) -> CheckResult:
    """Every accepted answer was committed with its key, and every duplicate's question has a committed answer."""
    acks, durable = verdicts(history, *KEPT), durable_answers(history)
    is_other = durable_position(acks, durable) == MISSING
    committed = np.full(len(acks), None, dtype=object)
    if is_other.any():
        committed[is_other] = _committed_instead(acks[is_other], durable)
    acks = acks.assign(committed=pd.Series(committed, dtype="object"))
    is_lost = is_other & (pd.isna(committed) | (acks["outcome"] == ACCEPTED).to_numpy(dtype=bool))

    def describe(ack: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        where = f"{ack.actor} ({ack.session_id}) at {ack.t:.3f} s: {ack.ref} acknowledged as {ack.outcome}"
        return f"{where}, never committed" if ack.committed is None else f"{where}, {ack.committed} was committed"

    return result_of_rows(acks, is_lost, describe, inapplicable=unless_submitted(history))


def _committed_instead(acks: pd.DataFrame, durable: pd.DataFrame) -> NDArray[np.object_]:
    """The answer to the same question that was committed for each of these participants; None where there is none."""
    theirs = durable[durable["session_id"].isin(acks["session_id"].unique())]
    tables = [pd.DataFrame({"session_id": t["session_id"], "ref": questions(t["ref"])}) for t in (acks, theirs)]
    wanted, known = keys_of(tables, "session_id", "ref")
    found = first_position(wanted, known)
    refs = theirs["ref"].to_numpy(dtype=object)
    return np.array([None if at == MISSING else refs[at] for at in found], dtype=object)


def rejected_answers_not_scored(history: RunHistory) -> CheckResult:
    """An answer whose verdict is a rejection has no commit."""
    acks = verdicts(history)
    rejected = acks[~acks["outcome"].isin(KEPT)].reset_index(drop=True)
    is_scored = durable_position(rejected, durable_answers(history)) != MISSING

    def describe(ack: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        return f"{ack.actor} ({ack.session_id}) at {ack.t:.3f} s: {ack.ref} was rejected as {ack.outcome}, but scored"

    none = None if len(rejected) else "no answer was rejected"
    return result_of_rows(rejected, is_scored, describe, inapplicable=none)


def acknowledged_after_commit(history: RunHistory) -> CheckResult:
    """An answer is acknowledged as accepted only once it is committed, or found committed by a new server.

    Processes of one machine may disagree by :data:`CLOCK_TOLERANCE_S`. A killed process may have lost its last records,
    so in the real lane an answer that only a later server found says nothing about its commit's time.
    """
    acks, durable = verdicts(history, ACCEPTED), durable_answers(history)
    at = durable_position(acks, durable)
    is_real = history.info.lane is Lane.REAL
    judged = at != MISSING
    if is_real and len(durable):
        judged &= is_kind(durable, LogEventKind.ANSWER_COMMITTED)[at]
    acks, at = acks[judged].reset_index(drop=True), at[judged]
    acks = acks.assign(since=durable["t"].to_numpy()[at])
    came_first = acks["row"] < durable["row"].to_numpy()[at]
    is_early = acks["t"] < acks["since"] - CLOCK_TOLERANCE_S if is_real else came_first

    def describe(ack: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        where = f"{ack.actor} at {ack.t:.3f} s: {ack.ref} was acknowledged but not committed"
        return f"{where} before {ack.since:.3f} s"

    return result_of_rows(acks, is_early, describe, inapplicable=unless_submitted(history))


def one_verdict_each(history: RunHistory) -> CheckResult:
    """Each submitted answer gets at most one verdict."""
    acks = verdicts(history)
    (keys,) = pair_keys(joint_codes(acks["actor"]), [acks["answer"].to_numpy()])
    first = ~pd.Series(keys).duplicated().to_numpy()
    again = pd.Series(keys[~first]).value_counts()
    cases = acks.assign(times=1 + again.reindex(keys).fillna(0).to_numpy(dtype=np.int64) if len(again) else 1)[first]
    return result_of_rows(
        cases,
        cases["times"] > 1,
        lambda case: f"{case.actor} got {case.times} verdicts on {case.ref}",
        inapplicable=unless_submitted(history),
    )


def answers_scored_once(history: RunHistory) -> CheckResult:
    """At most one accepted commit per participant and question, and a restarted server finds it unchanged."""
    durable = durable_answers(history)
    durable = durable.assign(question=questions(durable["ref"]), actor=durable["session_id"])
    (keys,) = keys_of((durable,), "session_id", "question")
    at = first_position(keys, keys)
    first = durable.iloc[at].reset_index(drop=True)
    same = (first["ref"].cat.codes == durable["ref"].cat.codes).to_numpy(dtype=bool, copy=True)
    same &= (first["value"] == durable["value"]) | (first["value"].isna() & durable["value"].isna())
    is_again = (at != np.arange(len(durable))) & ~(is_kind(durable, LogEventKind.ANSWER_RECOVERED) & same)
    cases = durable.assign(before=first["t"], first_ref=first["ref"], first_value=first["value"])

    def describe(event: Any) -> str:  # noqa: ANN401 - a named tuple of the table
        where = f"{event.session_id}: question {event.question} scored at {event.before:.3f} s"
        if event.kind == LogEventKind.ANSWER_RECOVERED:
            was = f"as {event.first_ref} with {event.first_value}"
            return f"{where} {was}, found at {event.t:.3f} s as {event.ref}, {event.value}"
        return f"{where} and again at {event.t:.3f} s"

    return result_of_rows(cases, is_again, describe, inapplicable=unless_submitted(history))


def scores_add_up(history: RunHistory) -> CheckResult:
    """Each final score of a server equals the sum of the points of the answers that were durable by then."""
    finals = _final_scores(history)
    durable = durable_answers(history)
    session, final_session = joint_codes(durable["session_id"], finals["session_id"])
    (question,) = joint_codes(questions(durable["ref"]))
    (keys,) = pair_keys((session,), (question,))
    again = pd.Series(keys).duplicated().to_numpy()
    summed = pd.Series(np.where(again, 0.0, durable["value"].fillna(0.0))).groupby(session).cumsum()
    table = pd.DataFrame({"t": durable["t"], "who": session, "summed": summed})
    wanted = pd.DataFrame({"t": finals["t"], "who": final_session})
    total = pd.merge_asof(wanted, table, on="t", by="who")["summed"].fillna(0.0).to_numpy()
    differs = ~np.isclose(finals["value"].to_numpy(dtype=float), total, rtol=1e-9, atol=1e-6)
    irregular = np.isin(final_session, np.unique(session[again]))
    suspects = np.unique(final_session[differs | irregular])
    mine, theirs = durable[np.isin(session, suspects)], finals[np.isin(final_session, suspects)]
    return result_of(len(finals), _wrong_sums(mine, theirs), inapplicable=_unless_final(history))


def _final_scores(history: RunHistory) -> pd.DataFrame:
    return select(history, LogEventKind.SCORE_FINAL, role=Role.SERVER, columns=("kind", "session_id", "value"))


def _unless_final(history: RunHistory) -> str | None:
    """Final scores are records of an orderly end; a run that did not complete has none."""
    return None if history.info.status == RunStatus.COMPLETED else "the run did not complete"


def _wrong_sums(durable: pd.DataFrame, finals: pd.DataFrame) -> list[Counterexample]:
    """Replays these participants' answers and final scores: an answer that is found again replaces its points."""
    scored: dict[str | None, dict[str, float]] = defaultdict(dict)
    wrong: list[Counterexample] = []
    events = pd.concat([durable, finals]).sort_values("t", kind="stable")
    for event in named_rows(events[["t", "kind", "session_id", "ref", "value"]]):
        mine, question = scored[event.session_id], (event.ref or "").partition("/")[0]
        if event.kind != LogEventKind.SCORE_FINAL:
            before = mine.get(question, 0.0) if event.kind == LogEventKind.ANSWER_COMMITTED else 0.0
            mine[question] = before + (event.value or 0.0)
            continue
        stored, summed = event.value, math.fsum(mine.values())
        if stored is None or not math.isclose(stored, summed, abs_tol=1e-6):
            text = (
                f"{event.session_id} at {event.t:.3f} s: stored score {stored}, the committed answers sum to {summed:g}"
            )
            wrong.append(Counterexample(actor=event.session_id, t=event.t, text=text))
    return wrong


def final_scores_complete(history: RunHistory) -> CheckResult:
    """A server that closes in order stores the final score of each of its participants that it has not forgotten.

    Judged for the last server, once it has stored any: a server that dies stores none, which ``server_lives`` finds.
    """
    starts = select(history, LogEventKind.SERVER_STARTED, role=Role.SERVER)
    finals = _final_scores(history)
    last = finals[finals["row"] > int(starts["row"].max())] if len(starts) else finals
    kinds = (LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED)
    known = select(history, *kinds, role=Role.SERVER, columns=("session_id",)).drop_duplicates("session_id")
    if not len(last):
        unknown = "the last server left no final scores" if len(known) else "no participant joined"
        return CheckResult(0, unknown=unknown, inapplicable=_unless_final(history))
    known = known[known["t"] < last["t"].iloc[0]].assign(actor=lambda table: table["session_id"])
    due = ~known["session_id"].isin(list(forgotten_identities(history)))
    missing = due & ~known["session_id"].isin(last["session_id"].dropna().unique())
    return result_of_rows(
        known,
        missing,
        lambda case: f"{case.session_id}: known to the server since {case.t:.3f} s, without a final score at its end",
        inapplicable=_unless_final(history),
    )
