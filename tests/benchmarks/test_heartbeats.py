"""What heartbeats cost with one timer for all, compared with a task for each; in processes without sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.results import Row, middle, spread

LATE = 0.05
INTERVAL = 15.0
MOST_OF = 0.8
"""Of the beats that are due: phases are drawn, and the last ones fall outside."""


def beat(root: Path, how: str, count: int, seconds: float) -> dict[str, Any]:
    """CPU seconds a minute, beats, and the lateness (seconds) that 99 in 100 did not exceed."""
    command = [sys.executable, "-m", "tests.benchmarks.lab.heartbeat_bench", how, str(count), str(seconds)]
    said = subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=seconds + 60)
    return dict(json.loads(said.stdout))


def measure(root: Path, count: int, seconds: float, rounds: int) -> list[Row]:
    """Both ways, in turn."""
    pairs = [(beat(root, "room", count, seconds), beat(root, "tasks", count, seconds)) for _ in range(rounds)]
    ours, tasks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    due = count * seconds / INTERVAL
    assert all(b["beats"] >= MOST_OF * due for b in (*ours, *tasks)), "a cost of heartbeats that were not sent"
    late, other = middle([b["late_p99"] for b in ours]), middle([b["late_p99"] for b in tasks])
    ratios = [own["cpu"] / task["cpu"] for own, task in pairs]
    return [
        Row(
            f"heartbeats of {count:,}, CPU a minute",
            f"{middle([b['cpu'] for b in ours]):.2f} s",
            f"one task each {middle([b['cpu'] for b in tasks]):.2f} s",
            middle(ratios),
            spread(ratios),
            "at most 1",
            middle(ratios) <= 1,
        ),
        Row(
            f"heartbeats of {count:,}, lateness p99",
            f"{late * 1e3:.2f} ms",
            f"one task each {other * 1e3:.2f} ms",
            late / other if other else None,
            spread([b["late_p99"] * 1e3 for b in ours], "{:.2f} ms"),
            f"under {LATE * 1e3:.0f} ms",
            late < LATE,
        ),
    ]


@pytest.mark.parametrize("how", ["room", "tasks"])
def test_a_few_hearts_beat(root: Path, how: str) -> None:
    assert beat(root, how, 300, 0.3)["beats"] > 0


@pytest.mark.parametrize("beats, rows", [(60, 2), (3, None)])
def test_a_cost_of_fewer_beats_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, beats: int, rows: int | None
) -> None:
    measured = {"cpu": 0.1, "beats": beats, "late_p99": 0.01}
    monkeypatch.setattr("tests.benchmarks.test_heartbeats.beat", lambda *_: measured)
    with nullcontext() if rows else pytest.raises(AssertionError, match="were not sent"):
        assert len(measure(root, 600, 1.5, 1)) == rows


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_cost_of_heartbeats(root: Path, record_rows: RecordRows) -> None:
    record_rows(measure(root, 10_000, INTERVAL, 5))
