"""The quiz's own pages as the clients of a chaos run: the script that ships reports what their connections do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chaos.drivers import messages as m
from chaos.drivers.chromium.program import ChromiumDriver, PageSettings
from chaos.drivers.process import EXAMPLES, resolve_command
from chaos.real_lane import RealLane
from chaos.toxiproxy.provision import Binary
from reports.build import build_report
from reports.plan import plans
from resilience.eventlog.vocabulary import LogEventKind as K
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.drivers import BUNDLED_DRIVERS, CHROMIUM, StdioDriver
from resilience.experiment.loader import load, parse
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus, read_run_info

from ..docs.markdown import blocks
from ..support.chromium import chromium_program
from ..support.deadlines import HANG_S
from ..support.processes import eventually
from ..support.server_process import target
from ..support.stored_lines import read_observations

SCRIPT = EXAMPLES / "quiz-pages.js"
QUIZ = "[quiz]\nlobby = 0.5\nquestion_time = 600\n"


def recorded(reports: list[m.Report], *kinds: K) -> list[m.Recorded]:
    """The records of these kinds."""
    return [report for report in reports if isinstance(report, m.Recorded) and report.kind in kinds]


async def test_the_page_of_the_quiz_joins_answers_and_reports_its_loss_and_its_return(tmp_path: Path) -> None:
    reports: list[m.Report] = []
    orders = asyncio.StreamReader()
    settings = PageSettings("http://{address}/play?event=quiz", SCRIPT)
    driver = ChromiumDriver(settings, chromium_program(), write=reports.append, say=print)
    async with target(tmp_path, QUIZ) as server:
        orders.feed_data(m.encode(m.Open("a", server.url, 1)))
        task = asyncio.create_task(driver.run(orders))
        await eventually(lambda: bool(recorded(reports, K.SESSION_JOINED)) or task.done())
        await eventually(lambda: len(recorded(reports, K.STREAM_DELIVERED)) >= 2 or task.done())  # a question, too
        orders.feed_data(m.encode(m.Act("a", "a/1")))
        await eventually(lambda: bool(recorded(reports, K.ANSWER_ACKED)) or task.done())
        await server.kill()
        await eventually(lambda: bool(recorded(reports, K.TRANSPORT_LOST)) or task.done())
    async with target(tmp_path, QUIZ, port=server.port):
        await eventually(lambda: bool(recorded(reports, K.SESSION_RESTORED)) or task.done())
        orders.feed_data(m.encode(m.StopDriver()))
        async with asyncio.timeout(HANG_S):
            await task
    joined, restored = recorded(reports, K.SESSION_JOINED, K.SESSION_RESTORED)
    assert (joined.kind, restored.kind) == (K.SESSION_JOINED, K.SESSION_RESTORED)
    assert joined.session_id == restored.session_id != ""
    assert "answer=-" not in (restored.detail or "")  # the state that it holds has the answer


SMALL = (
    *("cohorts.0.clients=2", "cohorts.1.clients=5", "quiz.lobby=6.0", "ramp=2.0", "hypothesis.within=24.0"),
    *("duration=40.0", "faults.0.at=24.1", "faults.1.at=25.6", "faults.2.at=29.0", "faults.2.duration=2.0"),
    *("faults.3.at=28.0", "faults.3.duration=1.0", "faults.4.at=33.0", "faults.5.at=33.0"),
    *(f"faults.{cut}.{key}" for cut in (0, 1) for key in ("every=3.0", "times=1")),
    *(f"faults.{blackhole}.duration=0.5" for blackhole in (4, 5)),
)
"""Two pages have about ten times as long to join as they take on an idle machine."""


def test_browsers_and_programs_are_judged_in_one_run(binary: Binary, tmp_path: Path) -> None:
    """Both cohorts come back; what the pages hold is compared with the server's log, and no check accuses either."""
    chromium_program()
    run_dir = tmp_path / "run"
    outcome = execute(RealLane(toxiproxy=binary.path, workers=1), load("browsers", SMALL), 29, run_dir)
    assert (outcome.status, outcome.cause) == (RunStatus.COMPLETED, None)
    summary = build_report(run_dir)
    assert [(item.name, item.detail) for item in summary.invariants if item.verdict is Verdict.FAIL] == []
    verdicts = {item.name: item.verdict for item in summary.invariants}
    for name in ("restored_state_true", "one_identity_each", "stored_answers_sent", "acknowledged_answers_kept"):
        assert verdicts[name] is Verdict.PASS, name
    observed = {row.actor for row in read_observations(run_dir)}
    assert {actor.partition("-")[0] for actor in observed} == {"pages", "programs"}
    assert summary.pages is not None
    assert (summary.pages.pages, summary.pages.lost, summary.pages.counted_twice) == (2, 0, 0)
    assert summary.pages.said_saved > summary.pages.falsely_saved == 0
    refused = next(row for row in summary.pages.by_fault if row.fault == "refuse")
    assert refused.to_amber_s.n == refused.to_live_s.n == refused.episodes == 2  # no page is back before 2 s
    assert (refused.to_amber_s.least or 0.0) >= 1.0  # the page shows no outage of less
    rates = {name: block.success_rate for name, block in summary.by_cohort.items()}
    assert rates.keys() == {"pages", "programs"}
    assert all(rate.restored == rate.affected > 0 for rate in rates.values())
    assert "Chromium" in read_run_info(run_dir).versions["driver"]


@pytest.mark.parametrize(
    "words, component",
    [
        ("Saved on this device.", "question"),
        (" on this device", "reconnection-status"),
        ("Your progress is saved.", "reconnection-status"),
    ],
)
def test_the_script_looks_for_words_that_the_page_says(words: str, component: str, root: Path) -> None:
    says = (root / "resilience" / "web" / "components" / f"{component}.js").read_text("utf-8")
    assert words in says
    assert words in SCRIPT.read_text("utf-8")


def test_the_bundled_driver_is_the_page_of_the_quiz_server() -> None:
    driver = BUNDLED_DRIVERS[CHROMIUM]
    assert isinstance(driver, StdioDriver)
    assert str(SCRIPT) in resolve_command(driver.command)
    assert SCRIPT.is_file()


def test_the_experiment_in_the_documentation_can_pass(root: Path) -> None:
    page = (root / "docs" / "browser.md").read_text("utf-8")
    (block,) = blocks(page, "toml")
    experiment = parse(block.text, "pages.toml")
    assert all(planned.can_pass for planned in plans(experiment))
    assert BUNDLED_DRIVERS[CHROMIUM] in experiment.drivers_by_cohort.values()
