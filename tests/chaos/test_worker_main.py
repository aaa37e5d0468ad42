"""One worker of the fleet: its orders, its reports, and that it goes when its runner does."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from chaos.worker_main import Counts, Ended, Go, Job, Ready, Shard, Stop, WorkerReport
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.loader import load
from resilience.lab.health import LagMeter
from tests.support.stored_lines import read_events

from ..support.deadlines import HANG_S

REPORTS = msgspec.json.Decoder(WorkerReport)


def order(worker: subprocess.Popen[bytes], what: Job | Go | Stop) -> None:
    assert worker.stdin is not None
    worker.stdin.write(msgspec.json.encode(what) + b"\n")
    worker.stdin.flush()


def report(worker: subprocess.Popen[bytes]) -> object:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    return REPORTS.decode(line) if line else None


def started(folder: Path) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "chaos.worker_main"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    log, observations = (str(folder / part / "clients-2.jsonl") for part in ("events", "observations"))
    order(worker, Job(load("smoke"), 11, "clients-2", Shard(("solo",), 1, 2), log, observations))
    assert report(worker) == Ready()
    return worker


def test_it_plays_its_share_and_reports_until_told_to_stop(tmp_path: Path) -> None:
    """Every second participant dials; counts come, then the end with the loop's lateness, then it is gone."""
    with started(tmp_path) as worker:
        order(worker, Go(time.monotonic(), {"solo": "ws://127.0.0.1:1/ws"}))
        first, second = report(worker), report(worker)
        assert isinstance(first, Counts)
        assert isinstance(second, Counts)
        assert second.open == {"solo": 0}
        while not any(event.attempt for event in read_events(tmp_path)):
            assert isinstance(report(worker), Counts)
        order(worker, Stop())
        last = report(worker)
        while isinstance(last, Counts):
            last = report(worker)
        assert isinstance(last, Ended)
        assert 0 <= (last.lag.lag_p99 or 0.0) <= (last.lag.lag_max or 0.0)
        assert last.lag.role == "worker"
        assert worker.wait(HANG_S) == 0
    assert (tmp_path / "observations" / "clients-2.jsonl").exists()
    dials = [event for event in read_events(tmp_path) if event.kind is LogEventKind.TRANSPORT_OPENING]
    assert {event.actor for event in dials} <= {f"solo-{number:04d}" for number in (2, 4, 6, 8, 10)}


@pytest.mark.parametrize("sent_off", [False, True], ids=["waiting", "playing"])
def test_it_goes_when_its_runner_does(tmp_path: Path, sent_off: bool) -> None:
    """The end of its orders is the end of it."""
    with started(tmp_path) as worker:
        if sent_off:
            order(worker, Go(time.monotonic(), {"solo": "ws://127.0.0.1:1/ws"}))
            assert isinstance(report(worker), Counts)
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait(HANG_S) == 0


def test_it_ends_with_one_line_when_its_log_cannot_be_written(tmp_path: Path) -> None:
    """As on a full disk. Clients without a log prove nothing, and the runner hears of it at once."""
    with started(tmp_path) as worker:
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (500, 500))
        order(worker, Go(time.monotonic(), {"solo": "ws://127.0.0.1:1/ws"}))
        while report(worker) is not None:
            pass
        assert worker.wait(HANG_S) == 1
        assert worker.stderr is not None
        assert worker.stderr.read().decode() == "OSError: [Errno 27] File too large\n"


def test_it_does_not_make_a_run_directory_again_that_was_removed(tmp_path: Path) -> None:
    """It opens its log when the run starts; by then the user may have removed the run."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with started(run_dir) as worker:
        run_dir.rmdir()
        order(worker, Go(time.monotonic(), {"solo": "ws://127.0.0.1:1/ws"}))
        assert report(worker) is None
        assert worker.wait(HANG_S) == 1
        assert worker.stderr is not None
        assert worker.stderr.read().decode().startswith("FileNotFoundError: ")
    assert not run_dir.exists()


def test_the_lag_meter_knows_the_worst_and_the_ninety_ninth_of_a_hundred() -> None:
    """A tick before its time is not late; no tick is no lateness."""
    meter = LagMeter()
    assert (meter.max, meter.p99) == (0.0, 0.0)
    for late in (*(0.001 * number for number in range(1, 100)), 2.0):
        meter.note(late)
    assert meter.max == 2.0
    assert meter.p99 == pytest.approx(0.099)
    early = LagMeter()
    early.note(-0.5)
    assert (early.max, early.p99) == (0.0, 0.0)
