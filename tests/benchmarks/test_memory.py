"""What an idle joined connection costs, compared with one of a bare server."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.processes import LOBBY, LoadProcess, Server, bare, product
from tests.benchmarks.lab.results import Row, middle, spread

MOST = 0.5
WARM = 100
SETTLED = 2.0
"""Seconds after which presence and checkpoints of a join have gone out."""


def per_connection(server: Server, say: str, count: int) -> float:
    """Resident bytes that each of ``count`` idle connections adds to a server that has served before."""
    with LoadProcess(server, WARM, start=count) as few:
        few.ask("dial", say=say)
    time.sleep(SETTLED)
    before = server.memory()
    with LoadProcess(server, count) as load:
        found = load.ask("dial", say=say)
        assert found["arrived"] == count, found
        time.sleep(SETTLED)
        return (server.memory() - before) / count


def measure(folder: Path, count: int, rounds: int) -> list[Row]:
    """Both servers, in turn."""
    plain, ours = [], []
    for i in range(rounds):
        with bare() as server:
            plain.append(per_connection(server, "echo", count))
        with product(folder / str(i), LOBBY) as server:
            ours.append(per_connection(server, "join", count))
    ratios = [own / other for own, other in zip(ours, plain, strict=True)]
    return [
        Row(
            f"memory per idle joined connection, {count:,}",
            f"{middle(ours) / 1000:.1f} kB",
            f"bare connection {middle(plain) / 1000:.1f} kB",
            middle(ratios),
            spread(ratios),
            f"at most {MOST}",
            middle(ratios) <= MOST,
        )
    ]


def test_a_few_connections_are_weighed(tmp_path: Path) -> None:
    with product(tmp_path, LOBBY) as server:
        assert 0 < server.memory() < 1e9
        assert server.cpu > 0


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_memory_of_an_idle_connection(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(measure(tmp_path, 5000, 3))
