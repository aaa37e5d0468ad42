"""What one WebSocket message costs in the virtual lane, both ends together, without SQL and with it."""

from __future__ import annotations

import time

import pytest
from websockets.asyncio.messages import Assembler
from websockets.frames import Frame

from resilience.experiment.loader import load
from resilience.experiment.spec import Experiment
from resilience.lab.recording import Recording
from resilience.lab.run import conduct
from resilience.lab.run_directory import RunStatus
from resilience.server.store import MEMORY, SqlStore
from sim.virtual.lane import VirtualLane

from .conftest import RecordRows
from .lab.results import Row, middle, spread


def cost(lane: VirtualLane, experiment: Experiment, patched: pytest.MonkeyPatch) -> float:
    """Microseconds of CPU for each message that an end received, all of the run included."""
    received, put = 0, Assembler.put

    def counted(self: Assembler, frame: Frame) -> None:
        nonlocal received
        received += 1
        put(self, frame)

    with patched.context() as counting:
        counting.setattr(Assembler, "put", counted)
        began = time.process_time()
        outcome = conduct(lane, experiment, experiment.seed, Recording.in_memory())
    assert outcome.status is RunStatus.COMPLETED, outcome.cause
    return (time.process_time() - began) / received * 1e6


def rows(experiment: Experiment, times: int, patched: pytest.MonkeyPatch) -> list[Row]:
    """The cost without SQL, compared with that of the same run on a database in memory."""
    database = SqlStore(MEMORY)
    pairs = [
        (cost(VirtualLane(), experiment, patched), cost(VirtualLane(database), experiment, patched))
        for _ in range(times)
    ]
    database.close()
    ours, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return [
        Row(
            f"CPU of the virtual lane per message, both ends, {experiment.clients:,} clients",
            f"{middle(ours):.0f} µs",
            f"with SQL {middle(other):.0f} µs",
            middle(ours) / middle(other),
            spread(ours, "{:.0f} µs"),
            "less than with SQL",
            middle(ours) < middle(other),
        )
    ]


def test_messages_are_counted_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = rows(load("smoke"), 1, monkeypatch)
    assert "10 clients" in row.name
    assert row.ratio is not None
    assert row.ratio > 0


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_cpu_per_message(monkeypatch: pytest.MonkeyPatch, record_rows: RecordRows) -> None:
    record_rows(rows(load("demo"), 3, monkeypatch))
