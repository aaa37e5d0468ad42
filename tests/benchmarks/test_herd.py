"""How fast a herd joins and comes back, compared with a bare server's handshake and one echo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.processes import LOBBY, LoadProcess, Server, bare, product
from tests.benchmarks.lab.results import Row, middle, spread

JOIN_SHARE, RESTORE_SHARE = 1.2, 1.3
"""The least shares of the bare server's rate."""

WARM = 50
CALM = 1.0


class Herd(NamedTuple):
    """One herd's arrival: clients a second, and the server's CPU microseconds for each."""

    rate: float
    cpu_us: float


class Round(NamedTuple):
    """The same herd at both servers, and at ours once more with heads that are all different."""

    echo: Herd
    join: Herd
    resume: Herd
    proxied: Herd


def arrive(server: Server, load: LoadProcess, say: str, count: int, calm: float) -> Herd:
    """All of a crowd come at once; every one must get in, and at the first try."""
    before = server.cpu
    found = load.ask("dial", say=say)
    assert (found["arrived"], found["deferred"]) == (count, 0), found
    time.sleep(calm)  # what follows the last answer is part of an arrival's price
    return Herd(count / (found["last"] - found["began"]), (server.cpu - before) / count * 1e6)


def go_home(load: LoadProcess, calm: float) -> None:
    """All leave; the server has ``calm`` seconds to notice."""
    load.ask("drop")
    time.sleep(calm)


def one_round(folder: Path, count: int, calm: float) -> Round:
    """Fresh servers, each warmed by a few, then the herd."""
    with bare() as server, LoadProcess(server, count) as load:
        load.ask("dial", say="echo", share=WARM / count)
        go_home(load, calm)
        echo = arrive(server, load, "echo", count, calm)
    with (
        product(folder, LOBBY) as server,
        LoadProcess(server, count, start=count) as few,
        LoadProcess(server, count) as load,
        LoadProcess(server, count, start=2 * count, proxied=True) as others,
    ):
        few.ask("dial", say="join", share=WARM / count)
        go_home(few, calm)
        join = arrive(server, load, "join", count, calm)
        go_home(load, calm)
        resume = arrive(server, load, "resume", count, calm)
        go_home(load, calm)
        return Round(echo, join, resume, arrive(server, others, "join", count, calm))


def measure(folder: Path, count: int, rounds: int, calm: float = CALM) -> list[Row]:
    """Rates of join and of restore, each compared with the echo of the same round."""
    found = [one_round(folder / str(i), count, calm) for i in range(rounds)]
    rows = []
    for name, herds, share in (
        ("join", [r.join for r in found], JOIN_SHARE),
        ("restore", [r.resume for r in found], RESTORE_SHARE),
        ("join behind a proxy", [r.proxied for r in found], JOIN_SHARE),
    ):
        ratios = [herd.rate / r.echo.rate for herd, r in zip(herds, found, strict=True)]
        cpu = middle([herd.cpu_us for herd in herds]), middle([r.echo.cpu_us for r in found])
        rows.append(
            Row(
                f"{name}, herd of {count:,}",
                f"{middle([herd.rate for herd in herds]):,.0f}/s, {cpu[0]:.0f} µs of CPU each",
                f"bare handshake + echo {middle([r.echo.rate for r in found]):,.0f}/s, {cpu[1]:.0f} µs",
                middle(ratios),
                spread(ratios),
                f"at least {share}",
                middle(ratios) >= share,
            )
        )
    return rows


def dial_both(crowds: list[LoadProcess], say: str) -> tuple[float, int, int, list[str]]:
    """Two client processes at once: seconds until the last is in, how many are, how many after a slot, why not."""
    for load in crowds:
        load.order("dial", say=say)
    found: list[dict[str, Any]] = [load.answer() for load in crowds]
    took = max(f["last"] for f in found) - min(f["began"] for f in found)
    failures = [why for f in found for why in f["failures"]]
    return took, sum(f["arrived"] for f in found), sum(f["deferred"] for f in found), failures


def measure_crowd(folder: Path, count: int, calm: float = CALM) -> list[Row]:
    """A herd through two client processes: all clients join, all come back, none fails."""
    half = count // 2
    with (
        product(folder, LOBBY) as server,
        LoadProcess(server, half) as one,
        LoadProcess(server, half, start=half) as other,
    ):
        rows = []
        for name, say in (("join", "join"), ("restore", "resume")):
            took, arrived, deferred, failures = dial_both([one, other], say)
            rows.append(
                Row(
                    f"{name}, herd of {count:,} from two processes",
                    f"{arrived:,} in, {arrived / took:,.0f}/s, {deferred:,} after a return slot",
                    f"{count:,} asked",
                    arrived / count,
                    "1 round",
                    "no failure",
                    arrived == count and not failures,
                )
            )
            go_home(one, calm)
            go_home(other, calm)
        return rows


def test_a_small_herd_is_measured(tmp_path: Path) -> None:
    rows = measure(tmp_path, 60, 1, calm=0.1)
    assert [row.name for row in rows] == ["join, herd of 60", "restore, herd of 60", "join behind a proxy, herd of 60"]
    assert all(row.ratio for row in rows)


def test_a_small_crowd_from_two_processes_all_gets_in(tmp_path: Path) -> None:
    assert all(row.met for row in measure_crowd(tmp_path, 40, calm=0.1))


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_rate_of_join_and_restore(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(measure(tmp_path, 2000, 15))


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_ten_thousand_join_and_return(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(measure_crowd(tmp_path, 10_000))
