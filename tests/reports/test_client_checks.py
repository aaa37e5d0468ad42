"""Observations that agree break no rule; each lie that a client was shown breaks the rule about it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from reports.frames import RunHistory
from reports.invariants import run_checks
from reports.summary import Invariant
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.faults import AnyFault, BlackholeFault, ClientSuspendFault, CutFault, RefuseFault, StallFault
from resilience.lab.observation import Observation, ObservationKind
from resilience.lab.participants import participants_of
from resilience.quiz.game import StoredAnswer
from resilience.quiz.phases import Phase

from ..support.client_world import (
    CLIENT_CHECKS,
    END,
    INFO,
    WORLD,
    A,
    B,
    K,
    Rows,
    history,
    row,
    sound,
    to_line,
    to_observation,
    welcome,
)


def judge_clients(run: RunHistory) -> tuple[Invariant, ...]:
    """What the checks of clients find."""
    return run_checks(run, CLIENT_CHECKS)


def verdicts(rows: Rows, *, stored: bool = True) -> dict[str, Verdict]:
    return {item.name: item.verdict for item in judge_clients(history(rows, stored=stored))}


def but(kind: ObservationKind, **changes: object) -> Callable[[Rows], Rows]:
    """The sound rows, with the first of client A's rows of this kind changed."""
    return lambda rows: _with(rows, kind, lambda found: [msgspec.structs.replace(found, **changes)])


def without(kind: ObservationKind) -> Callable[[Rows], Rows]:
    """The sound rows without that one."""
    return lambda rows: _with(rows, kind, lambda _: [])


def twice(kind: ObservationKind) -> Callable[[Rows], Rows]:
    """The sound rows with that one twice."""
    return lambda rows: _with(rows, kind, lambda found: [found, found])


def _with(rows: Rows, kind: ObservationKind, change: Callable[[Observation], Rows]) -> Rows:
    at = next(i for i, found in enumerate(rows) if found.kind is kind and found.actor == A[0])
    return [*rows[:at], *change(rows[at]), *rows[at + 1 :]]


def plus(*more: Observation) -> Callable[[Rows], Rows]:
    """The sound rows and others."""
    return lambda rows: [*rows, *more]


LIES: list[tuple[str, Callable[[Rows], Rows]]] = [
    ("stream_shown_in_order", twice(K.QUESTION)),
    ("stream_shown_in_order", but(K.QUESTION, seq=9)),
    ("stream_same_for_all", but(K.REVEAL, correct=1)),
    ("restored_hear_what_follows", without(K.LEADERBOARD)),
    ("joined_hear_what_follows", without(K.PRESENCE)),
    ("snapshots_current", but(K.RESTORED, phase=Phase.LEADERBOARD)),
    ("snapshots_current", but(K.RESTORED, question="q2")),
    ("snapshots_current", but(K.RESTORED, seq=1)),
    ("joins_shown_once", plus(row(20.0, B, K.PRESENCE, seq=5, content="+pa"))),
    ("joins_shown", lambda rows: [r for r in rows if r.kind is not K.PRESENCE]),
    ("presence_true", plus(row(20.0, B, K.PRESENCE, seq=5, content="-pa"))),
    ("presence_true", plus(row(20.0, B, K.PRESENCE, seq=5, content="+px"))),
    ("answers_judged_once", twice(K.VERDICT)),
    ("answers_judged_once", but(K.VERDICT, ref="q1/b-0001-1")),
    ("verdicts_in_time", without(K.VERDICT)),
    ("verdicts_in_time", but(K.VERDICT, t=9.0)),
    ("verdicts_match_storage", but(K.VERDICT, outcome="rejected_late")),
    ("verdicts_match_storage", but(K.VERDICT, outcome="duplicate")),
    ("stored_answers_sent", but(K.SENT, answer=1)),
    ("no_answer_before_reveal", but(K.QUESTION, correct=0)),
    ("live_scores_true", but(K.SCORE, score=901)),
    ("live_scores_true", but(K.SCORE, points=1)),
    ("live_scores_true", but(K.RESTORED, score=900)),
    ("scores_shown_at_reveal", without(K.SCORE)),
    (
        "leaderboards_true",
        lambda rows: [
            msgspec.structs.replace(r, content="pa:900") if r.content == "pa:900 pb:900" else r for r in rows
        ],
    ),
    ("leaderboards_true", but(K.LEADERBOARD, content="pa:900 px:900")),
    ("leaderboards_true", but(K.LEADERBOARD, content="pa:900 pb:901")),
    ("previous_answers_true", but(K.RESTORED, answer=None)),
    ("previous_answers_true", but(K.RESTORED, answer=1)),
    ("identities_apart", but(K.RESTORED, participant="pb")),
    ("identities_apart", but(K.RESTORED, name="b-0001")),
    ("sessions_survive", plus(row(20.0, B, K.REFUSED, outcome="unknown"))),
    ("tokens_rotate", but(K.RESTORED, token="pa1")),
    ("newest_connection_wins", but(K.RESTORED, fence=1)),
    ("newest_connection_wins", plus(row(20.0, A, K.SCORE, Phase.REVEAL, "q1", score=900, points=900, stale=True))),
    ("losses_have_causes", but(K.LOST, t=8.0, heard=8.0)),
    ("heartbeats_arrive", lambda rows: [msgspec.structs.replace(r, pings=0) if r.kind is K.OPEN else r for r in rows]),
]


def test_observations_that_agree_break_no_rule() -> None:
    found = verdicts(sound())
    assert list(found) == CLIENT_CHECKS
    applied = {name for name, verdict in found.items() if verdict is Verdict.PASS}
    assert set(found.values()) == {Verdict.PASS, Verdict.NOT_APPLICABLE}
    assert {name for name, _ in LIES} <= applied


@pytest.mark.parametrize("check, lie", LIES)
def test_each_lie_breaks_its_rule(check: str, lie: Callable[[Rows], Rows]) -> None:
    assert verdicts(lie(sound()))[check] is Verdict.FAIL


def test_a_client_that_hears_on_through_a_cut_is_a_doubt_about_the_laboratory() -> None:
    """Its connection outlived the fault that ended it, so it does not cross the faulty link."""
    rows = [r for r in sound() if r.kind is not K.LOST and not (r.actor == A[0] and r.connection == 2)]
    rows.append(row(29.0, A, K.OPEN, epoch="e", since=0.5, heard=29.0, pings=3))
    assert verdicts(rows)["faults_reach_their_links"] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("own", [True, False], ids=["own link", "another link"])
def test_a_loss_to_the_laboratorys_own_proxy_has_a_cause(*, own: bool) -> None:
    run = history(but(K.LOST, t=8.0, heard=8.0)(sound()))
    links = {who.actor: who.link for who in participants_of(WORLD, INFO.seed)}
    link = links[A[0]] if own else "elsewhere"
    failed = LogEvent(7.8, Lane.VIRTUAL, Role.RUNNER, link, LogEventKind.LINK_REPLACED, value=0.5)
    run = RunHistory(run.info, run.experiment, [failed, *run.events], run.observations, run.stored)
    found = {item.name: item.verdict for item in judge_clients(run)}
    assert found["losses_have_causes"] is (Verdict.PASS if own else Verdict.FAIL)


def test_a_connection_that_its_client_replaced_by_choice_has_a_cause() -> None:
    assert verdicts(but(K.LOST, t=8.0, heard=8.0, outcome="slept")(sound()))["losses_have_causes"] is Verdict.PASS


def test_what_ends_after_the_run_is_no_loss() -> None:
    """The laboratory stops the server before the clients."""
    rows = [msgspec.structs.replace(r, kind=K.LOST, t=END + 1) if r.kind is K.OPEN else r for r in sound()]
    assert set(verdicts(rows).values()) == {Verdict.PASS, Verdict.NOT_APPLICABLE}


def test_an_answer_stored_after_the_end_accuses_no_client() -> None:
    """The observation ended with the run, while the clients still answered; one stored before the end is judged."""
    run = history(sound())
    assert run.stored is not None

    def judged(received_at: float) -> Verdict:
        unseen = StoredAnswer("pa", "q2", "a-0001-2", 1, received_at, 0)
        stored = msgspec.structs.replace(run.stored, answers=(*run.stored.answers, unseen))  # type: ignore[type-var, union-attr]
        late = RunHistory(INFO, WORLD, run.events, sound(), stored)
        return {item.name: item.verdict for item in judge_clients(late)}["stored_answers_sent"]

    assert judged(END + 0.2) is Verdict.PASS
    assert judged(END - 0.2) is Verdict.FAIL


def test_without_observations_no_check_applies() -> None:
    assert set(verdicts([]).values()) == {Verdict.NOT_APPLICABLE}


def test_without_a_database_what_needs_it_does_not_apply() -> None:
    found = verdicts(sound(), stored=False)
    needy = {"verdicts_match_storage", "stored_answers_sent", "live_scores_true", "leaderboards_true"}
    assert {found[name] for name in needy} == {Verdict.NOT_APPLICABLE}
    assert Verdict.FAIL not in found.values()


def test_a_snapshot_that_was_the_last_to_pass_owes_nothing() -> None:
    """The link fell silent in the moment in which the snapshot arrived, and the reveal came to the others only."""
    silent = msgspec.structs.replace(WORLD, faults=(BlackholeFault(10.0, ("a",), duration=6.0),))
    rows = [r for r in sound() if not (r.actor == A[0] and r.t > 10.5)]
    last = welcome(10.003, A, 2, 2, phase=Phase.QUESTION, question="q1", answer=0)
    end = row(16.0, A, K.LOST, epoch="e", outcome="closed", since=10.003, heard=10.003, pings=0, connection=2)
    found = {item.name: item.verdict for item in judge_clients(history([*rows, last, end], world=silent))}
    assert Verdict.FAIL not in found.values()


@pytest.mark.parametrize(
    "fault, seq, verdict",
    [
        (StallFault(10.0, ("a",), duration=8.0), 2, Verdict.PASS),
        (ClientSuspendFault(10.0, ("a",), duration=8.0), 2, Verdict.PASS),
        (StallFault(10.0, ("a",), duration=8.0), 1, Verdict.FAIL),
        (RefuseFault(10.0, ("a",), duration=8.0), 2, Verdict.FAIL),
    ],
    ids=["held back", "not read", "older than the fault", "sent when it arrived"],
)
def test_a_snapshot_may_be_as_old_as_a_fault_held_it_back(fault: AnyFault, seq: int, verdict: Verdict) -> None:
    """It arrives at 17.8 s; the other client was shown number 2 at 5 s and number 3 at 15 s."""
    rows = [r for r in sound() if not (r.actor == A[0] and r.t > 10.5)]
    phase = Phase.QUESTION if seq == 2 else Phase.LOBBY
    late = welcome(17.8, A, seq, 2, phase=phase, question="q1" if seq == 2 else None)
    world = msgspec.structs.replace(WORLD, faults=(fault,))
    (found,) = run_checks(history([*rows, late], world=world), ["snapshots_current"])
    assert found.verdict is verdict


@pytest.mark.parametrize(
    "fault, revealed_at, verdict",
    [
        (StallFault(10.0, ("a",), duration=6.0), 12.0, Verdict.PASS),
        (StallFault(10.0, ("a",), duration=6.0), 9.0, Verdict.FAIL),
        (RefuseFault(10.0, ("a",), duration=6.0), 12.0, Verdict.FAIL),
    ],
    ids=["held back", "before the fault", "sent when it arrived"],
)
def test_a_reveal_that_a_fault_held_back_was_sent_before_it_arrived(
    fault: AnyFault, revealed_at: float, verdict: Verdict
) -> None:
    """Client A is shown the reveal at 15 s, as the only one; client B learns the answer from a snapshot before."""
    rows = [r for r in sound() if not (r.actor == B[0] and r.t > 14) and not (r.actor == A[0] and r.connection == 2)]
    rows.append(row(15.0, A, K.REVEAL, Phase.REVEAL, "q1", seq=3, correct=0))
    rows.append(welcome(revealed_at, B, 3, 2, phase=Phase.REVEAL, question="q1", answer=0, correct=0, score=900))
    world = msgspec.structs.replace(WORLD, faults=(fault,))
    (found,) = run_checks(history(rows, world=world), ["no_answer_before_reveal"])
    assert found.verdict is verdict


@pytest.mark.parametrize(
    "fault, verdict",
    [
        (ClientSuspendFault(8.0, ("a",), duration=8.0), Verdict.PASS),
        (ClientSuspendFault(12.0, ("a",), duration=4.0), Verdict.INCONCLUSIVE),
        (StallFault(8.0, ("a",), duration=8.0), Verdict.PASS),
    ],
    ids=["read after its suspension", "suspended after the cut", "arrived after a stall"],
)
def test_what_a_client_reads_late_was_sent_before_the_cut(fault: AnyFault, verdict: Verdict) -> None:
    """It reads at 16 s what came before the cut at 10 s; its connection did not outlive the cut."""
    rows = [r for r in sound() if not (r.actor == A[0] and r.t > 9)]
    rows.append(row(16.0, A, K.LOST, epoch="e", outcome="closed", since=0.5, heard=16.0, pings=1))
    world = msgspec.structs.replace(WORLD, faults=(CutFault(10.0, ("a",)), fault))
    (found,) = run_checks(history(rows, world=world), ["faults_reach_their_links"])
    assert found.verdict is verdict


@pytest.mark.parametrize("number", range(len(sound())))
def test_an_observation_is_the_same_read_back_from_its_line(number: int) -> None:
    shown = sound()[number]
    assert to_observation(to_line(shown)) == shown
