"""What a client costs its own process, compared with a client of ``websockets``: dials for each core, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.processes import HOST, LOBBY, ROOT, Server, bare, product
from tests.benchmarks.lab.results import Row, middle, spread

WARM = 100
MOST_MEMORY = 0.5
GIB = 2**30


class ClientCost(NamedTuple):
    """One more client: microseconds of CPU until it is in, resident bytes while it is idle."""

    cpu_us: float
    memory: float


def cost(server: Server, kind: str, count: int) -> ClientCost:
    """The cost of each of ``count`` clients in a process that has had some before."""
    command = [sys.executable, "-m", "tests.benchmarks.lab.client_process"]
    command += [f"ws://{HOST}:{server.port}{server.path}", kind]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        before, after = (_open(process, number) for number in (WARM, count))
    return ClientCost(after["cpu"] / count * 1e6, (after["memory"] - before["memory"]) / count)


def _open(process: subprocess.Popen[str], count: int) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, f"the clients ended with exit code {process.wait()}"
    return dict(json.loads(line))


def measure(folder: Path, count: int, rounds: int) -> list[Row]:
    """Both kinds of clients, each at its own kind of server, in turn."""
    ours, plain = [], []
    for i in range(rounds):
        with bare() as server:
            plain.append(cost(server, "bare", count))
        with product(folder / str(i), LOBBY) as server:
            ours.append(cost(server, "product", count))
    cpu, memory = (middle([getattr(each, field) for each in ours]) for field in ("cpu_us", "memory"))
    other_cpu, other_memory = (middle([getattr(each, field) for each in plain]) for field in ("cpu_us", "memory"))
    cpu_ratios = [own.cpu_us / other.cpu_us for own, other in zip(ours, plain, strict=True)]
    memory_ratios = [own.memory / other.memory for own, other in zip(ours, plain, strict=True)]
    return [
        Row(
            f"dial and join of a client, {count:,} at once",
            f"{cpu:.0f} µs of CPU, {1e6 / cpu:,.0f}/s and core",
            f"bare client's handshake + echo {other_cpu:.0f} µs",
            middle(cpu_ratios),
            spread(cpu_ratios),
            "reported",
            True,
        ),
        Row(
            f"memory of an idle joined client, {count:,}",
            f"{memory / 1000:.1f} kB, {GIB / memory:,.0f} in a GiB",
            f"bare client {other_memory / 1000:.1f} kB",
            middle(memory_ratios),
            spread(memory_ratios),
            f"at most {MOST_MEMORY}",
            middle(memory_ratios) <= MOST_MEMORY,
        ),
    ]


@pytest.mark.parametrize("kind", ["bare", "product"])
def test_a_few_clients_are_weighed(kind: str, tmp_path: Path) -> None:
    with bare() if kind == "bare" else product(tmp_path, LOBBY) as server:
        assert cost(server, kind, 20).cpu_us > 0


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_cost_of_a_client(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(measure(tmp_path, 2000, 3))
