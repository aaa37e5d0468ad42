"""The runner's end of the fleet: a worker that fails at its end is on record, and what it had reported counts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chaos.supervised import SupervisedProcess
from chaos.worker_main import Counts, Ended, Job
from chaos.workers import Worker, WorkerPool
from resilience.experiment.loader import load
from resilience.lab.health import ProcessLag

ENDED = '{"type":"ended","lag":{"name":"clients-1","role":"worker","lag_p99":0.1,"lag_max":0.2}}'
REPLIES = {
    "in order": f"print({ENDED!r}, flush=True)",
    "fails": "sys.exit(3)",
    "hangs": "time.sleep(600)",
}


async def stopped(tmp_path: Path, reply: str) -> Worker:
    """A worker that had reported half a second of lateness, after its order to stop."""
    code = f"import sys, time; sys.stdin.readline(); {REPLIES[reply]}"
    child = await SupervisedProcess.spawn("clients-1", [sys.executable, "-c", code], tmp_path / "log", piped=True)
    worker = Worker(child, Job(load("smoke"), 1, 0, 1, str(tmp_path / "events"), str(tmp_path / "observations")))
    worker.counts = Counts({}, lag_max=0.5)
    await worker.stop()
    return worker


async def test_a_worker_that_ends_in_order_is_no_failure(tmp_path: Path) -> None:
    worker = await stopped(tmp_path, "in order")
    assert isinstance(worker.ended, Ended)
    assert WorkerPool([worker]).failures == []
    assert worker.lag == ProcessLag("clients-1", "worker", lag_p99=0.1, lag_max=0.2)


@pytest.mark.parametrize("reply, how", [("fails", "exit code 3"), ("hangs", "SIGKILL")])
async def test_a_worker_that_fails_at_its_end_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str, how: str
) -> None:
    """It has ended all the same; what is known of its lateness is what it reported."""
    monkeypatch.setattr("chaos.workers.STOP_TIMEOUT_S", 1.0)
    worker = await stopped(tmp_path, reply)
    assert WorkerPool([worker]).failures == [f"clients-1 did not end in order ({how}): its log is incomplete"]
    assert worker.lag == ProcessLag("clients-1", "worker", lag_max=0.5)
    assert worker.child.exit_code is not None
