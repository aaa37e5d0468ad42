"""What it costs to read a large run: its log into the event frame, and its episodes."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from reports import load_run
from reports.column_files import COLUMNS
from reports.episodes import episodes_frame
from reports.expectations import Evidence
from reports.frames import RunHistory
from reports.invariants import run_checks
from resilience.lab.recording import LINES
from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.results import Row
from tests.support.large_run import write_episodes_run, write_large_run

EPISODES = int(os.environ.get("EPISODES", "100000"))
MOST_US, MOST_BYTES = 30.0, 2200.0
"""Wall time in microseconds and resident memory in bytes for each episode: half of what a whole report may take."""

FORMATS = {"lines": LINES, "columns": COLUMNS}

OF_THE_RUN = 83
"""Events of a made run that its size does not change."""

_SCRIPT = """
import json, resource, sys, time
from reports import load_run
import reports.frames
def now():
    return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = now()
history = load_run(sys.argv[1])
assert not history.problems, history.problems
assert len(history.frame) == int(sys.argv[2]), len(history.frame)
print(json.dumps([b - a for a, b in zip(before, now())]))
"""


class Cost(msgspec.Struct, frozen=True, array_like=True):
    """Wall and processor time in seconds, and how much the peak of resident memory grew, in bytes."""

    wall: float
    cpu: float
    memory: float


def events_of(episodes: int) -> int:
    """How many events a made run of so many episodes has."""
    return episodes * 30 + OF_THE_RUN


def cost_of(run_dir: Path, events: int) -> Cost:
    """What reading a run of so many events costs a process of its own."""
    command = [sys.executable, "-c", _SCRIPT, str(run_dir), str(events)]
    done = subprocess.run(command, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Cost)


def test_a_large_run_is_a_complete_one(tmp_path: Path) -> None:
    """Every kind, in small; both formats of a log hold the same events."""
    write_large_run(tmp_path / "log", 200)
    write_large_run(tmp_path / "columns", 200, COLUMNS)
    write_episodes_run(tmp_path / "episodes", 200)
    log, episodes = load_run(tmp_path / "log"), load_run(tmp_path / "episodes")
    columns = load_run(tmp_path / "columns")
    assert log.problems == columns.problems == episodes.problems == ()
    pd.testing.assert_frame_equal(columns.frame, log.frame)
    assert len(log.frame) == events_of(200)
    assert cost_of(tmp_path / "log", events_of(200)).wall > 0
    assert episodes.recorded_episodes is not None
    assert len(episodes.recorded_episodes) == 200


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> RunHistory:
    """A made run of a few thousand episodes."""
    run_dir = tmp_path_factory.mktemp("log")
    write_large_run(run_dir, 4000)
    return load_run(run_dir)


@contextmanager
def parts_of_the_log(log: RunHistory) -> Iterator[list[float]]:
    """Afterwards holds the most memory that was taken meanwhile, as a part of the log's own."""
    found: list[float] = []
    size = int(log.frame.memory_usage(index=False).sum())
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1] / size)
    finally:
        tracemalloc.stop()


def test_the_data_of_expectations_are_a_small_part_of_a_log(log: RunHistory) -> None:
    """They are picked from the log, not copied with it: a tenth of its memory at most."""
    episodes = episodes_frame(log)
    with parts_of_the_log(log) as parts:
        evidence = Evidence.of(log, episodes)
    assert len(evidence.round_trips) == 4000
    assert parts[0] < 0.1


def test_the_checks_need_little_more_memory_than_the_log(log: RunHistory) -> None:
    """Nearly twice its size while texts were compared as texts: the peak of a report of a million episodes."""
    with parts_of_the_log(log) as parts:
        run_checks(log)
    assert parts[0] < 1.3


@pytest.mark.bench
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", FORMATS)
def test_reading_a_large_log(tmp_path: Path, record_rows: RecordRows, form: str) -> None:
    write_large_run(tmp_path, EPISODES, FORMATS[form])
    cost = cost_of(tmp_path, events_of(EPISODES))
    wall, memory = cost.wall / EPISODES * 1e6, cost.memory / EPISODES
    record_rows(
        [
            Row(
                f"reading the log of {EPISODES:,} episodes as {form}",
                f"{cost.wall:.1f} s, {cost.cpu:.1f} s of CPU, {cost.memory / 1e9:.2f} GB",
                f"{wall:.1f} us, {memory:.0f} B an episode",
                max(wall / MOST_US, memory / MOST_BYTES),
                "",
                f"at most {MOST_US:g} us, {MOST_BYTES:g} B",
                wall <= MOST_US and memory <= MOST_BYTES,
            )
        ]
    )
