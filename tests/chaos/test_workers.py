"""The runner's end of the fleet: a worker that fails at its end is on record, and what it had reported counts."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from chaos.client_worker import WorkerPool, shards
from chaos.supervised import SupervisedProcess
from chaos.worker_main import Counts, Ended, Job, Shard, members
from chaos.workers import Worker
from resilience.errors import HarnessError
from resilience.experiment.loader import load, parse
from resilience.experiment.primitives import ClientsSilent
from resilience.lab.asyncio_clock import AsyncioClock
from resilience.lab.client_control import ClientCanary
from resilience.lab.health import ProcessLag
from resilience.lab.participants import participants_of
from resilience.runtime import RunClock

from ..support.deadlines import HANG_S

ENDED = '{"type":"ended","lag":{"name":"clients-1","role":"worker","lag_p99":0.1,"lag_max":0.2}}'
REPLIES = {
    "in order": f"print({ENDED!r}, flush=True)",
    "fails": "sys.exit(3)",
    "hangs": "time.sleep(600)",
}


async def made(tmp_path: Path, reply: str) -> Worker:
    """A worker that waits for its order to stop."""
    code = f"import sys, time; sys.stdin.readline(); {REPLIES[reply]}"
    child = await SupervisedProcess.spawn("clients-1", [sys.executable, "-c", code], tmp_path / "log", piped=True)
    return Worker(child, job(tmp_path))


def job(tmp_path: Path) -> Job:
    """Any job."""
    log, observations = (str(tmp_path / name) for name in ("events", "observations"))
    return Job(load("smoke"), 1, "clients-1", Shard(("solo",)), log, observations)


async def stopped(tmp_path: Path, reply: str) -> Worker:
    """A worker that had reported half a second of lateness, after its order to stop."""
    worker = await made(tmp_path, reply)
    worker.counts = Counts({}, lag_max=0.5)
    await worker.stop()
    return worker


async def test_a_worker_that_ends_in_order_is_no_failure(tmp_path: Path) -> None:
    worker = await stopped(tmp_path, "in order")
    assert isinstance(worker.ended, Ended)
    assert WorkerPool([worker]).failures == []
    assert worker.lag == ProcessLag("clients-1", "worker", lag_p99=0.1, lag_max=0.2)


@pytest.mark.parametrize("reply, how", [("fails", "exit code 3"), ("hangs", "killed by SIGKILL")])
async def test_a_worker_that_fails_at_its_end_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str, how: str
) -> None:
    """It has ended all the same; what is known of its lateness is what it reported."""
    monkeypatch.setattr("chaos.workers.STOP_TIMEOUT_S", 1.0)
    worker = await stopped(tmp_path, reply)
    assert WorkerPool([worker]).failures == [f"clients-1 did not end in order ({how}): its log is incomplete"]
    assert worker.lag == ProcessLag("clients-1", "worker", lag_max=0.5)
    assert worker.child.exit_code is not None


async def test_a_worker_that_was_killed_is_named_with_the_signal(tmp_path: Path) -> None:
    worker = await made(tmp_path, "hangs")
    worker.child.kill()
    with pytest.raises(HarnessError, match=r"^clients-1 is gone \(killed by SIGKILL\); its log, "):
        await worker.read_reports()


SHARED = """
name = "shared"
duration = 60.0
cohorts = [{name = "a", clients = 5}, {name = "b", clients = 3}]
faults = [{kind = "client_suspend", cohorts = ["a"], share = 0.4, at = 20.0, duration = 5.0}]
"""


@pytest.mark.parametrize("workers", [1, 2, 50])
def test_the_clients_that_a_fault_suspends_have_a_process_of_their_own(workers: int) -> None:
    """Every participant is in exactly one process; no process is empty."""
    experiment = parse(SHARED, "shared.toml")
    processes = [members(shard, experiment, 1) for shard in shards(experiment, 1, workers)]
    (suspended,) = experiment.isolated_links(1)
    assert {who.link for who in processes[0]} == {suspended}
    assert suspended not in {who.link for process in processes[1:] for who in process}
    assigned = sorted(who.actor for process in processes for who in process)
    assert assigned == sorted(who.actor for who in participants_of(experiment, 1))
    assert all(processes)
    assert len(processes) == 1 + min(workers, 6)


MIXED = """
name = "mixed"
duration = 60.0
cohorts = [
  {name = "a", clients = 6}, {name = "b", clients = 20, driver = "chromium"}, {name = "c", clients = 3, driver = "own"},
]
faults = [{kind = "client_suspend", cohorts = ["b"], share = 0.4, at = 20.0, duration = 5.0}]
drivers.own = {kind = "stdio", command = ["a-driver"]}
"""


def test_clients_of_different_programs_share_no_process() -> None:
    """One Chromium holds all its clients, but for those that a fault suspends; other programs have as many as asked."""
    experiment = parse(MIXED, "mixed.toml")
    found = shards(experiment, 1, 2)
    assert [(shard.driver, len(members(shard, experiment, 1))) for shard in found] == [
        ("chromium", 8),
        *[(None, 3), (None, 3)],
        ("chromium", 12),
        *[("own", 2), ("own", 1)],
    ]


REPORTING = f"""if True:
    import select, sys
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        print('{{"type":"counts","open":{{}},"lag_max":0.0}}', flush=True)
    print({ENDED!r}, flush=True)
"""


async def test_a_suspended_worker_is_neither_stuck_nor_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its silence fails no run and counts as no lateness; once resumed it reports again, and ends in order."""
    command = [sys.executable, "-c", REPORTING]
    worker = Worker(await SupervisedProcess.spawn("clients-1", command, tmp_path / "log", piped=True), job(tmp_path))
    reading = asyncio.create_task(worker.read_reports())
    canary = ClientCanary(worker, AsyncioClock(RunClock()))
    await canary.prepare(HANG_S)
    assert canary.problem is None
    worker.suspend()
    monkeypatch.setattr("chaos.workers.SILENCE_TIMEOUT_S", 0.1)
    assert await canary.saw_symptom(ClientsSilent(), HANG_S)
    assert worker.take_recent_lag() == 0.0
    assert not reading.done()
    monkeypatch.setattr("chaos.workers.SILENCE_TIMEOUT_S", HANG_S)
    worker.resume()
    assert await canary.saw_health(HANG_S)
    assert not reading.done()
    reading.cancel()
    await asyncio.wait({reading})
    await worker.stop()
    assert worker.ended is not None


async def test_a_suspended_worker_can_be_stopped(tmp_path: Path) -> None:
    worker = await made(tmp_path, "in order")
    worker.suspend()
    await worker.stop()
    assert worker.ended is not None


async def test_a_worker_that_was_killed_is_named_by_its_signal(tmp_path: Path) -> None:
    """Its pipe closes a moment before the kernel reports its end."""
    worker = await made(tmp_path, "hangs")
    reading = asyncio.create_task(worker.read_reports())
    worker.child.kill()
    with pytest.raises(HarnessError, match=r"clients-1 is gone \(killed by SIGKILL\)"):
        await reading
