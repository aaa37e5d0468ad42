"""The driver with a real Chromium: the page that ships passes, faults of a real Toxiproxy are noticed and survived."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from chaos.drivers import messages as m
from chaos.drivers.check import Limits, examine
from chaos.drivers.chromium import tab as tab_module
from chaos.drivers.chromium.program import ChromiumDriver, PageSettings
from chaos.drivers.clients import DriverClientState as S
from chaos.drivers.echo_target import EchoTarget
from chaos.drivers.examined import examine_driver
from chaos.drivers.process import EXAMPLES, DriverProcess, environment_of
from chaos.drivers.trial import Trial
from chaos.proxied_link import Address, ProxiedLink
from chaos.supervised import SupervisedProcess
from chaos.toxiproxy.provision import Binary
from resilience.errors import HarnessError
from resilience.experiment.primitives import CloseAll, Direction, Drop, Impose, Lift, Refuse
from resilience.network_addresses import with_port
from resilience.runtime import RunClock

from ....support.chromium import chromium_program
from ....support.deadlines import HANG_S
from ....support.processes import descendants, eventually

PAGE = EXAMPLES / "reconnecting.html"
COMMAND = [sys.executable, "-m", "resilience", "chaos", "driver", "chromium"]
PATIENT = Limits(load=HANG_S, answer=HANG_S, recover=HANG_S, refusal=0.1, suspension=0.5, stop=HANG_S)

MOST_LINES = 60


@pytest.fixture(autouse=True)
def program() -> str:
    """Chromium's path; without it nothing here can run."""
    return chromium_program()


def test_the_page_that_ships_is_short() -> None:
    assert len(PAGE.read_text("utf-8").splitlines()) <= MOST_LINES


async def test_the_page_that_ships_passes_and_leaves_nothing_running(tmp_path: Path) -> None:
    found = await examine([*COMMAND, str(PAGE)], tmp_path / "log", clients=2, limits=PATIENT)
    assert [finding for finding in found.findings if not finding.holds] == []
    unspoken = {"gave_up", "observed", "recorded", "received", "sent"}
    assert all(count for name, count in found.seen.items() if name not in unspoken), found.seen
    await eventually(lambda: not [pid for pid in descendants(os.getpid()) if "chrom" in command_of(pid)])


async def test_the_page_of_the_quiz_passes_the_check_with_the_quiz_server(tmp_path: Path) -> None:
    """Its records say what the reports of another driver would, and its messages are reported too."""
    found = await examine_driver((), None, tmp_path / "log", clients=2, slower=10.0, quiz=True)
    assert [finding for finding in found.findings if not finding.holds] == []
    assert all(found.seen[name] for name in ("recorded", "received", "sent"))


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", errors="replace")
    except OSError:
        return ""


@asynccontextmanager
async def trial_over(link: ProxiedLink, log: Path) -> AsyncIterator[Trial]:
    """Two clients in session, tabs of one profile, whose way leads over the link."""
    command = [*COMMAND, "--tabs", str(PAGE)]
    child = await SupervisedProcess.spawn("driver", command, log, piped=True, env=environment_of(os.environ))
    trial = Trial(DriverProcess(child), f"ws://{link.address}/", {})
    await trial.measure_clock()
    reading = asyncio.create_task(trial.read())
    try:
        for name in ("a", "b"):
            await trial.open(name)
        assert await trial.sees(lambda: trial.all_are(S.SESSION), HANG_S)
        yield trial
    finally:
        reading.cancel()
        await child.end_now()


async def test_pages_notice_a_cut_a_refusal_and_a_blackhole_and_come_back(binary: Binary, tmp_path: Path) -> None:
    """Each through a real proxy; the losses, the failed attempts and the returns are all counted."""
    link = await ProxiedLink.start("alpha", binary, tmp_path / "toxiproxy.log", RunClock())
    async with EchoTarget() as target:
        host, _, port = target.url.removeprefix("ws://").rstrip("/").partition(":")
        await link.connect(Address(host, int(port)))
        async with trial_over(link, tmp_path / "driver.log") as trial:
            suspended_with_it = trial.process.child.process.pid
            assert {os.getpgid(pid) for pid in descendants(suspended_with_it)} == {suspended_with_it}

            await link.apply(CloseAll())
            await returned(trial, losses=2, opened=4)

            await link.apply(Impose(Refuse()))
            await link.apply(CloseAll())
            await seen(trial, lost=4, failed=2)
            await link.apply(Lift(Refuse()))
            await returned(trial, losses=4, opened=6)

            hole = Drop(Direction.DOWN)
            await link.apply(Impose(hole))
            await trial.act()
            await seen(trial, lost=6)
            await link.apply(Lift(hole))
            await returned(trial, losses=6, opened=8)
        assert (trial.problems, trial.wrong_order, trial.wrong_times, trial.wrong_lines) == ([], [], [], [])
    await link.close()


async def seen(trial: Trial, **counts: int) -> None:
    """Wait until each report has come so many times."""
    assert await trial.sees(lambda: all(trial.seen[name] >= count for name, count in counts.items()), HANG_S), (
        trial.seen,
        trial.end,
    )


async def returned(trial: Trial, *, losses: int, opened: int) -> None:
    """Wait until both clients are back, by so many losses and openings since the start."""
    await seen(trial, lost=losses, opened=opened, restored=opened)
    assert await trial.sees(lambda: trial.all_are(S.SESSION), HANG_S)
    assert (trial.seen["lost"], trial.seen["restored"]) == (losses, opened)


# the driver in this process -------------------------------------------------------------------------------------------


class Running:
    """A driver in this process that opens one client, ``a``."""

    def __init__(self, settings: PageSettings, url: str) -> None:
        self.reports: list[m.Report] = []
        self.orders = asyncio.StreamReader()
        driver = ChromiumDriver(settings, chromium_program(), write=self.reports.append, say=print)
        self.order(m.Open("a", url, 1))
        self.task = asyncio.create_task(driver.run(self.orders))

    def order(self, order: m.Order) -> None:
        """Give the driver an order."""
        self.orders.feed_data(m.encode(order))

    async def says(self, *names: str) -> None:
        """Wait until these are the types of what it reported, in order, with nothing else between."""
        await eventually(lambda: self.names[: len(names)] == list(names) or self.task.done())
        assert self.names[: len(names)] == list(names)

    @property
    def names(self) -> list[str]:
        """The types of what it reported."""
        return [str(report.__struct_config__.tag) for report in self.reports]

    async def failure(self) -> str:
        """The words with which it ends."""
        with pytest.raises(HarnessError) as caught:
            async with asyncio.timeout(HANG_S):
                await self.task
        return str(caught.value)


@pytest.mark.parametrize(
    "script, words",
    [
        ("unknown();", "a: the page threw before it took orders: ReferenceError: unknown is not defined"),
        ("resilience.takeOrders({ open() { unknown(); } });", "a: open threw ReferenceError: unknown is not defined"),
    ],
)
async def test_a_page_that_throws_ends_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setattr(tab_module, "THROWN_TIMEOUT_S", 0.01)
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><script>{script}</script>")
    assert words in await Running(PageSettings(str(page)), "ws://127.0.0.1:20/").failure()


@pytest.mark.parametrize(
    "what, words",
    [
        ("--type=renderer", "a: its tab crashed"),
        ("--remote-debugging-port", "Chromium ended by itself (killed by SIGKILL); its log ends:"),
    ],
)
async def test_a_tab_or_a_browser_that_dies_ends_the_driver(what: str, words: str) -> None:
    driver = Running(PageSettings(str(PAGE)), "ws://127.0.0.1:20/")
    await driver.says("attempt")
    for pid in descendants(os.getpid()):
        command = command_of(pid)
        if what in command and ("--type=" in what or "--type=" not in command):
            os.kill(pid, signal.SIGKILL)
    assert words in await driver.failure()


APPLICATION = """
<!doctype html>
<script type="module">
  const known = localStorage.getItem("visited");
  localStorage.setItem("visited", "yes");
  window.play = (report) => {
    report("attempt");
    const socket = new WebSocket(`ws://${location.host}/`);
    socket.onopen = () => { report("opened"); report("restored", { how: known ? "resumed" : "fresh" }); };
  };
</script>
"""

GLUE = """
addEventListener("load", () => {
  resilience.takeOrders({ open: () => play(resilience.report), act: () => location.reload() });
});
"""


def answer_with_application(connection: ServerConnection, request: Request) -> Response | None:
    """The page for a plain request; a handshake is left alone."""
    if "Upgrade" in request.headers:
        return None
    response = connection.respond(HTTPStatus.OK, APPLICATION)
    response.headers["Content-Type"] = "text/html"
    return response


async def test_an_application_of_its_own_server_is_driven_by_a_script_and_survives_a_reload(tmp_path: Path) -> None:
    """The page comes from the client's own address; a reload is a loss, and the profile remembers the session."""
    script = tmp_path / "glue.js"
    script.write_text(GLUE)
    async with serve(lambda it: it.wait_closed(), "127.0.0.1", 0, process_request=answer_with_application) as server:
        address = with_port(*next(iter(server.sockets)).getsockname())
        driver = Running(PageSettings("http://{address}/", script), f"ws://{address}/ws")
        await driver.says("attempt", "opened", "restored")
        driver.order(m.Act("a", "a/1"))
        await driver.says("attempt", "opened", "restored", "lost", "attempt", "opened", "restored")
        driver.order(m.StopDriver())
        async with asyncio.timeout(HANG_S):
            await driver.task
    first, lost, second = driver.reports[2], driver.reports[3], driver.reports[6]
    assert isinstance(first, m.Restored)
    assert isinstance(second, m.Restored)
    assert (first.how, second.how) == (m.Restoration.FRESH, m.Restoration.RESUMED)
    assert isinstance(lost, m.Lost)
    assert lost.cause == "the page was left"
    assert driver.names[-1] == "ended"
