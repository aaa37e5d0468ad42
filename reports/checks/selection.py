"""Reads a few columns of a few kinds from a run's history, and compares columns of texts. Knows no rule.

Every table that :func:`select` makes has the column ``row``, the position in the event frame, and is in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role

from ..frames import RunHistory, once_per_run

MISSING = -1
"""The code of a missing text, and the position of a key that is not found."""

MAX_UINT16 = 2**16 - 1

Codes = NDArray[np.int64]


def select(
    history: RunHistory, *kinds: LogEventKind, role: Role | None = None, columns: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows of these kinds, with ``row``, ``t`` and these columns, in order; of one role only when it is given."""
    by_kind = _rows_by_kind(history)
    rows = np.concatenate([by_kind[kind.value] for kind in kinds]) if kinds else np.empty(0, dtype=np.int32)
    if len(kinds) > 1:
        rows.sort()
    if role is not None:
        roles = _arrays(history)["role"]
        rows = rows[roles.codes[rows] == roles.categories.get_loc(role.value)]
    arrays = _arrays(history)
    taken = {name: arrays[name].take(rows) for name in ("t", *columns)}
    return pd.DataFrame({"row": rows, **taken}, copy=False)


@once_per_run
def _arrays(history: RunHistory) -> dict[str, Any]:
    """The columns of the event frame."""
    return {str(name): column.array for name, column in history.frame.items()}


@once_per_run
def forgotten_identities(history: RunHistory) -> frozenset[str]:
    """The participants that the server deleted because they were gone without an answer, after they had gone."""
    columns = ("session_id",)
    deleted = select(history, LogEventKind.SESSION_FORGOTTEN, role=Role.SERVER, columns=columns)["session_id"]
    gone = (LogEventKind.SESSION_LEFT, LogEventKind.SESSION_EXPIRED)
    departed = select(history, *gone, role=Role.SERVER, columns=columns)["session_id"]
    return frozenset(deleted.dropna()) & frozenset(departed.dropna())


@once_per_run
def _rows_by_kind(history: RunHistory) -> dict[str, NDArray[np.int32]]:
    """The positions of each kind's rows in the event frame, in order."""
    kinds = _arrays(history)["kind"]
    order = np.argsort(kinds.codes, kind="stable").astype(np.int32)
    bounds = np.searchsorted(kinds.codes[order], np.arange(len(kinds.categories) + 1))
    found = {str(name): order[bounds[i] : bounds[i + 1]] for i, name in enumerate(kinds.categories)}
    return {kind.value: found.get(kind.value, order[:0]) for kind in LogEventKind}


def joint_codes(*columns: pd.Series) -> list[Codes]:
    """Numbers for texts, the same number for the same text in all columns; :data:`MISSING` where there is none."""
    arrays: list[Any] = [column.array for column in columns]
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns) and all(
        array.categories is arrays[0].categories for array in arrays
    ):
        return [array.codes.astype(np.int64) for array in arrays]
    encoded = [_encoded(array) for array in arrays]
    together = np.asarray(pd.factorize(np.concatenate([texts for _, texts in encoded]))[0], dtype=np.int64)
    numbers = np.split(together, np.cumsum([len(texts) for _, texts in encoded])[:-1])
    return [values_at(own, codes, MISSING) for own, (codes, _) in zip(numbers, encoded, strict=True)]


def _encoded(array: Any) -> tuple[NDArray[Any], NDArray[np.object_]]:  # noqa: ANN401 - an array of pandas or numpy
    """A code for each text, :data:`MISSING` where there is none, and the texts that the codes stand for."""
    if isinstance(array.dtype, pd.CategoricalDtype):
        return array.codes, array.categories.to_numpy(dtype=object)
    codes, texts = pd.factorize(np.asarray(array, dtype=object))
    return codes, np.asarray(texts, dtype=object)


def pair_keys(first: Sequence[Codes], second: Sequence[Codes]) -> list[Codes]:
    """One number for each pair of codes, the same for the same pair in all tables."""
    width = max((int(codes.max(initial=MISSING)) for codes in second), default=0) + 2
    return [(left + 1) * width + right + 1 for left, right in zip(first, second, strict=True)]


def keys_of(tables: Sequence[pd.DataFrame], left: str, right: str) -> list[Codes]:
    """One number for each row's pair of texts in the columns ``left`` and ``right``, comparable between the tables."""
    return pair_keys(joint_codes(*(table[left] for table in tables)), joint_codes(*(table[right] for table in tables)))


def first_position(wanted: Codes, among: Codes) -> Codes:
    """Where each wanted key first stands among the others; :data:`MISSING` where it does not."""
    is_first = ~pd.Series(among).duplicated().to_numpy()
    positions = np.flatnonzero(is_first)
    found = pd.Index(among[is_first]).get_indexer(pd.Index(wanted))
    return np.where(found == MISSING, MISSING, positions[found] if len(positions) else MISSING).astype(np.int64)


def pairs_of(left: Codes, right: Codes) -> tuple[Codes, Codes]:
    """The positions of every pair of equal codes, by the left one and then in the order of the right ones."""
    order = by_group(right)
    first, last = (np.searchsorted(right[order], left, side=side) for side in ("left", "right"))
    count = last - first
    of_left = np.repeat(np.arange(len(left)), count)
    within = np.arange(len(of_left)) - np.repeat(np.cumsum(count) - count, count)
    return of_left, order[np.repeat(first, count) + within].astype(np.int64)


def values_at(values: NDArray[Any], at: NDArray[Any], missing: object) -> NDArray[Any]:
    """The value at each position, and ``missing`` where the position is :data:`MISSING`."""
    last = np.array([missing], dtype=values.dtype)
    found: NDArray[Any] = np.concatenate([values, last])[at]
    return found


def questions(refs: pd.Series) -> pd.Series:
    """The question of each ``"<question>/<key>"``; both are categories."""
    texts = pa.array(refs.cat.categories.to_numpy(dtype=object), pa.string())
    named = pc.replace_substring_regex(texts, "/.*", "").dictionary_encode()
    names = pd.Index(named.dictionary.to_numpy(zero_copy_only=False), dtype="str")
    codes = values_at(named.indices.to_numpy(), refs.cat.codes.to_numpy(), MISSING)
    return pd.Series(pd.Categorical.from_codes(codes, names), index=refs.index)


def by_group(codes: NDArray[Any]) -> NDArray[np.intp]:
    """The order that puts rows of one group together and leaves each group's rows in their order.

    Sorts the lower and then the upper half of each code, as numpy has a fast stable sort for 16 bits only.
    """
    order = np.argsort(codes.astype(np.uint16), kind="stable")
    if codes.max(initial=0) <= MAX_UINT16 and codes.min(initial=0) >= 0:
        return order
    return order[np.argsort((codes[order] >> 16).astype(np.uint16), kind="stable")]


def starts_group(codes: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a group begins, for codes in the order of :func:`by_group`."""
    return np.concatenate([[True], codes[1:] != codes[:-1]]) if len(codes) else np.empty(0, dtype=bool)


def ends_group(codes: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a group ends, for codes in the order of :func:`by_group`."""
    return np.roll(starts_group(codes), -1)


def last_where(condition: NDArray[np.bool_]) -> Codes:
    """For each position the last one up to it where the condition holds; :data:`MISSING` before the first."""
    return np.maximum.accumulate(np.where(condition, np.arange(len(condition)), MISSING), dtype=np.int64)


def is_kind(table: pd.DataFrame, *kinds: LogEventKind) -> NDArray[np.bool_]:
    """Which rows are of these kinds."""
    column: Any = table["kind"].array
    wanted = np.isin(column.categories, [kind.value for kind in kinds])
    return values_at(wanted, column.codes, missing=False)
