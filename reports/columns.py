"""JSON Lines or tables into columns: any record type, no object a row, many files into one frame. Knows no meaning.

Each field of the record type becomes one column:

==================  =========================================================================
field               dtype
==================  =========================================================================
number              float64, NaN where it is absent
integer             Int32
yes or no           boolean
enumeration         category; the categories are the enumeration's values, in its order
text                category; the categories are what occurs, in the order of first occurrence
anything else       object
==================  =========================================================================

Thirty million lines fit into two gigabytes: equal texts are stored once, and chunks are decoded by Arrow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from resilience.errors import EvidenceError
from resilience.eventlog.end_marker import decode_marker
from resilience.lab.manifest import LineScan

_BLOCK_BYTES = 1 << 20
_NARROW = (np.int8, np.int16)
_MANY_TEXTS = 500_000
"""So many texts of single chunks are kept before equal ones are brought together."""

_THREADS = 2
_SMALL_PARTS, _LARGE_PART = 128, 1_000_000

Record = TypeVar("Record", bound=msgspec.Struct)
Seen = TypeVar("Seen")


class Column(Protocol):
    """One column under construction."""

    type: pa.DataType

    def encode(self, values: pa.ChunkedArray) -> Any:  # noqa: ANN401 - what ``add`` takes
        """The values of one chunk in the column's own form, for :meth:`add`. May run in any thread.

        ValueError when one of them is none of this column.
        """

    def add(self, part: Any) -> None:  # noqa: ANN401 - what ``encode`` made
        """Append one chunk."""

    def values(self, order: NDArray[np.intp] | None) -> Any:  # noqa: ANN401 - an array of pandas or numpy
        """All values, in this order of their rows; the column is empty afterwards."""


class _Numbers:
    type = pa.float64()

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float64]] = []

    def encode(self, values: pa.ChunkedArray) -> NDArray[np.float64]:
        return cast("NDArray[np.float64]", values.to_numpy())

    def add(self, part: NDArray[np.float64]) -> None:
        _append(self._parts, part)

    def values(self, order: NDArray[np.intp] | None) -> NDArray[np.float64]:
        return cast("NDArray[np.float64]", _joined(self._parts, order, np.float64))


class _Integers:
    type = pa.int64()

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int32]] = []
        self._missing: list[NDArray[np.bool_]] = []

    def encode(self, values: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        return values.fill_null(0).cast(pa.int32()).to_numpy(), values.is_null().to_numpy()

    def add(self, part: tuple[NDArray[np.int32], NDArray[np.bool_]]) -> None:
        _append(self._parts, part[0])
        _append(self._missing, part[1])

    def values(self, order: NDArray[np.intp] | None) -> pd.arrays.IntegerArray:
        missing = _joined(self._missing, order, np.bool_)
        return pd.arrays.IntegerArray(_joined(self._parts, order, np.int32), missing)


class _Flags:
    type = pa.bool_()

    def __init__(self) -> None:
        self._parts: list[NDArray[np.bool_]] = []
        self._missing: list[NDArray[np.bool_]] = []

    def encode(self, values: pa.ChunkedArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return values.fill_null(fill_value=False).to_numpy(), values.is_null().to_numpy()

    def add(self, part: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
        _append(self._parts, part[0])
        _append(self._missing, part[1])

    def values(self, order: NDArray[np.intp] | None) -> pd.arrays.BooleanArray:
        missing = _joined(self._missing, order, np.bool_)
        return pd.arrays.BooleanArray(_joined(self._parts, order, np.bool_), missing)


class _Words:
    """An enumeration's values: their codes are known beforehand."""

    type = pa.string()

    def __init__(self, words: Sequence[str]) -> None:
        self._words: pd.Index[str] = pd.Index(list(words), dtype="str")
        self._parts: list[NDArray[np.int8]] = []

    def encode(self, values: pa.ChunkedArray) -> NDArray[np.int8]:
        codes, found = _encoded(values)
        places = self._words.get_indexer(pd.Index(found.to_pandas(), dtype="str")).astype(np.int8)
        if (places < 0).any():
            raise ValueError("not a word of the enumeration")
        return _mapped(codes, places)

    def add(self, part: NDArray[np.int8]) -> None:
        _append(self._parts, part)

    def values(self, order: NDArray[np.intp] | None) -> Any:  # noqa: ANN401 - a categorical
        return pd.Categorical.from_codes(_joined(self._parts, order, np.int8), self._words, validate=False)


class _Texts:
    """Any text: each chunk has its own codes, until many texts have come together and equal ones get equal codes."""

    type = pa.string()

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []
        self._known: pa.StringArray = pa.array([], pa.string())
        self._found: list[pa.StringArray] = []
        self._waiting = 0

    def encode(self, values: pa.ChunkedArray) -> tuple[NDArray[Any], pa.StringArray]:
        codes, found = _encoded(values)
        found.validate(full=True)
        return codes, found

    def add(self, part: tuple[NDArray[Any], pa.StringArray]) -> None:
        self._parts.append(part[0])
        self._found.append(part[1])
        self._waiting += len(part[1])
        if self._waiting > max(_MANY_TEXTS, len(self._known)):
            self._unify()

    def _unify(self) -> None:
        """Known texts keep their codes, because they come first."""
        whole = pa.chunked_array([self._known, *self._found], pa.string()).dictionary_encode().combine_chunks()
        places, at = whole.indices.to_numpy().astype(_width(len(whole.dictionary))), len(self._known)
        old = len(self._parts) - len(self._found)
        fresh, self._parts[old:] = self._parts[old:], []
        for i, found in enumerate(self._found):
            fresh[i] = _mapped(fresh[i], places[at : at + len(found)])
            at += len(found)
        self._parts += [np.concatenate(fresh)] if fresh else []
        self._known, self._waiting = whole.dictionary, 0
        self._found.clear()

    def values(self, order: NDArray[np.intp] | None) -> Any:  # noqa: ANN401 - a categorical
        self._unify()
        categories, self._known = pd.Index(self._known.to_pandas(), dtype="str"), pa.array([], pa.string())
        codes = _joined(self._parts, order, _width(len(categories)))
        return pd.Categorical.from_codes(codes, categories, validate=False)


class _Objects:
    def __init__(self, kind: pa.DataType) -> None:
        self.type = kind
        self._parts: list[Any] = []

    def encode(self, values: pa.ChunkedArray) -> list[object]:
        return cast("list[object]", values.to_pylist())

    def add(self, part: list[object]) -> None:
        self._parts += part

    def values(self, order: NDArray[np.intp] | None) -> NDArray[np.object_]:
        whole = np.empty(len(self._parts), dtype=object)
        whole[:] = self._parts
        self._parts.clear()
        return whole if order is None else whole[order]


def _encoded(values: pa.ChunkedArray) -> tuple[NDArray[np.signedinteger[Any]], pa.StringArray]:
    """Codes of the values of one chunk, -1 for a missing one, in the narrowest type; and the texts they stand for."""
    encoded = values.dictionary_encode().unify_dictionaries().combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy()
    return codes.astype(_width(len(encoded.dictionary))), encoded.dictionary


def _mapped(codes: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """``places[codes]``, and -1 where the code is -1."""
    return cast("NDArray[Any]", np.append(places, places.dtype.type(-1))[codes])


def _width(count: int) -> type[np.signedinteger[Any]]:
    return next((narrow for narrow in _NARROW if count <= np.iinfo(narrow).max), np.int32)


def _append(parts: list[Any], part: Any) -> None:  # noqa: ANN401 - any array
    """Small arrays are joined now and then: thousands of them, freed one by one, leave memory in pieces."""
    parts.append(part)
    if len(parts) >= _SMALL_PARTS and len(parts[-_SMALL_PARTS]) < _LARGE_PART:
        parts[-_SMALL_PARTS:] = [np.concatenate(parts[-_SMALL_PARTS:])]


def _joined(parts: list[Any], order: NDArray[np.intp] | None, dtype: Any) -> Any:  # noqa: ANN401 - any array
    whole = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else np.empty(0, dtype)
    parts.clear()
    return whole if order is None else whole[order]


class _Parsed(NamedTuple, Generic[Seen]):
    rows: int
    parts: dict[str, Any]
    seen: Seen


class RecordColumns(Generic[Record]):
    """The records of any number of files as columns; ``record`` says which fields each has, with which types.

    Fields ``without`` a column are checked like the others. ``rows`` counts the records; end markers between other
    lines are left out.
    """

    def __init__(self, record: type[Record], without: Collection[str] = ()) -> None:
        self.record, self._decoder = record, msgspec.json.Decoder(record)
        self._fields = columns_of(record)
        self._columns = {name: column for name, column in self._fields.items() if name not in without}
        self._required = _required(record)
        self._options = pj.ParseOptions(
            explicit_schema=pa.schema([(name, column.type) for name, column in self._fields.items()]),
            unexpected_field_behavior="error",
        )
        self.rows = 0

    def add_file(self, source: str, scan: LineScan, see: Callable[[pa.Table], Seen]) -> list[Seen]:
        """Append a whole file of lines; returns what ``see`` makes of each of its chunks, in their order.

        Chunks are decoded side by side, ``see`` runs in several threads. Raises
        :class:`~resilience.errors.EvidenceError` with ``source`` and the number of the first broken line.
        """

        def jobs() -> Iterator[Callable[[], _Parsed[Seen]]]:
            first = 1
            for lines in scan:
                yield partial(self._parse, source, range(first, scan.lines + 1), lines, see)
                first = scan.lines + 1

        return self._add(jobs())

    def add_tables(
        self, source: str, reads: Iterable[Callable[[], pa.Table]], see: Callable[[pa.Table], Seen]
    ) -> list[Seen]:
        """Append tables with the columns of the record, each read by a call; otherwise as :meth:`add_file`.

        Raises :class:`~resilience.errors.EvidenceError` with ``source`` and the number of the first table, from 1, that
        cannot be read or holds what is no record.
        """
        return self._add(partial(self._load, f"{source}: row group {i}", read, see) for i, read in enumerate(reads, 1))

    def _add(self, jobs: Iterable[Callable[[], _Parsed[Seen]]]) -> list[Seen]:
        with ThreadPoolExecutor(_THREADS) as pool:
            pending: deque[Future[_Parsed[Seen]]] = deque()
            found = []
            for job in jobs:
                pending.append(pool.submit(job))
                if len(pending) > _THREADS:
                    found.append(self._take(pending.popleft().result()))
            return found + [self._take(parsed.result()) for parsed in pending]

    def _load(self, where: str, read: Callable[[], pa.Table], see: Callable[[pa.Table], Seen]) -> _Parsed[Seen]:
        try:
            table = read()
            return self._encode_table(table, len(table), see)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise EvidenceError(f"{where}: not records of this version: {error}") from error

    def _take(self, parsed: _Parsed[Seen]) -> Seen:
        for name, column in self._columns.items():
            column.add(parsed.parts[name])
        self.rows += parsed.rows
        return parsed.seen

    def _parse(self, source: str, numbers: range, lines: bytes, see: Callable[[pa.Table], Seen]) -> _Parsed[Seen]:
        """The lines of these numbers in the file."""
        try:
            return self._encode(lines, len(numbers), see)
        except (pa.ArrowInvalid, ValueError) as error:
            kept = self._without_markers(source, numbers.start, lines)
            if len(kept) < len(lines):
                return self._encode(kept, kept.count(b"\n"), see)
            where = f"{source}:{numbers.start}-{numbers.stop - 1}"
            raise EvidenceError(f"{where}: not records of this version: {error}") from error

    def _encode(self, lines: bytes, count: int, see: Callable[[pa.Table], Seen]) -> _Parsed[Seen]:
        return self._encode_table(self._decode(lines), count, see)

    def _encode_table(self, table: pa.Table, count: int, see: Callable[[pa.Table], Seen]) -> _Parsed[Seen]:
        if len(table) != count or any(table[name].null_count for name in self._required):
            raise ValueError("a line is not one record")
        parts = {name: column.encode(table[name]) for name, column in self._fields.items()}
        return _Parsed(len(table), parts, see(table))

    def _decode(self, lines: bytes) -> pa.Table:
        if not lines:
            return self._options.explicit_schema.empty_table()
        for size in (_BLOCK_BYTES, len(lines) + 1):
            try:
                return pj.read_json(
                    pa.BufferReader(lines), pj.ReadOptions(block_size=size, use_threads=False), self._options
                )
            except pa.ArrowInvalid as error:
                if "straddling" not in str(error):  # a line longer than a block
                    raise
        raise ValueError("a line is too long")

    def _without_markers(self, source: str, first_line: int, lines: bytes) -> bytes:
        """The lines but end markers; EvidenceError names the first that is no record."""
        kept = []
        for number, line in enumerate(lines.splitlines(keepends=True), first_line):
            if decode_marker(line) is None:
                try:
                    self._decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as broken:
                    raise EvidenceError(f"{source}:{number}: not a record of this version: {broken}") from broken
                kept.append(line)
        return b"".join(kept)

    def add_records(self, records: Iterable[Record]) -> None:
        """Append records that were never in a file."""
        kept = list(records)
        lines = msgspec.json.Encoder().encode_lines(kept)
        self._take(self._parse("memory", range(1, len(kept) + 1), lines, len))

    def frame(self, by: str = "t") -> pd.DataFrame:
        """Every row, in the order of ``by``, equal ones as they were added; the columns are empty afterwards."""
        key = self._columns[by].values(None)
        order = None if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")
        others = {name: column for name, column in self._columns.items() if name != by}
        with ThreadPoolExecutor(_THREADS) as pool:
            data = dict(zip(others, pool.map(lambda column: column.values(order), others.values()), strict=True))
        data[by] = key if order is None else key[order]
        return pd.DataFrame({name: data.pop(name) for name in self._columns}, copy=False)


def frame_of(records: Iterable[Record], record: type[Record], without: Collection[str] = ()) -> pd.DataFrame:
    """Records as a frame, in the order of ``t``; fields ``without`` a column are left out."""
    columns = RecordColumns(record, without)
    columns.add_records(records)
    return columns.frame()


def records_of(frame: pd.DataFrame, record: type[Record], fixed: Mapping[str, object]) -> Iterator[Record]:
    """The frame's rows as records; ``fixed`` are fields that are no columns. Slow: an object a row.

    A missing value is the field's default, where it has one.
    """
    columns = [name for name in record.__struct_fields__ if name in frame.columns]
    optional = {field.name for field in msgspec.structs.fields(record) if field.default is not msgspec.NODEFAULT}
    plain = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in columns]
    for row in zip(*plain, strict=True):
        pairs = zip(columns, row, strict=True)
        known = {name: value for name, value in pairs if value is not None or name not in optional}
        yield msgspec.convert({**fixed, **known}, record)


def columns_of(record: type[msgspec.Struct]) -> dict[str, Column]:
    """An empty column for each field of a record type, by its name in files."""
    fields = cast("msgspec.inspect.StructType", msgspec.inspect.type_info(record)).fields
    return {field.encode_name: _column(field.type) for field in fields}


def _required(record: type[msgspec.Struct]) -> list[str]:
    """The fields without which no record is one."""
    fields = cast("msgspec.inspect.StructType", msgspec.inspect.type_info(record)).fields
    return [field.encode_name for field in fields if field.required and not _nullable(field.type)]


def _column(kind: msgspec.inspect.Type) -> Column:
    if isinstance(kind, msgspec.inspect.UnionType):
        some = [part for part in kind.types if not isinstance(part, msgspec.inspect.NoneType)]
        kind = some[0] if len(some) == 1 else kind
    match kind:
        case msgspec.inspect.FloatType():
            return _Numbers()
        case msgspec.inspect.IntType():
            return _Integers()
        case msgspec.inspect.BoolType():
            return _Flags()
        case msgspec.inspect.EnumType(cls=words):
            return _Words([str(word.value) for word in words])
        case msgspec.inspect.StrType():
            return _Texts()
        case _:
            return _Objects(_arrow_type(kind))


def _nullable(kind: msgspec.inspect.Type) -> bool:
    return isinstance(kind, msgspec.inspect.UnionType) and kind.includes_none


def _arrow_type(kind: msgspec.inspect.Type) -> pa.DataType:
    match kind:
        case msgspec.inspect.FloatType():
            return pa.float64()
        case msgspec.inspect.IntType():
            return pa.int64()
        case msgspec.inspect.BoolType():
            return pa.bool_()
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item):
            return pa.list_(_arrow_type(item))
        case _:
            return pa.string()
