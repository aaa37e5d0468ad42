"""Outage timelines: when each participant of a population has no usable link, as arrays on a grid of instants.

Instants are multiples of :data:`TICK_S` (2^-20 s) in float64. Sums and differences of such numbers are exact up to
:data:`LATEST_S`, so neither the order of additions nor the size of a batch can change a result. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from resilience.units import Instant, Seconds

TICKS_PER_S = 1 << 20
TICK_S: Seconds = 1.0 / TICKS_PER_S
LATEST_S: Instant = float(1 << 20)
"""No outage ends later: twelve days. Participant, instant and kind of an outage then fit into one 64-bit sort key."""

_INSTANT_BITS, _KIND_BITS = 41, 3
_KEY_BITS = _INSTANT_BITS + _KIND_BITS
_BLOCK = 1 << (64 - _KEY_BITS)
"""Participants whose outages one sort can take."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class OutageKind(IntEnum):
    """What an outage does to the connection of its participant.

    ``SILENT``: bytes vanish and no close arrives; a dial gets no answer. ``REFUSED``: the connection is closed at the
    start, dials are refused until the end. ``DEPLOY``: the same, by a server that ends in order and may give advice in
    the close. ``SUSPENDED``: the client itself stands still, as a tab in the background or a sleeping phone does.
    ``TORN``: bytes vanish for good while closes still pass, and every connection is closed at the end. ``FROZEN``: the
    server's process stands still, for all its clients at once; no profile and no trace has that.
    """

    SILENT = 0
    REFUSED = 1
    DEPLOY = 2
    SUSPENDED = 3
    TORN = 4
    FROZEN = 5


_KIND_OF = {kind.value: kind for kind in OutageKind}


class Outage(NamedTuple):
    """One outage of one participant: seconds from the begin of the timeline, ``start`` < ``end``."""

    start: Instant
    end: Instant
    kind: OutageKind


def on_grid(seconds: npt.ArrayLike) -> Floats:
    """The nearest instants of the grid, for numbers of any shape; halves are rounded up."""
    return np.floor(np.asarray(seconds, dtype=np.float64) * TICKS_PER_S + 0.5) / TICKS_PER_S


@dataclass(frozen=True, eq=False)
class OutageTimelines:
    """The outages of ``n`` participants, ``m`` in all, as compressed rows.

    Those of participant ``i`` are at ``ptr[i]:ptr[i + 1]``. ``ptr``: int64 of shape (n + 1,), from 0 to m. ``start``
    and ``end``: float64 of shape (m,), seconds on the grid, in the order of their start within a participant.
    ``kind``: uint8 of shape (m,), values of :class:`OutageKind`. The outages of one participant neither overlap nor
    touch. Raises ``ValueError`` when an array breaks one of these rules. 17 bytes an outage and 8 a participant.
    ``cause``: integers of shape (m,) that tell which physical event an outage is part of, or ``None`` if unknown.
    """

    ptr: Ints
    start: Floats
    end: Floats
    kind: npt.NDArray[np.uint8]
    cause: npt.NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        """Check every rule, in two passes over the arrays."""
        _check_shapes(self)
        _check_values(self)

    @classmethod
    def none(cls, participants: int, cause: npt.NDArray[np.integer] | None = None) -> OutageTimelines:
        """So many participants without an outage; ``cause``: an empty array, where causes are known."""
        empty = np.zeros(0)
        return cls(np.zeros(participants + 1, np.int64), empty, empty, np.zeros(0, np.uint8), cause)

    @classmethod
    def of(cls, outages: Sequence[Sequence[tuple[float, float, int]]]) -> OutageTimelines:
        """From one sequence of ``(start, end, kind)`` for each participant, in any order, overlaps merged."""
        owner = np.repeat(np.arange(len(outages)), [len(each) for each in outages])
        rows = np.array([row for each in outages for row in each], dtype=np.float64).reshape(-1, 3)
        return merged(len(outages), owner, rows[:, 0], rows[:, 1], rows[:, 2].astype(np.uint8))

    @property
    def participants(self) -> int:
        """``n``."""
        return len(self.ptr) - 1

    @property
    def outages(self) -> int:
        """``m``."""
        return len(self.start)

    @property
    def owner(self) -> npt.NDArray[np.int32]:
        """The participant of each outage, int32 of shape (m,)."""
        return np.repeat(np.arange(self.participants, dtype=np.int32), np.diff(self.ptr))

    @property
    def digest(self) -> str:
        """SHA-256 of the four arrays as little-endian bytes, hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.ptr, self.start, self.end, self.kind):
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def of_participant(self, participant: int, first: int | None = None) -> list[Outage]:
        """The outages of one participant, in order; those from the row ``first`` on, if that is given."""
        rows = slice(self.ptr[participant] if first is None else first, self.ptr[participant + 1])
        values = zip(self.start[rows].tolist(), self.end[rows].tolist(), self.kind[rows].tolist(), strict=True)
        return [Outage(start, end, _KIND_OF[kind]) for start, end, kind in values]

    def __iter__(self) -> Iterator[list[Outage]]:
        """The outages of each participant, in order."""
        return map(self.of_participant, range(self.participants))

    def take(self, participants: npt.ArrayLike) -> OutageTimelines:
        """These participants in this order, as a shard or a sample has them; int array-like of shape (k,)."""
        rows = self.rows_of(participants)
        ptr = _ends(np.diff(self.ptr)[np.asarray(participants, dtype=np.int64)])
        cause = None if self.cause is None else self.cause[rows]
        return OutageTimelines(ptr, self.start[rows], self.end[rows], self.kind[rows], cause)

    def rows_of(self, participants: npt.ArrayLike) -> Ints:
        """The rows of the outages of these participants, one participant after the other."""
        chosen = np.asarray(participants, dtype=np.int64)
        return ranges(self.ptr[:-1][chosen], np.diff(self.ptr)[chosen])

    @staticmethod
    def concatenate(parts: Sequence[OutageTimelines]) -> OutageTimelines:
        """The participants of all parts, one part after the other; causes are kept if every part has them."""
        if not parts:
            return OutageTimelines.none(0)
        ptr = _ends(np.concatenate([np.diff(part.ptr) for part in parts]))
        start, end = np.concatenate([part.start for part in parts]), np.concatenate([part.end for part in parts])
        causes = [part.cause for part in parts if part.cause is not None]
        cause = np.concatenate(causes) if len(causes) == len(parts) else None
        return OutageTimelines(ptr, start, end, np.concatenate([part.kind for part in parts]), cause)


def ranges(firsts: Ints, counts: Ints) -> Ints:
    """The numbers ``first, first + 1, ...`` of each pair, ``count`` of them, one pair after the other."""
    ends = _ends(counts)
    return np.repeat(firsts - ends[:-1], counts) + np.arange(ends[-1])


def merged(  # noqa: PLR0913 - the columns of a table
    participants: int,
    owner: npt.ArrayLike,
    start: npt.ArrayLike,
    end: npt.ArrayLike,
    kind: npt.ArrayLike,
    *,
    cause: npt.NDArray[np.integer] | None = None,
) -> OutageTimelines:
    """Timelines from outages in any order, one a row: put on the grid, sorted, those that overlap or touch made one.

    Columns of shape (m,): ``owner`` from 0 to below ``participants``, ``start`` and ``end`` in seconds, ``kind`` values
    of :class:`OutageKind`. An outage that the grid makes empty lasts one tick. A merged outage has the kind of its
    first part, of those that start together the lowest, and likewise its ``cause``; so the result does not depend on
    the order of the rows.
    """
    rows = _Rows(
        np.asarray(owner, dtype=np.int64),
        np.floor(np.asarray(start, dtype=np.float64) * TICKS_PER_S + 0.5),
        np.floor(np.asarray(end, dtype=np.float64) * TICKS_PER_S + 0.5),
        np.asarray(kind, dtype=np.uint8),
        cause,
    )
    _check_rows(participants, rows)
    if participants <= _BLOCK:
        return _merged_block(participants, rows)
    parts = []
    for first in range(0, participants, _BLOCK):
        mine = (rows.owner >= first) & (rows.owner < first + _BLOCK)
        cause = None if rows.cause is None else rows.cause[mine]
        block = _Rows(rows.owner[mine] - first, rows.start[mine], rows.end[mine], rows.kind[mine], cause)
        parts.append(_merged_block(min(_BLOCK, participants - first), block))
    return OutageTimelines.concatenate(parts)


class _Rows(NamedTuple):
    """Outages by column; instants in ticks, as float64."""

    owner: Ints
    start: Floats
    end: Floats
    kind: npt.NDArray[np.uint8]
    cause: npt.NDArray[np.integer] | None


def _merged_block(participants: int, rows: _Rows) -> OutageTimelines:
    if not len(rows.owner):
        return OutageTimelines.none(participants, rows.cause)
    base = rows.owner.astype(np.uint64) << np.uint64(_INSTANT_BITS)
    key = ((base + rows.start.astype(np.uint64)) << np.uint64(_KIND_BITS)) | rows.kind
    order = np.argsort(key)
    if rows.cause is not None and (key[order[1:]] == key[order[:-1]]).any():
        order = np.lexsort((rows.cause, key))
    key = key[order]
    starts = key >> np.uint64(_KIND_BITS)
    ends = (base + np.maximum(rows.end, rows.start + 1).astype(np.uint64))[order]
    # Owners are in the high bits, so the running maximum never carries over to the next participant.
    reached = np.maximum.accumulate(ends)
    begins = np.flatnonzero(np.concatenate(([True], starts[1:] > reached[:-1])))
    last = np.append(begins[1:], len(starts)) - 1
    counts = np.bincount((starts[begins] >> np.uint64(_INSTANT_BITS)).astype(np.int64), minlength=participants)
    kinds = (key[begins] & np.uint64((1 << _KIND_BITS) - 1)).astype(np.uint8)
    cause = None if rows.cause is None else rows.cause[order[begins]]
    return OutageTimelines(_ends(counts), _seconds(starts[begins]), _seconds(reached[last]), kinds, cause)


def _seconds(keyed: npt.NDArray[np.uint64]) -> Floats:
    return (keyed & np.uint64((1 << _INSTANT_BITS) - 1)).astype(np.float64) * TICK_S


def _ends(counts: Ints) -> Ints:
    ptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ptr[1:])
    return ptr


# rules ----------------------------------------------------------------------------------------------------------------


def _check_rows(participants: int, rows: _Rows) -> None:
    _require(
        len({column.shape for column in rows if column is not None}) == 1 and rows.owner.ndim == 1,
        "columns must be of one length",
    )
    _require(_within(rows.owner, 0, participants - 1), f"owner must be from 0 to below {participants}")
    latest = LATEST_S * TICKS_PER_S
    _require(_within(rows.start, 0, latest - 1), f"start must be from 0 to below {LATEST_S:.0f} s")
    _require(_within(rows.end - rows.start, 0, latest), "end must not come before start")
    _require(_within(rows.end, 0, latest), f"end must be at most {LATEST_S:.0f} s")
    _require(_within(rows.kind, 0, max(OutageKind)), "kind must be one of OutageKind")


def _check_shapes(timelines: OutageTimelines) -> None:
    arrays = {"ptr": np.int64, "start": np.float64, "end": np.float64, "kind": np.uint8}
    for name, dtype in arrays.items():
        array = getattr(timelines, name)
        _require(array.ndim == 1 and array.dtype == dtype, f"{name} must be of one dimension and {np.dtype(dtype)}")
    ptr, outages = timelines.ptr, len(timelines.start)
    _require(len(ptr) > 0 and ptr[0] == 0 and ptr[-1] == outages, "ptr must be from 0 to the number of outages")
    _require(bool((ptr[1:] >= ptr[:-1]).all()), "ptr must not decrease")
    _require(len(timelines.end) == len(timelines.kind) == outages, "start, end and kind must be of one length")
    _require(timelines.cause is None or timelines.cause.shape == (outages,), "cause must be of the same length")


def _check_values(timelines: OutageTimelines) -> None:
    start, end = timelines.start, timelines.end
    for name, values in (("start", start), ("end", end)):
        _require(_within(values, 0.0, LATEST_S), f"{name} must be from 0 to {LATEST_S:.0f} s")
        ticks = values * TICKS_PER_S
        _require(bool((ticks == np.floor(ticks)).all()), f"{name} must be on the grid of 2^-20 s")
    _require(bool((start < end).all()), "start must come before end")
    first = np.zeros(len(start) + 1, bool)
    first[timelines.ptr] = True
    apart = (start[1:] > end[:-1]) | first[1:-1]
    _require(bool(apart.all()), "outages of one participant must be in order, apart from one another")
    _require(_within(timelines.kind, 0, max(OutageKind)), "kind must be one of OutageKind")


def _within(values: npt.NDArray[np.generic], least: float, most: float) -> bool:
    """Whether all lie between the two; not-a-number does not."""
    return bool(((values >= least) & (values <= most)).all())  # type: ignore[operator]


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ValueError(f"outage timelines: {rule}")
