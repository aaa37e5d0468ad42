"""Arrays of keyed random numbers are the scalar ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resilience.random_streams import derive_key, uniform
from sim.random_arrays import fold, inner_uniforms, keys_of, keys_under, uniforms

WORD = st.integers(-(2**64), 2**64) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(st.integers(0, 2**64 - 1), st.lists(WORD, max_size=3), st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_keys_are_those_of_the_scalar_form(seed: int, words: list[int | str], last: list[int]) -> None:
    keys = keys_of(seed, *words, last=np.array(last, np.int64))
    assert keys.tolist() == [derive_key(seed, *words, each) for each in last]


@given(st.integers(), st.lists(WORD, min_size=1, max_size=4), st.lists(st.integers(0, 2**32), min_size=1, max_size=4))
def test_longer_keys_and_uniform_numbers_are_those_of_the_scalar_form(
    seed: int, words: list[int | str], incidents: list[int]
) -> None:
    column = np.array(incidents, np.int64)
    keys = keys_of(seed, "p", last=column)
    scalar = [derive_key(seed, "p", each) for each in incidents]
    assert fold(keys, *words).tolist() == [derive_key(seed, "p", each, *words) for each in incidents]
    assert uniforms(keys, *words, column).tolist() == [uniform(seed, "p", each, *words, each) for each in incidents]
    assert keys.tolist() == scalar


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), st.lists(WORD, max_size=3))
def test_keys_under_seeds_are_those_of_the_scalar_form(seeds: list[int], words: list[int | str]) -> None:
    keys = keys_under(np.array(seeds, np.uint64), *words)
    assert keys.tolist() == [derive_key(seed, *words) for seed in seeds]


def test_an_inner_number_is_above_zero_and_else_the_same() -> None:
    keys = keys_of(1, last=np.arange(1000))
    assert inner_uniforms(keys, "a").tolist() == uniforms(keys, "a").tolist()
    assert inner_uniforms(np.zeros(1, np.uint64)).tolist() == [2.0**-54]
