"""Episodes as files: one schema for every run, and the same values when read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from reports import episode_table
from reports.build import build_report
from reports.episodes import episodes_frame
from reports.formatting import LANES
from resilience.errors import EvidenceError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults import RefuseFault

from ..support.large_run import write_episodes_run
from ..support.log_builder import LogBuilder, clean_history, experiment, sample_history


def _never_healed() -> LogBuilder:
    history = LogBuilder(experiment((RefuseFault(at=10.0, cohorts=("alpha",), duration=3.0),))).join("a")
    history.fault("0.0:refuse@alpha", 10.0, 90.0).lose("a", 10.0)
    return history.end(60.0)


HISTORIES: dict[str, Callable[[], LogBuilder]] = {
    "empty": lambda: LogBuilder(experiment(faults=())).end(),
    "one cut": clean_history,
    "never healed": _never_healed,
    "nine windows": lambda: sample_history(clients=5),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_every_run_has_the_same_columns(name: str, tmp_path: Path) -> None:
    episodes = episodes_frame(HISTORIES[name]().log())
    episode_table.write_parquet(episodes, tmp_path / "episodes.parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "episodes.parquet").equals(episode_table.EPISODE_SCHEMA)
    read = episode_table.read_episodes(tmp_path / "episodes.parquet")
    assert list(read.columns) == list(episodes.columns)
    for column in episodes:
        assert read[column].astype(object).where(read[column].notna(), None).tolist() == (
            episodes[column].astype(object).where(episodes[column].notna(), None).tolist()
        )


def test_files_of_different_runs_are_one_table(tmp_path: Path) -> None:
    for i, made in enumerate(HISTORIES.values()):
        episode_table.write_parquet(episodes_frame(made().log()), tmp_path / f"{i}.parquet")
    table = pyarrow.parquet.read_table(tmp_path)
    assert table.num_rows == sum(len(episodes_frame(made().log())) for made in HISTORIES.values())


@pytest.mark.parametrize("name", HISTORIES)
def test_the_csv_says_the_same(name: str, tmp_path: Path) -> None:
    episodes = episodes_frame(HISTORIES[name]().log())
    episode_table.write_csv(episodes, tmp_path / "episodes.csv")
    read = pd.read_csv(tmp_path / "episodes.csv")
    assert list(read.columns) == list(episodes.columns)
    assert len(read) == len(episodes)
    assert read["restored_at"].tolist() == pytest.approx(episodes["restored_at"].tolist(), nan_ok=True)
    assert read["outcome"].tolist() == episodes["outcome"].tolist()


def test_a_missing_column_is_named() -> None:
    episodes = episodes_frame(clean_history().log()).drop(columns=["excess_s"])
    with pytest.raises(KeyError, match="excess_s"):
        episode_table.episodes_table(episodes)


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda table: table.drop_columns(["heal_s"]), "no column heal_s"),
        (
            lambda table: table.set_column(0, "fault_id", pa.nulls(len(table), pa.string())),
            "4 of 4 episodes have no fault_id",
        ),
        (lambda table: table.set_column(11, "fault_at", pa.array(["soon"] * 4)), "'soon'"),
    ],
)
def test_a_file_of_another_schema_is_refused(
    change: Callable[[pa.Table], pa.Table], problem: str, tmp_path: Path
) -> None:
    """In one line, with the file and the column: its numbers would be those of another table."""
    path = tmp_path / "episodes.parquet"
    table = episode_table.episodes_table(episodes_frame(clean_history().log()))
    pyarrow.parquet.write_table(change(table), path)
    with pytest.raises(EvidenceError, match=problem) as caught:
        episode_table.read_episodes(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_kept_episodes_only_has_a_whole_report(tmp_path: Path) -> None:
    """Its file is evidence, which the report leaves as it is."""
    write_episodes_run(tmp_path, 200)
    before = (tmp_path / "episodes.parquet").read_bytes()
    summary = build_report(tmp_path)
    assert (summary.lane, summary.success_rate.affected) == (Lane.POPULATION, 200)
    assert LANES[Lane.POPULATION] in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "episodes.parquet").read_bytes() == before
    assert len(pd.read_csv(tmp_path / "episodes.csv")) == 200


def test_a_run_of_other_episodes_is_refused(tmp_path: Path) -> None:
    """The command says which file and column."""
    write_episodes_run(tmp_path, 20)
    pd.read_parquet(tmp_path / "episodes.parquet").drop(columns="windows").to_parquet(tmp_path / "episodes.parquet")
    with pytest.raises(EvidenceError, match=r"episodes\.parquet: not the episodes of a run: no column windows"):
        build_report(tmp_path)


def test_texts_are_stored_as_numbers_of_a_dictionary_however_many_names_there_are(tmp_path: Path) -> None:
    """A hundred thousand participants with five episodes each take less room than their names in each row would."""
    one = episode_table.episodes_table(episodes_frame(clean_history().log())).slice(0, 1)
    names = pa.array([f"participants-of-a-cohort-{i:07d}" for i in range(100_000)])
    codes = np.tile(np.arange(len(names), dtype=np.int32), 5)
    table = one.take(pa.array(np.zeros(len(codes), np.int64)))
    place = table.schema.names.index("participant")
    field = table.schema.field(place)
    table = table.set_column(place, field, pa.DictionaryArray.from_arrays(codes, names))
    with episode_table.episode_writer(tmp_path / "episodes.parquet") as writer:
        writer.write_table(table)
    group = pyarrow.parquet.read_metadata(tmp_path / "episodes.parquet").row_group(0)
    assert group.column(place).total_uncompressed_size < len(codes) * len(names[0].as_py()) / 2
    read = episode_table.read_episodes(tmp_path / "episodes.parquet")
    assert read["participant"].iloc[[0, 100_001]].tolist() == [names[0].as_py(), names[1].as_py()]
