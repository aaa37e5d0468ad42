"""Sweeps through the command: tables, common draws, continuing, workers, and what goes wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pandas as pd
import pytest

from reports.build import analyse
from reports.capacity import capacity_report
from reports.sweep import load_sweep
from resilience.errors import EvidenceError, HarnessError, UsageError
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.loader import parse
from sim.planning.campaign import Campaign, SweepStanding
from sim.planning.design import Method, make_design, parse_factor
from sim.planning.evaluation import RunResult, RunTask, Scenario, evaluate, load_figures
from sim.planning.progress import line_of
from sim.planning.stopping import StoppingRule
from sim.planning.sweep import SweepRequest, run_sweep
from sim.planning.sweep_directory import DESIGN, RESULTS, SweepDirectory
from sim.planning.workers import Workers, local_workers
from sim.population.gauges import gauges_of, queued
from sim.population.population import Episodes
from sim.population.run import PopulationRun
from sim.population.shards import PopulationResult, run_population
from sim.population.station import StationAnswer

from .sweeps import STORM, run_sim, storm_file

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SCENARIO = Scenario(name="storm", text=STORM, lane=Lane.POPULATION, seed=4)
GRID = make_design((parse_factor("server.join_capacity=10,20,40"),), Method.GRID, 0, 4)


def _request(most: int = 3, half_width: float | None = None) -> SweepRequest:
    return SweepRequest(SCENARIO, GRID, StoppingRule(most, half_width), "excess_s.mean")


def _run(out: Path, request: SweepRequest | None = None, workers: int = 1) -> bytes:
    run_sweep(request or _request(), out, lambda: local_workers(workers), lambda _: None)
    return (out / "sweep.parquet").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of three points with three replications."""
    out = tmp_path_factory.mktemp("whole") / "sweep"
    _run(out)
    return out


def test_a_row_is_a_run_with_its_settings_and_figures(whole: Path) -> None:
    table = pd.read_parquet(whole / "sweep.parquet")
    assert list(table["point"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(table["replication"]) == [0, 1, 2] * 3
    assert list(table["server.join_capacity"].unique()) == [10.0, 20.0, 40.0]
    assert (table["restored"] == table["affected"]).all()
    assert table.groupby("point")["excess_s.mean"].mean().is_monotonic_decreasing


def test_the_figures_are_those_of_the_report(whole: Path, tmp_path: Path) -> None:
    """The same seed and settings, run and reported as a single run."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    PopulationRun(parse(STORM, "storm", ("server.join_capacity=10",)), 5).execute(run_dir)
    _, _, summary = analyse(run_dir)
    row = pd.read_parquet(whole / "sweep.parquet").iloc[1]
    for clock in ("detection_s", "reconnection_s", "downtime_s", "excess_s"):
        for statistic in ("mean", "restricted_mean", "p50", "p90", "p95", "p99", "max"):
            assert row[f"{clock}.{statistic}"] == pytest.approx(getattr(getattr(summary, clock), statistic))
    assert row["attempts.mean"] == pytest.approx(summary.attempts.mean)
    assert row["success_rate"] == summary.success_rate.value


def test_replications_share_their_draws_between_points() -> None:
    """With as many joins per second as any crowd asks for, the capacity moves only the announced window."""
    wide = [evaluate(SCENARIO, RunTask(0, (("server.cleanup_interval", text),), 2)) for text in ("60", "90")]
    assert wide[0].figures == wide[1].figures


def test_an_interrupted_sweep_continues_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"

    def stop(_: object) -> None:
        if (out / "results.jsonl").read_bytes().count(b"\n") == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(_request(), out, lambda: local_workers(1), stop)
    assert "Not finished" in (out / "sweep.md").read_text(encoding="utf-8")
    with (out / "results.jsonl").open("ab") as file:
        file.write(b'{"point":2,"repl')  # cut off in the middle of a line
    assert _run(out) == (whole / "sweep.parquet").read_bytes()
    assert len((out / "results.jsonl").read_bytes().splitlines()) == 9
    assert "Not finished" not in (out / "sweep.md").read_text(encoding="utf-8")


class _FullDisk(FileIO):
    """A file for whose next line there is half of the room that it needs."""

    def write(self, data: ReadableBuffer) -> int:
        """Store the first half."""
        return super().write(memoryview(data)[: memoryview(data).nbytes // 2])


def test_a_result_for_which_there_is_no_room_is_cut_off_and_computed_again(whole: Path, tmp_path: Path) -> None:
    """Four results are stored; of the fifth a full disk takes a part, without an error of the system."""
    out = tmp_path / "sweep"
    out.mkdir()
    *stored, fifth = (whole / RESULTS).read_bytes().splitlines(keepends=True)[:5]
    (out / DESIGN).write_bytes((whole / DESIGN).read_bytes())
    (out / RESULTS).write_bytes(b"".join(stored))
    known = {(each.point, each.replication): each for each in map(_result, stored)}
    with _FullDisk(out / RESULTS, "a") as file, pytest.raises(HarnessError, match=_NO_ROOM):
        SweepDirectory(out, file, known).add(_result(fifth))
    assert len(known) == 4
    assert (out / RESULTS).read_bytes() == b"".join(stored) + fifth[: len(fifth) // 2]
    assert _run(out) == (whole / "sweep.parquet").read_bytes()
    assert len((out / RESULTS).read_bytes().splitlines()) == 9


_NO_ROOM = "No space left on device; the 4 results before are kept: make room, then run the same command again"


def _result(line: bytes) -> RunResult:
    return msgspec.json.decode(line, type=RunResult)


def test_the_number_of_workers_changes_no_byte(whole: Path, tmp_path: Path) -> None:
    assert _run(tmp_path / "two", workers=2) == (whole / "sweep.parquet").read_bytes()


def test_results_may_come_in_any_order(tmp_path: Path) -> None:
    """A cluster answers in an order of its own: the replications that count stay the same."""
    request = _request(12, 0.35)
    out = _run(tmp_path / "sweep", request)
    reordered = tmp_path / "reordered"

    @contextmanager
    def backward() -> Iterator[Workers]:
        yield Workers(_Backward(), 100)

    run_sweep(request, reordered, backward, lambda _: None)
    assert (reordered / "sweep.parquet").read_bytes() == out
    assert 5 <= pd.read_parquet(reordered / "sweep.parquet").groupby("point").size().min() <= 12


class _Backward(Executor):
    """Finishes the newest of its tasks first, in a thread of its own."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Future[RunResult], object, object]] = []

    def submit(self, fn: object, /, *args: object, **kwargs: object) -> Future[RunResult]:  # type: ignore[override]
        future: Future[RunResult] = Future()
        self._waiting.append((future, args[0], args[1]))
        if len(self._waiting) == 1:
            threading.Timer(0.05, self._finish).start()
        return future

    def _finish(self) -> None:
        while self._waiting:
            future, scenario, task = self._waiting.pop()
            assert isinstance(scenario, Scenario)
            assert isinstance(task, RunTask)
            future.set_result(evaluate(scenario, task))


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_the_directory_of_another_question_is_refused(whole: Path, tmp_path: Path) -> None:
    other = SweepRequest(msgspec.structs.replace(SCENARIO, seed=5), GRID, StoppingRule(3), "excess_s.mean")
    with pytest.raises(UsageError, match=r"another question \(its scenario.seed is another one\)"):
        _run(whole, other)
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(UsageError, match="not a sweep's"):
        _run(tmp_path)


def test_a_second_process_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    def second(_: object) -> None:
        with pytest.raises(UsageError, match="another process is running this sweep"):
            _run(tmp_path / "sweep")

    run_sweep(_request(1), tmp_path / "sweep", lambda: local_workers(1), second)


def test_damaged_results_are_named(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    out.mkdir()
    (out / "design.json").write_bytes((whole / "design.json").read_bytes())
    (out / "results.jsonl").write_bytes(b"{}\n")
    with pytest.raises(EvidenceError, match="line 1: not a result"):
        _run(out)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third result does not fit; closing the file does not fail once more."""

    def add(self: SweepDirectory, result: RunResult) -> None:
        if len(self.results) == 2:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, self._file.fileno())
            os.close(full)
        original(self, result)

    original = SweepDirectory.add
    monkeypatch.setattr(SweepDirectory, "add", add)
    with pytest.raises(HarnessError, match="No space left on device; the 2 results before are kept"):
        _run(tmp_path / "sweep")
    monkeypatch.undo()
    assert len((tmp_path / "sweep" / "results.jsonl").read_bytes().splitlines()) == 2


def test_a_dead_worker_is_one_line(tmp_path: Path) -> None:
    class Dying(Executor):
        def submit(self, fn: object, /, *args: object, **kwargs: object) -> Future[RunResult]:  # type: ignore[override]
            future: Future[RunResult] = Future()
            future.set_exception(BrokenProcessPool("gone"))
            return future

    @contextmanager
    def workers() -> Iterator[Workers]:
        yield Workers(Dying(), 2)

    with pytest.raises(HarnessError, match=r"a worker process ended before its work.*the same command continues"):
        run_sweep(_request(), tmp_path / "sweep", workers, lambda _: None)


@pytest.mark.parametrize(
    "words, said",
    [
        (("--vary", "server.join_capcity=1,2"), "unknown field `join_capcity`"),
        (("--vary", "server.join_capacity=1,-2"), "must be a positive, finite number"),
        (("--vary", "server.join_capacity=1,2", "--decide", "client.budget"), "is not varied"),
        (("--vary", "client.preset=window,classic", "--decide", "client.preset"), "must be numbers"),
        (("--metric", "speed"), "--metric speed: unknown"),
        (("--vary", "scale=x,2"), "scale = x: must be a number"),
        (("--vary", "scale=0,2"), "scale = 0: must be a positive, finite number"),
        (("--lane", "model", "--metric", "queue_s"), "is not measured in the lane model; choose --lane population"),
        (("--dask", "tcp://127.0.0.1:9", "--workers", "2"), "is for local processes"),
        (("--vary", "client.probe_after=4,9"), "must be at least 24 s in this lane"),
        (("--lane", "model", "--set", "population.servers=2"), "population.servers"),
    ],
)
def test_a_mistake_is_found_before_anything_is_made(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = run_sim("sweep", storm_file(tmp_path), *words, "--out", tmp_path / "sweep")
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert not (tmp_path / "sweep").exists()


# --- other lanes, other designs ---------------------------------------------------------------------------------------


def test_a_figure_that_no_run_measured_says_so(tmp_path: Path) -> None:
    """Without a fault no client is affected."""
    calm = STORM.partition("[[faults]]")[0]
    words = ("--workers", "1", "--replications", "1", "--out", tmp_path / "sweep")
    result = run_sim("sweep", storm_file(tmp_path, calm), *words)
    assert result.exit_code == 0, result.exception
    assert "| nan | unknown | 1 |" in result.output
    assert "nan: not known in every replication, because no client was affected" in result.output
    assert "Replications: 1 replication of every point." in result.output


def test_an_expectation_that_a_sweep_does_not_measure_is_passed_over(tmp_path: Path) -> None:
    other = "[[expectations]]\nmetric = 'heartbeat_rtt_s.p95'\nop = '<'\nthreshold = 1.0\n\n[[expectations]]"
    words = ("--workers", "1", "--replications", "1", "--out", tmp_path / "sweep")
    result = run_sim("sweep", storm_file(tmp_path, STORM.replace("[[expectations]]", other)), *words)
    assert result.exit_code == 0, result.exception
    assert "`excess_s.mean`" in result.output


def test_a_target_that_some_values_do_not_reach_says_what_to_take(tmp_path: Path) -> None:
    """At one join a second some are still away at the end, so the mean of all is not known."""
    words = ("--vary", "server.join_capacity=1,20", "--workers", "1", "--replications", "1")
    run_sim("sweep", storm_file(tmp_path), *words, "--decide", "server.join_capacity", "--out", tmp_path / "sweep")
    with pytest.raises(UsageError, match=r"excess_s.mean must hold .* take excess_s.restricted_mean, a longer run"):
        load_sweep(tmp_path / "sweep")


def test_a_target_that_is_known_of_clients_still_away_says_where_none_was_struck(tmp_path: Path) -> None:
    """A restricted mean is not known only where no client has the time at all."""
    asked = storm_file(tmp_path, STORM.replace("excess_s.mean", "excess_s.restricted_mean"))
    words = ("--vary", "server.join_capacity=1,20", "--workers", "1", "--replications", "1")
    run_sim("sweep", asked, *words, "--decide", "server.join_capacity", "--out", tmp_path / "sweep")
    table = load_sweep(tmp_path / "sweep").table
    table.assign(**{"excess_s.restricted_mean": [np.nan, 1.0]}).to_parquet(tmp_path / "sweep" / "sweep.parquet")
    said = "excess_s.restricted_mean must hold .* no affected client has one .* strike more clients"
    with pytest.raises(UsageError, match=said):
        load_sweep(tmp_path / "sweep")


def test_the_model_lane_is_swept_too() -> None:
    scenario = msgspec.structs.replace(SCENARIO, lane=Lane.MODEL)
    figures = evaluate(scenario, RunTask(0, (("scale", "0.1"),), 0)).figures
    assert figures["affected"] == 10
    assert figures["success_rate"] == 1.0


def test_report_capacity_answers_a_sweep_that_decides(tmp_path: Path) -> None:
    words = ("--vary", "server.join_capacity=5,10,20", "--vary", "client.budget=600,30", "--workers", "1")
    result = run_sim("sweep", storm_file(tmp_path), *words, "--decide", "server.join_capacity", "--out", tmp_path / "s")
    assert result.exit_code == 0, result.exception
    report = capacity_report(load_sweep(tmp_path / "s"))
    assert (report.verdict, report.answer) == (Verdict.PASS, 10.0)
    assert report.sweep.settings == {"client.budget": 600.0}


def test_a_line_of_progress_says_what_is_open() -> None:
    assert line_of(SweepStanding(0, 9, 9, None, None), 2, 1.0, 0) == "0 of 9 runs"
    assert line_of(SweepStanding(3, 9, 9, 60.0, 60.0), 2, 1.0, 0) == "3 of 9 runs; about 30 s to come"
    said = line_of(SweepStanding(5, 10, 40, 60.0, 600.0), 1, 1.0, 0)
    assert said == "5 of 10 runs; about 60 s to come, up to 10 min if intervals stay wide"
    assert line_of(SweepStanding(6, 10, 10, 60.0, 60.0), None, 8.0, 2) == "6 of 10 runs; about 8 s to come"


def test_a_queue_holds_what_was_admitted_and_has_not_left() -> None:
    """Thirty are admitted and ten leave in each second; the process ends with five of them, the rejected never wait."""
    load = np.zeros((6, len(StationAnswer)), np.int64)
    load[1, StationAnswer.SERVED], load[1, StationAnswer.UNFINISHED], load[1, StationAnswer.REJECTED] = 25, 5, 40
    assert queued(load, np.array([0, 10, 10, 5, 5, 0])).tolist() == [0, 20, 10, 5, 0, 0]


def test_the_most_that_a_server_admits_in_a_second_counts_what_it_did_not_finish() -> None:
    """Of the thirty that it admits five are unfinished when its process ends; the forty rejected are not admitted."""
    load = np.zeros((2, len(StationAnswer)), np.int64)
    load[1, StationAnswer.SERVED], load[1, StationAnswer.UNFINISHED], load[1, StationAnswer.REJECTED] = 25, 5, 40
    result = PopulationResult(Episodes.empty(0), (load,), (np.array([0, 30]),))
    assert load_figures(result, 20.0, 25)["peak_joins_per_s"] == 30.0


def test_the_longest_queue_of_a_run_is_that_of_its_gauges() -> None:
    """Each of the hundred that return takes twentieths of a second."""
    run = PopulationRun(parse(STORM, "storm", ("costs.handshake=0.03", "costs.restore=0.02")), 4)
    result = run_population(run.population, run.rules)
    gauges = gauges_of(result.episodes, result.loads, result.departures, run.population.size, run.rules.duration)
    longest = max(gauges["queued"].to_pylist())
    assert longest > 20
    assert load_figures(result, 20.0, 100)["queue_s"] == longest / 20.0


def test_a_campaign_without_results_has_no_estimate(tmp_path: Path) -> None:
    with (tmp_path / "results").open("a+b", buffering=0) as file:
        campaign = Campaign(SCENARIO, GRID, StoppingRule(40, 0.1), "excess_s.mean", SweepDirectory(tmp_path, file, {}))
        assert campaign.standing() == SweepStanding(0, 15, 120, None, None)
        assert not campaign.complete
