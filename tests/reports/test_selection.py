"""What the checks share to compare texts and rows by numbers, against the plain way to say the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from reports.checks.selection import MISSING, joint_codes, pairs_of, questions, values_at

TEXTS = st.lists(st.sampled_from(["a", "b", "q1/x", "q1/y", "q2/x", None]), max_size=12)


def _column(texts: list[str | None], *, as_category: bool) -> pd.Series:
    column = pd.Series(texts, dtype="object")
    return column.astype("category") if as_category else column


@given(TEXTS, TEXTS, st.booleans(), st.booleans())
def test_equal_texts_have_equal_numbers_in_all_columns(
    left: list[str | None], right: list[str | None], first: bool, second: bool
) -> None:
    codes = joint_codes(_column(left, as_category=first), _column(right, as_category=second))
    texts, numbers = [*left, *right], np.concatenate(codes)
    for text, number in zip(texts, numbers, strict=True):
        assert (text is None) == (number == MISSING)
        assert [text == other for other in texts] == [number == other for other in numbers]


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_pairs_are_those_of_two_loops(left: list[int], right: list[int]) -> None:
    found = pairs_of(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64))
    assert list(zip(*(side.tolist() for side in found), strict=True)) == [
        (i, j) for i, one in enumerate(left) for j, other in enumerate(right) if one == other
    ]


@given(TEXTS)
def test_a_question_is_what_precedes_the_first_slash(refs: list[str | None]) -> None:
    found = questions(_column(refs, as_category=True))
    assert [None if pd.isna(name) else name for name in found] == [ref and ref.partition("/")[0] for ref in refs]


def test_a_missing_position_has_the_value_that_is_asked_for() -> None:
    at = np.array([1, MISSING, 0])
    assert values_at(np.array([5.0, 7.0]), at, np.inf).tolist() == [7.0, np.inf, 5.0]
    assert values_at(np.array(["x", "y"], dtype=object), at, None).tolist() == ["y", None, "x"]
    assert values_at(np.array([], dtype=np.int64), np.array([MISSING]), 3).tolist() == [3]
