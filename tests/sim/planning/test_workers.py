"""Sweeps on processes of this machine and on a Dask cluster of real workers, some of which are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import Lane
from sim.planning.campaign import SweepStanding
from sim.planning.design import Method, make_design, parse_factor
from sim.planning.evaluation import Scenario
from sim.planning.stopping import StoppingRule
from sim.planning.sweep import SweepRequest, run_sweep
from sim.planning.workers import dask_workers, local_workers
from tests.support.extras import require_extra

from .sweeps import STORM, run_sim, storm_file

REQUEST = SweepRequest(
    Scenario(name="storm", text=STORM, lane=Lane.POPULATION, seed=4),
    make_design((parse_factor("server.join_capacity=10,20"),), Method.GRID, 0, 4),
    StoppingRule(6),
    "excess_s.mean",
)


@pytest.fixture
def cluster() -> Iterator[object]:
    """A Dask cluster of two worker processes on this machine."""
    require_extra("cluster")
    from distributed import LocalCluster  # noqa: PLC0415 - an extra

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=50,
        worker_dashboard_address=None,
    ) as started:
        yield started


@pytest.mark.filterwarnings("default")  # the cluster's own, when a worker dies
def test_a_cluster_carries_on_when_a_worker_is_killed(cluster: object, tmp_path: Path) -> None:
    """The same bytes as in this process, though one of two workers is killed after the first result."""
    run_sweep(REQUEST, tmp_path / "here", lambda: local_workers(1), lambda _: None)
    killed: list[int] = []

    def kill_one(standing: Callable[[], SweepStanding]) -> None:
        if standing().done and not killed:
            workers = cluster.workers  # type: ignore[attr-defined]
            killed.append(workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    address = cluster.scheduler_address  # type: ignore[attr-defined]
    run_sweep(REQUEST, tmp_path / "there", lambda: dask_workers(address), kill_one)
    assert killed
    assert (tmp_path / "there" / "sweep.parquet").read_bytes() == (tmp_path / "here" / "sweep.parquet").read_bytes()


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra("cluster")
    monkeypatch.setattr("sim.planning.workers.CONNECT_TIMEOUT_S", 0.3)
    words = ("--vary", "server.join_capacity=10,20", "--dask", "tcp://127.0.0.1:9", "--out", tmp_path / "sweep")
    result = run_sim("sweep", storm_file(tmp_path), *words)
    assert isinstance(result.exception, HarnessError)
    assert "--dask tcp://127.0.0.1:9: no Dask scheduler answers there" in str(result.exception)


def test_a_killed_process_ends_the_sweep_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    """The sweep then continues to the same bytes."""
    run_sweep(REQUEST, tmp_path / "whole", lambda: local_workers(1), lambda _: None)
    out = tmp_path / "sweep"

    def kill_one(standing: Callable[[], SweepStanding]) -> None:
        if standing().done:
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGKILL)

    with pytest.raises(HarnessError, match="a worker process ended before its work"):
        run_sweep(REQUEST, out, lambda: local_workers(2), kill_one)
    kept = len((out / "results.jsonl").read_bytes().splitlines())
    assert 0 < kept < 12
    run_sweep(REQUEST, out, lambda: local_workers(1), lambda _: None)
    assert (out / "sweep.parquet").read_bytes() == (tmp_path / "whole" / "sweep.parquet").read_bytes()
