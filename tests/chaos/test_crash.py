"""A short campaign of crashes over real processes, what its judges would catch, and how it ends when it must."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from chaos import cli
from chaos.crash.campaign import Campaign, Round
from chaos.crash.plan import ANYTIME, BURST, PERIOD, CrashPlan, experiment, kill
from chaos.crash.run import run
from chaos.crash.screen import figures_of, line_of, table_of
from chaos.crash.verdict import FILE, Report, judged, spread
from reports.build import analyse
from resilience.errors import HarnessError
from resilience.eventlog.vocabulary import Verdict
from resilience.lab.run_directory import RunStatus, read_run_info

from ..support.deadlines import HANG_S
from ..support.processes import descendants, eventually_sync, lives

PLAN = CrashPlan(rounds=3, clients=30, seed=4)


class Ran(msgspec.Struct):
    """A campaign that has been carried out."""

    campaign: Campaign
    run_dir: Path
    rounds: list[Round]
    report: Report


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Three rounds, once for all tests."""
    run_dir, rounds = tmp_path_factory.mktemp("crash") / "run", list[Round]()
    campaign = asyncio.run(run(PLAN, run_dir, rounds.append))
    assert campaign is not None
    return Ran(campaign, run_dir, rounds, judged(PLAN, campaign, run_dir))


def test_three_deaths_lose_nothing(ran: Ran) -> None:
    """Every rule holds, and each had something to look at."""
    assert [(item.name, item.detail) for item in ran.report.checks if item.verdict is not Verdict.PASS] == []
    assert ran.report.verdict is Verdict.PASS
    assert all(item.checked for item in ran.report.checks)


def test_everybody_is_back_after_each(ran: Ran) -> None:
    """Thirty clients, three times, and it is known how long that took."""
    assert [this.number for this in ran.rounds] == [1, 2, 3]
    assert all(len(this.back) == PLAN.clients for this in ran.rounds)
    assert ran.report.recovery_s is not None
    assert ran.report.recovery_s.n == 3 * PLAN.clients
    assert ran.report.recovery_s.mean > 0.0


def test_the_report_is_on_disk_with_stable_keys(ran: Ran) -> None:
    """What a script may rely on."""
    stored = json.loads((ran.run_dir / FILE).read_text())
    assert set(stored) == {field.encode_name for field in msgspec.structs.fields(Report)}
    assert stored["verdict"] == "pass"
    assert stored["acknowledged"] > PLAN.clients
    assert [death["round"] for death in stored["deaths"]] == [1, 2, 3]
    assert all(death["listening_at"] > death["killed_at"] for death in stored["deaths"])


def test_the_run_directory_is_one_like_any_other(ran: Ran) -> None:
    """The reports read it."""
    assert {path.name for path in (ran.run_dir / "events").iterdir()} == {"clients.jsonl", "server.jsonl"}
    _, _, summary = analyse(ran.run_dir)
    assert [item.name for item in summary.invariants if item.verdict is Verdict.FAIL] == []


def test_it_can_be_shown(ran: Ran) -> None:
    """A line per round, a table of verdicts, the figures."""
    console = Console(file=io.StringIO(), width=160)
    console.print(table_of(ran.report))
    for line in [line_of(this, 3) for this in ran.rounds] + figures_of(ran.report):
        console.print(line)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "no acknowledged answer is missing in the database" in text
    assert "round 3/3" in text
    assert f"{ran.report.acknowledged:,} answers acknowledged" in text


# --- what must be caught ----------------------------------------------------------------------------------------------

ROBBERIES = {
    "acknowledged_are_stored": "DELETE FROM answers WHERE rowid = (SELECT max(rowid) FROM answers)",
    "log_agrees": "UPDATE answers SET points = points + 7 WHERE rowid = (SELECT max(rowid) FROM answers)",
    "scores_recompute": "UPDATE event_participants SET total_score = total_score + 1 WHERE rowid = 3",
    "answers_in_time": "UPDATE answers SET received_at = received_at + 2 WHERE rowid = 1",
    "deadlines_hold": "UPDATE events SET opened_at = opened_at + 1.5",
    "nobody_doubled": "DELETE FROM event_participants WHERE rowid = 3",
    "one_identity_each": "UPDATE event_participants SET participant = 'p99' WHERE rowid = 3",
    "one_run": "UPDATE events SET incarnation = incarnation + 1",
}


@pytest.mark.parametrize("rule", ROBBERIES)
def test_a_database_that_lost_something_is_caught(ran: Ran, rule: str, tmp_path: Path) -> None:
    """One thing is changed behind everybody's back, and the rule about it fails."""
    stolen = tmp_path / "quiz.db"
    with closing(sqlite3.connect(ran.run_dir / "quiz.db")) as whole, closing(sqlite3.connect(stolen)) as copy:
        whole.backup(copy)
        copy.execute(ROBBERIES[rule])
        copy.commit()
    ran.campaign.db, kept = f"sqlite:///{stolen}", ran.campaign.db
    try:
        report = judged(PLAN, ran.campaign, ran.run_dir)
    finally:
        ran.campaign.db = kept
    assert rule in {item.name for item in report.checks if item.verdict is Verdict.FAIL}
    assert report.verdict is Verdict.FAIL


def test_a_client_that_stayed_away_is_caught(ran: Ran) -> None:
    """What ended the rounds early is a broken rule of the report."""
    ran.campaign.broken["everybody_returns"] = "round 3: not back: 1 client"
    try:
        report = judged(PLAN, ran.campaign, ran.run_dir)
    finally:
        ran.campaign.broken.clear()
        judged(PLAN, ran.campaign, ran.run_dir)
    assert report.verdict is Verdict.FAIL


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_deaths_are_a_function_of_the_seed() -> None:
    """Most strike among the answers to the next question, the others anywhere within a period."""
    kills = [kill(PLAN, number, now=100.0, closes_at=100.5) for number in range(1, 51)]
    assert kills == [kill(PLAN, number, now=100.0, closes_at=100.5) for number in range(1, 51)]
    aimed = [due for due in kills if due.aim == BURST]
    assert len(aimed) == 40
    opening = 100.5 - experiment(PLAN).quiz.question_time + PERIOD
    assert {round(due.at, 6) for due in aimed} == {round(opening - 0.05, 6)}
    assert all(1 <= due.answer <= PLAN.clients for due in aimed)
    assert all(100.0 <= due.at <= 100.0 + PERIOD for due in kills if due.aim == ANYTIME)


def test_an_aim_is_never_in_the_past() -> None:
    """Whatever was shown last, however long ago."""
    for closes_at in (92.3, 99.0, 100.0, 101.4):
        due = kill(PLAN, 1, now=100.0, closes_at=closes_at)
        assert due.at >= 100.0 - 1e-6
        assert due.at <= 100.0 + PERIOD


def test_a_spread_ranks() -> None:
    """Of one hundred numbers, and of none."""
    found = spread(float(n) for n in range(1, 101))
    assert found is not None
    assert (found.n, found.mean, found.p50, found.p95, found.max) == (100, 50.5, 50.0, 95.0, 100.0)
    assert spread([]) is None


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_start_is_the_laboratorys_failure(tmp_path: Path) -> None:
    """With the end of its log, and nothing left running."""
    plan = CrashPlan(1, 2, 1, f"sqlite:///{tmp_path / 'no-such-folder' / 'quiz.db'}")
    with pytest.raises(HarnessError, match=r"nothing to kill: .*exit code .*no-such-folder"):
        asyncio.run(run(plan, tmp_path / "run", lambda _: None))


def test_bad_input_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """An output directory with something in it."""
    (tmp_path / "kept").touch()
    result = CliRunner().invoke(cli.chaos, ["crash", "--out", str(tmp_path)], standalone_mode=False)
    assert "choose another --out" in str(result.exception)


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """Exit code 4, "interrupted" on record, and no process left."""
    output, run_dir = tmp_path / "output", tmp_path / "run"
    command = [sys.executable, "-P", "-m", "resilience", "chaos", "crash", "--clients", "4", "--out", str(run_dir)]
    with output.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            log = run_dir / "events" / "server.jsonl"
            assert eventually_sync(lambda: log.exists() and bool(log.stat().st_size))
            children = descendants(process.pid)
            assert children
            process.send_signal(signal.SIGINT)
            process.wait(HANG_S)
        finally:
            process.kill()
    assert process.returncode == 4, output.read_text()
    assert eventually_sync(lambda: not any(lives(child) for child in children))
    assert read_run_info(run_dir).status == RunStatus.INTERRUPTED
    assert "Traceback" not in output.read_text()
