"""The episode frame as a file: one fixed Parquet schema, and CSV, whatever the run. Knows nothing of how it is made.

The schema is the same for an empty run, a run without a server, and a million episodes, so that files of many runs are
read as one table. Texts are dictionaries of strings; a text or number that does not exist is null, never NaN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from resilience.errors import EvidenceError

from .parquet import TEXT, parquet_writer

_SECONDS = pa.float64()

EPISODE_SCHEMA = pa.schema(
    [
        *(pa.field(name, TEXT, nullable=False) for name in ("fault_id", "kind", "last_fault_id")),
        pa.field("windows", pa.int32(), nullable=False),
        *(pa.field(name, TEXT, nullable=False) for name in ("event", "stratum", "cohort", "participant", "outcome")),
        pa.field("came_back_by", TEXT),
        pa.field("open_at_fault", pa.bool_(), nullable=False),
        pa.field("fault_at", _SECONDS, nullable=False),
        pa.field("detected_at", _SECONDS),
        pa.field("detected_by", TEXT),
        *(pa.field(name, _SECONDS) for name in ("healed_at", "connected_at", "restored_at", "ended_at")),
        pa.field("attempts", pa.int64()),
        *(pa.field(name, _SECONDS) for name in ("detection_s", "reconnection_s", "downtime_s", "excess_s")),
        *(pa.field(name, _SECONDS) for name in ("outage_s", "usable_s", "heal_s")),
        *(pa.field(name, pa.bool_(), nullable=False) for name in ("affected", "returned", "never")),
    ],
    metadata={"episodes": "1"},
)
"""The columns of ``episodes.parquet``; their meaning is in :mod:`reports.episodes`."""


def episodes_table(episodes: pd.DataFrame) -> pa.Table:
    """An episode frame as a table of :data:`EPISODE_SCHEMA`."""
    columns = [_column(episodes[field.name], field.type) for field in EPISODE_SCHEMA]
    return pa.Table.from_arrays(columns, schema=EPISODE_SCHEMA)


def read_episodes(path: Path) -> pd.DataFrame:
    """The episode frame of an ``episodes.parquet``, with the dtypes that :mod:`reports.episodes` names.

    Raises :class:`~resilience.errors.EvidenceError`, which names the column, when the file is not of this schema.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = {field.name: _read_column(file, field) for field in EPISODE_SCHEMA}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise EvidenceError(f"{path}: not the episodes of a run: {str(error).splitlines()[0]}") from error
    return pd.DataFrame(columns, copy=False).astype({"attempts": "Int64"})


def _read_column(file: pyarrow.parquet.ParquetFile, field: pa.Field) -> pd.Series:
    """One column, so that no more than one of them is in memory twice.

    Raises :class:`ValueError` for a column that is missing, or that lacks values which every episode has.
    """
    if field.name not in file.schema_arrow.names:
        raise ValueError(f"no column {field.name}")
    column = file.read(columns=[field.name]).column(0)
    if not field.nullable and column.null_count:
        raise ValueError(f"{column.null_count:,} of {len(column):,} episodes have no {field.name}")
    column = column.cast(field.type)
    return pd.Series(_category(column)) if field.type == TEXT else column.to_pandas()


def _category(column: pa.ChunkedArray) -> pd.Categorical:
    """What ``to_pandas`` makes of a dictionary as well, in a third of the time where it has a million names."""
    whole = column.unify_dictionaries().combine_chunks()
    codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return pd.Categorical.from_codes(codes, pd.Index(whole.dictionary, dtype="str"))


def episode_writer(path: Path) -> pyarrow.parquet.ParquetWriter:
    """A writer of ``episodes.parquet`` for a run that makes its episodes in several tables of the schema.

    Raises :class:`OSError` when the file cannot be made.
    """
    return parquet_writer(path, EPISODE_SCHEMA)


def write_parquet(episodes: pd.DataFrame, path: Path) -> None:
    """Write ``episodes.parquet``. Raises :class:`OSError` when it cannot be written."""
    pyarrow.parquet.write_table(episodes_table(episodes), path)


def write_csv(episodes: pd.DataFrame, path: Path) -> None:
    """Write ``episodes.csv``: a header, then one line an episode. Raises :class:`OSError` when it cannot be written."""
    table = episodes_table(episodes)
    for place, field in enumerate(table.schema):
        if field.type == TEXT:
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(table, path, options)


def _column(values: pd.Series, kind: pa.DataType) -> pa.Array:
    if kind != TEXT:
        return pa.array(values, type=kind, from_pandas=True)
    category = values.array if isinstance(values.dtype, pd.CategoricalDtype) else pd.Categorical(values)
    codes = np.asarray(category.codes, dtype=np.int32)
    names = pa.array(category.categories, from_pandas=True).cast(pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), names)
