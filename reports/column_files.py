"""Records as a Parquet file, and back: what a simulator may write instead of JSON Lines. Knows types, not meaning.

Each field of the record type is one column, as :mod:`reports.columns` reads it: numbers are float64, integers int32,
enumerations and other texts are dictionaries of strings. Null is what a line leaves out: a default, where the record
type omits defaults, and a number that is not finite. Rows are in the order in which they were written, in row groups of
at most :data:`GROUP_ROWS`.

The file's metadata hold, under the key ``marker``, the end marker that the same records have as lines: the number of
rows and the SHA-256 of all bytes before the footer. A file that its writer did not finish has no footer: none of it
can be read.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resilience.errors import EvidenceError
from resilience.eventlog.end_marker import EndMarker, RunningDigest, decode_marker, encode_marker
from resilience.eventlog.vocabulary import LogEvent
from resilience.lab.manifest import CHUNK_BYTES, EvidenceFile, inspect_file
from resilience.lab.recording import LogFormat

from .columns import columns_of
from .parquet import TEXT, parquet_writer

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SUFFIX = ".parquet"
GROUP_ROWS = 1 << 20
"""A writer and a reader keep about a hundred bytes for each row of a group."""

_BATCH_ROWS = 1 << 15
"""So many records are kept as objects before they become columns."""

_MARKER, _TAIL_BYTES = b"marker", 8
_STORED = {pa.string(): TEXT, pa.int64(): pa.int32()}

Record = TypeVar("Record", bound=msgspec.Struct)


def schema_of(record: type[msgspec.Struct]) -> pa.Schema:
    """The columns of a file of such records."""
    return pa.schema([(name, _STORED.get(column.type, column.type)) for name, column in columns_of(record).items()])


# writing --------------------------------------------------------------------------------------------------------------


class _DigestedFile(io.RawIOBase):
    """A file that digests what is written to it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self.digest = path.open("wb"), RunningDigest()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Append bytes."""
        view = memoryview(data)
        self._file.write(view)
        self.digest.add(view, 0)
        return view.nbytes

    def tell(self) -> int:
        """How many bytes were written."""
        return self.digest.bytes

    def flush(self) -> None:
        """Pass the bytes to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            try:
                super().close()
            finally:
                self._file.close()


class ColumnWriter(Generic[Record]):
    """Writes records to one Parquet file; :meth:`close` it. Memory is bounded by one row group.

    Every method raises :class:`OSError` when the file cannot be written.
    """

    def __init__(self, path: Path, record: type[Record]) -> None:
        self._schema, self._rows = schema_of(record), 0
        self._fields = msgspec.structs.fields(record)
        self._omits_defaults = record.__struct_config__.omit_defaults
        self._records: list[Record] = []
        self._batches: list[pa.Table] = []
        self._file = _DigestedFile(path)
        self._writer = parquet_writer(self._file, self._schema)

    def write(self, event: Record) -> None:
        """Write one record."""
        self._records.append(event)
        if len(self._records) >= _BATCH_ROWS:
            self._write_batch()

    def write_table(self, table: pa.Table) -> None:
        """Write many records; the table has the columns of :func:`schema_of`."""
        self._write_batch()
        for start in range(0, len(table), GROUP_ROWS):
            self._keep(table.slice(start, GROUP_ROWS))

    def flush(self) -> None:
        """Nothing: a reader can use no part of an unfinished file."""

    def close(self) -> None:
        """Write what is left, then the footer with the end marker."""
        try:
            self._write_batch()
            self._write_group()
            marker = EndMarker(self._rows, self._file.digest.marker.sha256)
            self._writer.add_key_value_metadata({_MARKER: encode_marker(marker)})
            self._writer.close()
        finally:
            self._file.close()

    def _write_batch(self) -> None:
        if self._records:
            columns = [
                _array(self._values(field), stored.type)
                for field, stored in zip(self._fields, self._schema, strict=True)
            ]
            self._records.clear()
            self._keep(pa.Table.from_arrays(columns, schema=self._schema))

    def _values(self, field: msgspec.structs.FieldInfo) -> list[object]:
        values = [getattr(record, field.name) for record in self._records]
        return [None if value is field.default else value for value in values] if self._omits_defaults else values

    def _keep(self, batch: pa.Table) -> None:
        if sum(map(len, self._batches)) + len(batch) > GROUP_ROWS:
            self._write_group()
        self._batches.append(batch)

    def _write_group(self) -> None:
        if self._batches:
            group = pa.concat_tables(self._batches).unify_dictionaries().combine_chunks()
            self._batches.clear()
            self._writer.write_table(group, GROUP_ROWS)
            self._rows += len(group)


def _array(values: list[object], kind: pa.DataType) -> pa.Array:
    if kind == TEXT:
        return pa.array(values, pa.string()).dictionary_encode()
    whole = pa.array(values, kind)
    return pc.if_else(pc.is_finite(whole), whole, None) if pa.types.is_floating(kind) else whole


# reading --------------------------------------------------------------------------------------------------------------


def is_column_file(path: str) -> bool:
    """Whether this evidence file, by its path below the run directory, is one of records as columns."""
    return "/" in path and path.endswith(SUFFIX)


def inspect_evidence(run_dir: Path, path: str) -> EvidenceFile:
    """One evidence file of any format as it is now."""
    return _inspect_columns(run_dir, path) if is_column_file(path) else inspect_file(run_dir, path)


def _inspect_columns(run_dir: Path, path: str) -> EvidenceFile:
    whole = run_dir / path
    metadata = _metadata(whole)
    with whole.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        footer = _footer_bytes(file, size) if metadata is not None else 0
        file.seek(0)
        digest, left = RunningDigest(), size - footer
        while left:
            chunk = file.read(min(left, CHUNK_BYTES))
            digest.add(chunk, 0)
            left -= len(chunk)
        rest = file.read()
    rows = 0 if metadata is None else metadata.num_rows
    marker = None if metadata is None else decode_marker((metadata.metadata or {}).get(_MARKER, b""))
    return EvidenceFile(
        path=path,
        bytes=size,
        sha256=digest.followed_by(rest),
        lines=rows,
        complete=marker == EndMarker(rows, digest.marker.sha256),
    )


def _metadata(path: Path) -> pq.FileMetaData | None:
    """What the footer says; None where there is no footer."""
    with contextlib.suppress(OSError, pa.ArrowException, ValueError):
        return pq.read_metadata(path)
    return None


def _footer_bytes(file: io.BufferedReader, size: int) -> int:
    file.seek(size - _TAIL_BYTES)
    return int.from_bytes(file.read(4), "little") + _TAIL_BYTES


def row_groups(path: Path, record: type[msgspec.Struct]) -> list[Callable[[], pa.Table]]:
    """Reads of a complete file's row groups, in order; each may run in any thread.

    Raises :class:`~resilience.errors.EvidenceError` when its columns are not those of the record.
    """
    metadata = pq.read_metadata(path)
    found, right = metadata.schema.to_arrow_schema(), schema_of(record)
    for field in right:
        if field.name not in found.names or found.field(field.name).type != field.type:
            raise EvidenceError(f"{path}: not records of this version: no column {field.name} of type {field.type}")
    if strange := sorted(set(found.names) - set(right.names)):
        raise EvidenceError(f"{path}: not records of this version: unknown column {strange[0]}")
    return [partial(_read_group, path, metadata, number) for number in range(metadata.num_row_groups)]


def _read_group(path: Path, metadata: pq.FileMetaData, number: int) -> pa.Table:
    with pq.ParquetFile(path, metadata=metadata) as file:
        return file.read_row_group(number, use_threads=False)


COLUMNS = LogFormat(SUFFIX, partial(ColumnWriter, record=LogEvent), inspect_evidence)
"""Events as Parquet columns; what a run writes that is over soon, or is too large to be read as lines."""
