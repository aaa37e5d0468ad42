"""Episodes as files: one schema for every run, and the same values when read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest

from reports import episode_table
from reports.episodes import episodes_frame
from resilience.experiment.faults import RefuseFault

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
