"""Checks of what clients were shown of the common stream: numbers, broadcasts, presence. Computes no statistic.

A check compares clients with one another, never with the server's own log. It looks for counterexamples and reports
the first and the number of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.lab.observation import ObservationKind
from resilience.quiz.phases import Phase

from ..checking import CheckResult, records, result_of
from ..summary import Counterexample
from .client_evidence import ClientEvidence, of_clients
from .held_back import held_back_s
from .selection import MISSING, Codes, pair_keys, select, starts_group, values_at

_PHASES = (
    ObservationKind.QUESTION,
    ObservationKind.REVEAL,
    ObservationKind.LEADERBOARD,
    ObservationKind.FINISHED,
)
NO_NUMBER = -(2**31)
"""Before the first snapshot of a connection."""

_JOIN, _AWAY = "+", ("-", "!")


def found(checked: int, problems: Sequence[str], nothing: str) -> CheckResult:
    """The result of a check with these counterexamples; ``nothing``: why it does not apply when nothing was checked."""
    cases = (Counterexample(actor=None, t=None, text=text) for text in problems)
    return result_of(checked, cases, inapplicable=None if checked else nothing)


# numbers --------------------------------------------------------------------------------------------------------------


@of_clients
def stream_shown_in_order(evidence: ClientEvidence) -> CheckResult:
    """Over each connection a client is shown the numbers after its snapshot, each once, in order."""
    rows = evidence.stream
    seq, keys = rows["seq"].to_numpy(dtype=np.int64), evidence.connection_keys(rows)
    snapshot = evidence.connections["seq"].fillna(NO_NUMBER).to_numpy(dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    begun = values_at(snapshot, evidence.connection_of(rows), NO_NUMBER)[order]
    before = np.empty(len(rows), dtype=np.int64)
    before[order] = np.where(starts_group(keys[order]), begun, np.roll(seq[order], 1))
    wrong = rows.assign(before=before)[(before == NO_NUMBER) | (seq != before + 1)]
    problems = [
        f"{row.actor} at {row.t:.3f} s, connection {row.connection}: was shown number {row.seq} after "
        f"{'no snapshot' if row.before == NO_NUMBER else row.before}"
        for row in records(wrong)
    ]
    return found(len(rows), problems, "no client was shown a numbered message")


@of_clients
def stream_same_for_all(evidence: ClientEvidence) -> CheckResult:
    """The message of one number of an epoch is the same for all clients."""
    rows = evidence.stream.dropna(subset="epoch")
    shown = rows[["kind", "question", "correct", "content"]].astype("string").fillna("-")
    rows = rows.assign(shown=shown["kind"] + " " + shown["question"] + " " + shown["correct"] + " " + shown["content"])
    variants = rows.drop_duplicates(["epoch", "seq", "shown"])
    twice = variants[variants.duplicated(["epoch", "seq"])]
    problems = [
        f"{row.actor} at {row.t:.3f} s: number {row.seq} of epoch {row.epoch} was {row.shown!r}, to others another"
        for row in records(twice)
    ]
    return found(len(rows), problems, "no client was shown a numbered message")


# broadcasts -----------------------------------------------------------------------------------------------------------


@of_clients
def restored_hear_what_follows(evidence: ClientEvidence) -> CheckResult:
    """A restored client is shown every message that other clients are shown, until its next fault or the end."""
    chosen = evidence.connections[evidence.connections["restored"]]
    return _hears(evidence, chosen, "restored", "no client was restored and then a message was sent")


@of_clients
def joined_hear_what_follows(evidence: ClientEvidence) -> CheckResult:
    """A client that has joined is shown every message that other clients are shown, until its next fault or the end."""
    chosen = evidence.connections[~evidence.connections["restored"]]
    return _hears(evidence, chosen, "joined", "no client joined and then a message was sent")


def _hears(evidence: ClientEvidence, connections: pd.DataFrame, how: str, nothing: str) -> CheckResult:
    due = _expected(evidence, connections)
    shown = _distinct_shown(evidence, due)
    deaf = due.assign(shown=shown)[shown < due["expected"].to_numpy()]
    problems = [
        f"{row.actor} ({row.participant}), {how} at {row.since:.3f} s as connection {row.connection}: was shown "
        f"{row.shown} of the {row.expected} messages that others were shown after "
        f"number {row.seq} of epoch {row.epoch}, up to {row.last}"
        for row in records(deaf)
    ]
    return found(len(due), problems, nothing)


def _distinct_shown(evidence: ClientEvidence, due: pd.DataFrame) -> Codes:
    """How many different numbers after its snapshot, up to ``last``, each of these connections showed."""
    stream = evidence.stream
    place = np.full(len(evidence.connections) + 1, MISSING)
    place[due.index] = np.arange(len(due))
    at, seq = place[evidence.connection_of(stream)], stream["seq"].fillna(NO_NUMBER).to_numpy(dtype=np.int64)
    first, last = (values_at(due[name].to_numpy(dtype=np.int64), at, 0) for name in ("seq", "last"))
    counted = (at != MISSING) & (seq > first) & (seq <= last)
    (keys,) = pair_keys([at[counted]], [seq[counted]])
    is_first = ~pd.Series(keys).duplicated().to_numpy()
    return np.bincount(at[counted][is_first], minlength=len(due)).astype(np.int64)


def _expected(evidence: ClientEvidence, connections: pd.DataFrame) -> pd.DataFrame:
    """Connections with what they must show: ``expected`` messages up to number ``last``; without those that owe none.

    One that began while a fault held owes none: its snapshot may have been the last that passed.
    """
    connections = connections[~connections["faulty"]]
    judged_until = connections["calm_until"] - evidence.settle
    last, expected = np.zeros(len(connections), dtype=np.int64), np.zeros(len(connections), dtype=np.int64)
    for epoch, positions in evidence.positions.items():
        mine = (connections["epoch"] == epoch).to_numpy()
        # in the order of numbers: a number counts once it and all before it were shown to some client
        times = np.maximum.accumulate(positions["t"].to_numpy())
        seqs = positions["seq"].to_numpy(dtype=np.int64)
        reached = np.searchsorted(times, judged_until[mine].to_numpy(), side="right")
        begun = np.searchsorted(seqs, connections.loc[mine, "seq"].to_numpy(dtype=np.int64), side="right")
        expected[mine] = reached - begun
        last[mine] = np.where(reached > 0, seqs[np.maximum(reached - 1, 0)], 0)
    made = connections.assign(last=last, expected=expected)
    return made[made["expected"] > 0]


# snapshots in the stream ----------------------------------------------------------------------------------------------


@of_clients
def snapshots_current(evidence: ClientEvidence) -> CheckResult:
    """A snapshot has the phase and question of its position, which is not behind what others were shown before.

    It may be as old as a fault held it back on its way.
    """
    snapshots = evidence.of(ObservationKind.JOINED, ObservationKind.RESTORED)
    steps = evidence.of(*_PHASES)
    steps = steps[~steps.duplicated(["epoch", "seq"])].sort_values("seq", kind="stable")
    problems: list[str] = []
    for epoch, positions in evidence.positions.items():
        mine = snapshots[(snapshots["epoch"] == epoch).to_numpy(dtype=bool)]
        own_steps = steps[(steps["epoch"] == epoch).to_numpy(dtype=bool)]
        late = evidence.settle + held_back_s(evidence.history, mine["actor"], mine["t"].to_numpy())
        problems += _behind(mine, positions, late) + _of_another_phase(mine, own_steps, positions)
    return found(len(snapshots), problems, "no client was shown a snapshot")


def _behind(snapshots: pd.DataFrame, positions: pd.DataFrame, late_s: NDArray[np.float64]) -> list[str]:
    """Snapshots at a number before one that another client had been shown ``late_s`` seconds earlier."""
    times, seqs = np.maximum.accumulate(positions["t"].to_numpy()), positions["seq"].to_numpy(dtype=np.int64)
    reached = np.append(0, seqs)[np.searchsorted(times, snapshots["t"].to_numpy() - late_s, side="right")]
    late = snapshots.assign(reached=reached)[reached > snapshots["seq"].to_numpy(dtype=np.int64)]
    return [
        f"{row.actor} at {row.t:.3f} s: its snapshot is at number {row.seq}, others were shown {row.reached} before"
        for row in records(late)
    ]


def _of_another_phase(snapshots: pd.DataFrame, steps: pd.DataFrame, positions: pd.DataFrame) -> list[str]:
    """Snapshots of another phase or question than the last step before them, where no number between is unknown."""
    seqs, at = positions["seq"].to_numpy(dtype=np.int64), snapshots["seq"].to_numpy(dtype=np.int64)
    step_seqs = steps["seq"].to_numpy(dtype=np.int64)
    step = np.searchsorted(step_seqs, at, side="right") - 1
    begun = np.append(step_seqs, 0)[step]
    seen = np.searchsorted(seqs, at, side="right") - np.searchsorted(seqs, begun, side="left")
    judged = (step >= 0) & (seen == at - begun + 1)
    phases, questions = steps["phase"].to_numpy(), steps["question"].to_numpy()
    problems = []
    for row, i in zip(records(snapshots[judged]), step[judged], strict=True):
        has_question = phases[i] in {Phase.QUESTION, Phase.REVEAL}
        if row.phase != phases[i] or (has_question and row.question != questions[i]):
            stream = f"{phases[i]} {questions[i] or ''}".strip()
            problems.append(
                f"{row.actor} at {row.t:.3f} s: its snapshot says {row.phase} {row.question or ''}, the stream {stream}"
            )
    return problems


# presence -------------------------------------------------------------------------------------------------------------


def presence_is_counted(evidence: ClientEvidence) -> str | None:
    """Why no client can be shown the presence of another; None where it can."""
    cap, clients = evidence.history.experiment.server.participants_cap, evidence.history.experiment.clients
    return f"above {cap} participants presence is shown as a count" if clients > cap else None


@of_clients
def joins_shown_once(evidence: ClientEvidence) -> CheckResult:
    """A participant is announced as new in one message, once to each receiver; its return is silent."""
    news = evidence.presence
    news = news[news["sign"] == _JOIN]
    problems = [
        f"{row.actor} at {row.t:.3f} s: {row.about} was announced as new a second time"
        for row in records(news[news.duplicated(["actor", "about"])])
    ]
    messages = news.drop_duplicates(["about", "epoch", "seq"])
    problems += [
        f"{row.about}: announced as new again at {row.t:.3f} s, as number {row.seq} of epoch {row.epoch}"
        for row in records(messages[messages.duplicated("about")])
    ]
    return found(len(news), problems, presence_is_counted(evidence) or "no client was shown a new participant")


@of_clients
def joins_shown(evidence: ClientEvidence) -> CheckResult:
    """A participant that stays is announced to the clients that were there before it.

    After a kill of the server it may be known already: the reply to its first join was lost with that server. So may
    one that had a connection before: the reply was lost on the link.
    """
    if why := presence_is_counted(evidence):
        return CheckResult(0, inapplicable=why)
    news = evidence.presence
    opened = select(
        evidence.history, LogEventKind.TRANSPORT_OPENED, role=Role.CLIENT, columns=("actor", "connection_no")
    )
    first = opened.groupby("actor", observed=True)["connection_no"].min().to_dict()
    announced = set(news.loc[news["sign"] == _JOIN, "about"])
    limit = evidence.history.experiment.server.presence_interval + evidence.settle
    calm = evidence.connections[~evidence.connections["faulty"]]
    kills = evidence.windows.loc[evidence.windows["links"].isna(), "start"]
    joined = calm[~calm["restored"] & (calm["calm_until"] >= calm["since"] + limit) & ~(calm["since"] > kills.min())]
    judged = [
        row
        for row in records(joined)
        if first.get(row.actor, row.connection) == row.connection
        and ((calm["since"] < row.since) & (calm["calm_until"] >= row.since + limit)).any()
    ]
    problems = [
        f"{row.actor} ({row.participant}): joined at {row.since:.3f} s, and no client was shown it within {limit:.1f} s"
        for row in judged
        if row.participant not in announced
    ]
    return found(len(judged), problems, "no client joined while another was there and stayed")


@of_clients
def presence_true(evidence: ClientEvidence) -> CheckResult:
    """Only participants are shown, and none as away that has been connected since long before."""
    changes = evidence.presence.drop_duplicates(["epoch", "seq", "content"])
    connections = evidence.connections
    known = set(connections["participant"]) | set(evidence.stored.scores if evidence.stored else ())
    strangers = changes[~changes["about"].isin(known)] if evidence.stored else changes[:0]
    problems = [
        f"{row.actor} at {row.t:.3f} s: was shown {row.about}, no such participant" for row in records(strangers)
    ]
    by_id = dict(iter(connections.groupby("participant")))
    for row in records(changes[changes["sign"].isin(_AWAY) & changes["about"].isin(list(by_id))]):
        own = by_id[row.about]
        is_calm = (own["calm_until"] > row.t) & ~own["faulty"]
        alive = own[is_calm & (own["since"] < row.t - evidence.settle) & (own["heard"] >= row.t)]
        problems += [
            f"{row.actor} at {row.t:.3f} s: was shown {row.about} ({held.actor}) as away, "
            f"connected since {held.since:.3f} s"
            for held in records(alive)
        ]
    return found(len(changes), problems, presence_is_counted(evidence) or "no client was shown a change of presence")
