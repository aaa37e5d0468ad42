"""The quiz's own pages as the clients of a chaos run: the script that ships reports what their connections do."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chaos.drivers import messages as m
from chaos.drivers.chromium.program import ChromiumDriver, PageSettings
from chaos.drivers.process import EXAMPLES, resolve_command
from reports.plan import plans
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.loader import parse

from ..docs.markdown import blocks
from ..support.chromium import chromium_program
from ..support.deadlines import HANG_S
from ..support.processes import eventually
from ..support.server_process import target

SCRIPT = EXAMPLES / "quiz-pages.js"
QUIZ = "[quiz]\nlobby = 0.5\nquestion_time = 600\n"


def reported(reports: list[m.Report], kind: type[m.Report]) -> list[m.Report]:
    """The reports of a kind."""
    return [report for report in reports if isinstance(report, kind)]


async def test_the_page_of_the_quiz_joins_answers_and_reports_its_loss_and_its_return(tmp_path: Path) -> None:
    reports: list[m.Report] = []
    orders = asyncio.StreamReader()
    settings = PageSettings("http://{address}/play?event=quiz", SCRIPT)
    driver = ChromiumDriver(settings, chromium_program(), write=reports.append, say=print)
    async with target(tmp_path, QUIZ) as server:
        orders.feed_data(m.encode(m.Open("a", server.url, 1)))
        task = asyncio.create_task(driver.run(orders))
        await eventually(lambda: bool(reported(reports, m.Restored)) or task.done())
        await eventually(lambda: len(reported(reports, m.Observed)) >= 2 or task.done())  # present, and a question
        orders.feed_data(m.encode(m.Act("a", "a/1")))
        await eventually(lambda: bool(reported(reports, m.Acknowledged)) or task.done())
        await server.kill()
        await eventually(lambda: bool(reported(reports, m.Lost)) or task.done())
    async with target(tmp_path, QUIZ, port=server.port):
        await eventually(lambda: len(reported(reports, m.Restored)) > 1 or task.done())
        orders.feed_data(m.encode(m.StopDriver()))
        async with asyncio.timeout(HANG_S):
            await task
    hows = [report.how for report in reports if isinstance(report, m.Restored)]
    assert hows == [m.Restoration.FRESH, m.Restoration.RESUMED]


def test_the_experiment_in_the_documentation_can_pass(root: Path) -> None:
    page = (root / "docs" / "browser.md").read_text("utf-8")
    (block,) = blocks(page, "toml")
    experiment = parse(block.text, "pages.toml")
    assert all(planned.can_pass for planned in plans(experiment))
    assert isinstance(experiment.driver, StdioDriver)
    assert str(SCRIPT) in resolve_command(experiment.driver.command)
    assert SCRIPT.is_file()
