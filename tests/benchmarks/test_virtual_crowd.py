"""What ten thousand participants cost for ten minutes in the virtual lane, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from resilience.lab.run_directory import RunStatus

from .conftest import RecordRows
from .lab.results import Row
from .lab.virtual_crowd import DURATION_S, CrowdCost

CLIENTS = 10_000
MOST_CPU_S = 600.0
"""Its own ten minutes: a slower lane would be of no use for a crowd."""
MOST_MEMORY_MB = 1_500.0


def cost_of(clients: int, run_dir: Path) -> CrowdCost:
    """Run it in another process, whose memory is that of this run alone."""
    command = [sys.executable, "-m", "tests.benchmarks.lab.virtual_crowd", str(clients), str(run_dir)]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    cost = msgspec.json.decode(said, type=CrowdCost)
    assert (cost.status, cost.clients) == (RunStatus.COMPLETED, clients)
    return cost


def rows(cost: CrowdCost) -> list[Row]:
    """CPU and memory, each with what is left for one client."""
    minutes = cost.clients * DURATION_S / 60
    kilobytes = (cost.peak_rss_mb - cost.first_rss_mb) / cost.clients * 1024
    name = f"{cost.clients:,} clients for ten minutes in the virtual lane"
    return [
        Row(
            f"{name}, CPU",
            f"{cost.cpu_s:.0f} s",
            f"{cost.cpu_s / minutes * 1e3:.1f} ms for each client and minute",
            None,
            "1 run",
            f"at most {MOST_CPU_S:.0f} s",
            cost.cpu_s <= MOST_CPU_S,
        ),
        Row(
            f"{name}, memory",
            f"{cost.peak_rss_mb:.0f} MB",
            f"{kilobytes:.0f} kB for each client",
            None,
            "1 run",
            f"at most {MOST_MEMORY_MB:,.0f} MB",
            cost.peak_rss_mb <= MOST_MEMORY_MB,
        ),
    ]


def test_a_small_crowd_is_measured(tmp_path: Path) -> None:
    cpu, memory = rows(cost_of(12, tmp_path / "run"))
    assert "12 clients" in cpu.name
    assert memory.met


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_cost_of_a_crowd(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(rows(cost_of(CLIENTS, tmp_path / "run")))
