"""Stopping early spends no more than the stated error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.stopping import LEAST_SHARE, MOST_LOOKS, closing_confidence, look_confidence, looks, spent

from ..benchmarks.lab.stopping import StoppingCell, stopping_verdicts

REPETITIONS = st.integers(1, 2000)
CONFIDENCES = st.floats(0.5, 0.999)


@given(REPETITIONS)
def test_looks_are_few_and_the_last_is_at_the_end(repetitions: int) -> None:
    planned = looks(repetitions)
    assert list(planned) == sorted(set(planned))
    assert len(planned) == min(MOST_LOOKS, repetitions)
    assert planned[-1] == repetitions
    assert planned[0] >= 1


@given(REPETITIONS, CONFIDENCES)
def test_the_shares_of_all_looks_add_up_to_the_error(repetitions: int, confidence: float) -> None:
    found = [look_confidence(confidence, done, repetitions) for done in looks(repetitions)]
    shares = sum(1 - one for one in found if one is not None)
    assert shares <= 1 - confidence + 1e-9
    assert shares >= 1 - confidence - LEAST_SHARE * MOST_LOOKS - 1e-9


@given(REPETITIONS, CONFIDENCES, st.data())
def test_an_early_end_has_the_error_that_the_looks_before_it_left(
    repetitions: int, confidence: float, data: st.DataObject
) -> None:
    done = data.draw(st.integers(1, repetitions))
    before = [look_confidence(confidence, look, repetitions) for look in looks(repetitions) if look < done]
    spent_before = sum(1 - one for one in before if one is not None)
    closing = closing_confidence(confidence, done, repetitions)
    assert spent_before + (1 - closing) <= 1 - confidence + 1e-9
    now = look_confidence(confidence, done, repetitions)
    assert now is None or now >= closing - 1e-12


def test_between_looks_nothing_is_decided() -> None:
    assert looks(10) == (2, 4, 6, 8, 10)
    assert [done for done in range(1, 11) if look_confidence(0.95, done, 10) is not None] == [2, 4, 6, 8, 10]
    assert look_confidence(0.95, 1, 1) == pytest.approx(0.95)


def test_the_spending_function_is_that_of_lan_and_demets() -> None:
    """Cumulative error at fifths for 0.05 on one side, as tables of the O'Brien-Fleming type give it."""
    assert [round(spent(0.05, k / 5), 5) for k in range(6)] == [0.0, 0.00001, 0.00194, 0.0114, 0.02843, 0.05]


def test_repetitions_at_the_target_are_decided_wrongly_no_more_often_than_stated() -> None:
    """The benchmark at a small size; without spending the same looks are wrong far more often."""
    cell = StoppingCell(repetitions=10, events=3, size=60, correlation=0.05)
    honest = stopping_verdicts(cell, 0.95, runs=150, seed=1)
    naive = stopping_verdicts(cell, 0.95, runs=150, seed=1, spending=False)
    assert honest.passed <= 0.05 + 0.03
    assert honest.failed <= 0.05 + 0.03
    assert naive.passed + naive.failed > honest.passed + honest.failed


def test_a_system_far_from_its_target_is_decided_early() -> None:
    cell = StoppingCell(repetitions=10, events=3, size=60, correlation=0.05)
    good = stopping_verdicts(cell, 0.995, runs=40, seed=2)
    bad = stopping_verdicts(cell, 0.8, runs=40, seed=3)
    assert good.passed > 0.9
    assert bad.failed > 0.9
    assert max(good.mean_repetitions, bad.mean_repetitions) < 8
