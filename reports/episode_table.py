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

_TEXT = pa.dictionary(pa.int32(), pa.string())
_SECONDS = pa.float64()

EPISODE_SCHEMA = pa.schema(
    [
        *(pa.field(name, _TEXT, nullable=False) for name in ("fault_id", "kind", "last_fault_id")),
        pa.field("windows", pa.int32(), nullable=False),
        *(pa.field(name, _TEXT, nullable=False) for name in ("event", "stratum", "cohort", "participant", "outcome")),
        pa.field("came_back_by", _TEXT),
        pa.field("open_at_fault", pa.bool_(), nullable=False),
        pa.field("fault_at", _SECONDS, nullable=False),
        pa.field("detected_at", _SECONDS),
        pa.field("detected_by", _TEXT),
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
        table = pyarrow.parquet.read_table(path)
        _check_columns(table)
        frame: pd.DataFrame = table.select(EPISODE_SCHEMA.names).cast(EPISODE_SCHEMA).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise EvidenceError(f"{path}: not the episodes of a run: {str(error).splitlines()[0]}") from error
    return frame.astype({"attempts": "Int64"})


def _check_columns(table: pa.Table) -> None:
    """Raise :class:`ValueError` for a column that is missing, or that lacks values which every episode has."""
    for field in EPISODE_SCHEMA:
        if field.name not in table.column_names:
            raise ValueError(f"no column {field.name}")
        if not field.nullable and (empty := table.column(field.name).null_count):
            raise ValueError(f"{empty:,} of {table.num_rows:,} episodes have no {field.name}")


def write_parquet(episodes: pd.DataFrame, path: Path) -> None:
    """Write ``episodes.parquet``. Raises :class:`OSError` when it cannot be written."""
    pyarrow.parquet.write_table(episodes_table(episodes), path)


def write_csv(episodes: pd.DataFrame, path: Path) -> None:
    """Write ``episodes.csv``: a header, then one line an episode. Raises :class:`OSError` when it cannot be written."""
    table = episodes_table(episodes)
    for place, field in enumerate(table.schema):
        if field.type == _TEXT:
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(table, path, options)


def _column(values: pd.Series, kind: pa.DataType) -> pa.Array:
    if kind != _TEXT:
        return pa.array(values, type=kind, from_pandas=True)
    category = values.array if isinstance(values.dtype, pd.CategoricalDtype) else pd.Categorical(values)
    codes = np.asarray(category.codes, dtype=np.int32)
    names = pa.array(category.categories, from_pandas=True).cast(pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), names)
