"""Outage timelines: their rules, and what merging does to outages in any order."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.profiles.timelines import LATEST_S, TICK_S, Outage, OutageKind, OutageTimelines, merged, on_grid

TICKS = st.integers(0, 200)
OUTAGE = st.tuples(TICKS, st.integers(0, 30), st.sampled_from(OutageKind)).map(
    lambda row: (row[0] * TICK_S, (row[0] + row[1]) * TICK_S, row[2])
)
POPULATION = st.lists(st.lists(OUTAGE, max_size=8), max_size=6)


def merged_slowly(outages: list[tuple[float, float, OutageKind]]) -> list[Outage]:
    """The definition, one outage after the other."""
    result: list[Outage] = []
    for start, end, kind in sorted(outages, key=lambda row: (row[0], row[2])):
        past = max(end, start + TICK_S)
        if result and start <= result[-1].end:
            result[-1] = result[-1]._replace(end=max(past, result[-1].end))
        else:
            result.append(Outage(start, past, kind))
    return result


@given(POPULATION)
def test_overlapping_and_touching_outages_become_one(outages: list[list[tuple[float, float, OutageKind]]]) -> None:
    assert list(OutageTimelines.of(outages)) == [merged_slowly(each) for each in outages]


@given(POPULATION, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_count(outages: list[Any], random: Random) -> None:
    rows = [(owner, *row) for owner, each in enumerate(outages) for row in each]
    random.shuffle(rows)
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    shuffled = merged(len(outages), columns[0].astype(int), columns[1], columns[2], columns[3].astype(int))
    assert shuffled.digest == OutageTimelines.of(outages).digest


@given(POPULATION, st.data())
def test_parts_of_a_population_are_those_of_its_participants(outages: list[Any], data: st.DataObject) -> None:
    whole = OutageTimelines.of(outages)
    cut = data.draw(st.integers(0, len(outages)))
    head, tail = whole.take(range(cut)), whole.take(range(cut, len(outages)))
    assert OutageTimelines.concatenate([head, tail]).digest == whole.digest
    chosen = data.draw(st.lists(st.integers(0, len(outages) - 1), max_size=9)) if outages else []
    assert list(whole.take(chosen)) == [whole.of_participant(i) for i in chosen]
    assert whole.take(range(len(outages))).digest == whole.digest
    assert whole.owner.tolist() == [i for i, each in enumerate(whole) for _ in each]


@given(st.floats(0, LATEST_S / 2), st.floats(0, 1000))
def test_every_instant_is_on_the_grid(start: float, length: float) -> None:
    ((outage,),) = OutageTimelines.of([[(start, start + length, 0)]])
    assert (outage.start / TICK_S).is_integer()
    assert (outage.end / TICK_S).is_integer()
    assert abs(outage.start - start) <= TICK_S / 2
    assert outage.start == on_grid(start)


def test_a_population_larger_than_one_sort_is_exact_at_its_end() -> None:
    participants = (1 << 21) + 5
    last = [participants - 1, 0, participants - 1]
    timelines = merged(participants, last, [7.0 + TICK_S, LATEST_S - 9, 3.0], [9.0, LATEST_S, 7.0], [1, 2, 3])
    assert timelines.of_participant(participants - 1) == [(3.0, 7.0, 3), (7.0 + TICK_S, 9.0, 1)]
    assert timelines.of_participant(0) == [(LATEST_S - 9, LATEST_S, OutageKind.DEPLOY)]
    assert timelines.outages == 3
    assert timelines.end.max() == LATEST_S


def test_no_participants_and_no_outages_are_timelines() -> None:
    assert OutageTimelines.none(3).participants == 3
    assert OutageTimelines.none(0).outages == 0
    assert OutageTimelines.concatenate([]).participants == 0
    assert list(OutageTimelines.of([[], []])) == [[], []]


def arrays(changed: dict[str, Any]) -> dict[str, Any]:
    """Two participants with an outage each, with some arrays replaced."""
    ptr, kind = np.array([0, 1, 2]), np.zeros(2, np.uint8)
    return {"ptr": ptr, "start": np.array([1.0, 1.0]), "end": np.array([2.0, 2.0]), "kind": kind} | changed


@pytest.mark.parametrize(
    "changed, rule",
    [
        ({"ptr": np.array([0, 1, 2], np.int32)}, "ptr must be of one dimension and int64"),
        ({"ptr": np.array([0, 1, 3])}, "ptr must be from 0 to the number of outages"),
        ({"ptr": np.array([0, 3, 2])}, "ptr must not decrease"),
        ({"end": np.array([2.0])}, "must be of one length"),
        ({"kind": np.array([0, len(OutageKind)], np.uint8)}, "kind must be one of OutageKind"),
        ({"start": np.array([1.0, np.nan])}, "start must be from 0"),
        ({"start": np.array([1.0, -1.0])}, "start must be from 0"),
        ({"end": np.array([2.0, 2 * LATEST_S])}, "end must be from 0"),
        ({"end": np.array([2.0, 2.1])}, "on the grid"),
        ({"end": np.array([2.0, 1.0])}, "start must come before end"),
        ({"ptr": np.array([0, 2, 2])}, "apart from one another"),
        ({"ptr": np.array([0, 2, 2]), "start": np.array([1.0, 2.0]), "end": np.array([2.0, 3.0])}, "apart"),
    ],
)
def test_arrays_that_break_a_rule_are_no_timelines(changed: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        OutageTimelines(**arrays(changed))


@pytest.mark.parametrize(
    "columns, rule",
    [
        (([2], [1.0], [2.0], [0]), "owner must be from 0 to below 2"),
        (([-1], [1.0], [2.0], [0]), "owner must be"),
        (([0], [-1.0], [2.0], [0]), "start must be"),
        (([0], [3.0], [2.0], [0]), "end must not come before start"),
        (([0], [3.0], [float("inf")], [0]), "end must"),
        (([0], [3.0], [4.0], [9]), "kind must be"),
        (([0], [3.0, 4.0], [4.0], [1]), "of one length"),
    ],
)
def test_rows_that_break_a_rule_are_not_merged(columns: tuple[list[float], ...], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        merged(2, *columns)
