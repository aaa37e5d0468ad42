"""Parquet files that are written in several tables, their texts as dictionaries. Knows no columns."""

from __future__ import annotations

from io import RawIOBase
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TEXT = pa.dictionary(pa.int32(), pa.string())
_DICTIONARY_BYTES = 1 << 26


def parquet_writer(target: Path | RawIOBase, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of tables of this schema.

    A text is stored as numbers of a dictionary however many texts there are, so that it is read back without the texts
    of each row. Raises :class:`OSError` when the file cannot be made.
    """
    return pq.ParquetWriter(
        target,
        schema,
        compression="zstd",
        use_dictionary=[field.name for field in schema if field.type == TEXT],
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        write_statistics=False,
    )
