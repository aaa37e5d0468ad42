"""Group commit, and the tables as the store knows them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from resilience.errors import HarnessError
from resilience.protocol.effects import DeleteParticipant, JoinAttempt, Persist, Row, SessionRow
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from sim.model.clock import SimEnvironment
from sim.model.store import ModelStore


def _store() -> tuple[SimEnvironment, ModelStore, list[tuple[float, list[int]]]]:
    clock = SimEnvironment()
    batches: list[tuple[float, list[int]]] = []

    def settle(batch: Sequence[Persist]) -> None:
        batches.append((clock.now, [order.ticket for order in batch]))
        store.commit_next()

    store = ModelStore(clock, 0.003, settle)
    return clock, store, batches


def _session(who: str) -> SessionRow:
    return SessionRow(who, who, "connected", 1, 1, ("hash",))


def _answer(who: str, question: str, points: int) -> StoredAnswer:
    return StoredAnswer(who, question, "key", 0, 1.0, points)


def _submit(store: ModelStore, ticket: int, _: object) -> None:
    store.submit(Persist(ticket, ()))


def test_orders_that_arrive_during_a_commit_go_together_into_the_next() -> None:
    """The first is alone, the next three share one commit, and each batch takes one latency."""
    clock, store, batches = _store()
    for ticket, when in enumerate((0.000, 0.001, 0.002, 0.0029, 0.020), 1):
        clock.at(when, partial(_submit, store, ticket))
    clock.run_until(1.0)
    assert [tickets for _, tickets in batches] == [[1], [2, 3, 4], [5]]
    assert [when for when, _ in batches] == pytest.approx([0.003, 0.006, 0.023])


def test_no_later_row_takes_back_a_step() -> None:
    """As in the database: a state of an earlier step that is written afterwards changes nothing."""
    clock, store, _ = _store()
    question, lobby = QuizState(Phase.QUESTION, 0, 1, 5.0), QuizState(ends_at=30.0)
    for ticket, state in enumerate((lobby, question, lobby), 1):
        store.submit(Persist(ticket, (state,)))
    clock.run_until(1.0)
    assert store.state == question


def test_what_a_settled_batch_orders_joins_the_very_next_commit() -> None:
    """Orders made by the callback of a commit are part of the next commit, not of the one after."""
    clock = SimEnvironment()
    settled: list[tuple[float, list[int]]] = []

    def settle(batch: Sequence[Persist]) -> None:
        settled.append((clock.now, [order.ticket for order in batch]))
        if len(settled) == 1:
            store.submit(Persist(3, ()))
        store.commit_next()

    store = ModelStore(clock, 0.003, settle)
    store.submit(Persist(1, ()))
    store.submit(Persist(2, ()))
    clock.run_until(1.0)
    assert [tickets for _, tickets in settled] == [[1], [2, 3]]


def test_nothing_is_stored_before_its_commit() -> None:
    """A run that ends with a commit under way has not stored it."""
    clock, store, _ = _store()
    store.submit(Persist(1, (_session("p1"),)))
    clock.run_until(0.0029)
    assert store.sessions == {}
    clock.run_until(0.0031)
    assert list(store.sessions) == ["p1"]


def test_scores_are_sums_of_committed_answers() -> None:
    """Each stored participant has a score, 0 without an answer; a deleted one has none."""
    clock, store, _ = _store()
    rows: tuple[Row, ...] = (
        _session("p1"),
        _session("p2"),
        _session("p3"),
        _answer("p1", "q1", 700),
        _answer("p1", "q2", 0),
        _answer("p1", "q3", 500),
        DeleteParticipant("p3"),
        JoinAttempt("p1", "created"),
    )
    store.submit(Persist(1, rows))
    clock.run_until(1.0)
    assert store.scores() == {"p1": 1200, "p2": 0}
    assert store.attempts == [JoinAttempt("p1", "created")]


def test_a_second_answer_to_a_question_breaks_the_key() -> None:
    """The store would refuse it, so the model says so instead of overwriting."""
    clock, store, _ = _store()
    store.submit(Persist(1, (_answer("p1", "q1", 700), _answer("p1", "q1", 0))))
    with pytest.raises(HarnessError, match="p1 has a stored answer to q1"):
        clock.run_until(1.0)
