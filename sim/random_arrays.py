"""Keyed random numbers for whole arrays: the numbers of ``resilience.random_streams``, bit for bit.

``fold(keys, "gap", 3)`` is for each key what ``derive_key`` makes of the same words, so a draw of one participant can
be repeated by itself with the scalar functions. The two are apart because ``resilience`` does without NumPy. Arrays of
any shape; words that are arrays are combined element by element.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from resilience.random_streams import derive_key, hash64

Keys = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = (np.uint64(bits) for bits in (30, 27, 31, 11))
_MASK = (1 << 64) - 1
_TO_UNIT = 1.0 / (1 << 53)
_HALF_STEP = 0.5 * _TO_UNIT


def keys_of(seed: int, *words: int | str, last: npt.NDArray[np.integer]) -> Keys:
    """``derive_key(seed, *words, each)`` for each number of ``last``, an array of integers of at least 0."""
    return fold(np.full(last.shape, derive_key(seed, *words), np.uint64), last)


def keys_under(seeds: Keys, *words: int | str | npt.NDArray[np.integer]) -> Keys:
    """``derive_key(each, *words)`` for each of ``seeds``."""
    return fold(seeds, 0, *words)


def fold(keys: Keys, *words: int | str | npt.NDArray[np.integer]) -> Keys:
    """Keys that are one word longer for each of ``words``; the given ones stay as they are."""
    for word in words:
        mixed = keys ^ _as_uint64(word)
        mixed += _GOLDEN
        _mix(mixed)
        keys = mixed
    return keys


def uniforms(keys: Keys, *words: int | str | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """The uniform numbers in [0, 1) of these keys, each longer by ``words``."""
    return (fold(keys, *words) >> _11).astype(np.float64) * _TO_UNIT


def inner_uniforms(keys: Keys, *words: int | str | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """The same, but never 0, which the inverse of an unbounded distribution function cannot take."""
    return np.maximum(uniforms(keys, *words), _HALF_STEP)


def _as_uint64(word: int | str | npt.NDArray[np.integer]) -> np.uint64 | Keys:
    if isinstance(word, np.ndarray):
        return word.astype(np.uint64, copy=False)
    return np.uint64(hash64(word) if isinstance(word, str) else word & _MASK)


def _mix(words: Keys) -> None:
    """The finaliser of splitmix64, in place."""
    words ^= words >> _30
    words *= _FIRST
    words ^= words >> _27
    words *= _SECOND
    words ^= words >> _31
