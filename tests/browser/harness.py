"""A server, a link to it through a real Toxiproxy, a real Chromium, and a host: what the tests of the pages act on.

Pages are loaded through the link, as a participant's would be; hosts and the tests' own questions go past it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from chaos.drivers.chromium.browser import FLAGS
from chaos.proxied_link import Address, ProxiedLink
from chaos.toxiproxy.provision import Binary
from resilience.client.host_client import HostClient, host
from resilience.experiment.primitives import CloseAll, Condition, Impose, Lift, Refuse
from resilience.protocol.messages import HostAction
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import Question
from resilience.runtime import RunClock

from ..support.chromium import chromium_program
from ..support.deadlines import HANG_S
from ..support.processes import eventually
from ..support.server_process import ADDRESS, KEY, ServerProcess, target
from .figures import FIGURES

expect.set_options(timeout=HANG_S * 1000)

LAUNCH = [flag for flag in FLAGS if flag != "--headless"]
SETTINGS = "[quiz]\nlobby = 3000\n"

QUESTIONS = tuple(
    Question(f"q{n}", text, choices, 1, 600.0)
    for n, (text, choices) in enumerate(
        [
            ("Which planet is closest to the sun?", ("Venus", "Mercury", "Mars", "Earth")),
            ("How many sides has a hexagon?", ("Five", "Six", "Seven", "Eight")),
            ("Which is the largest ocean?", ("Atlantic", "Pacific", "Indian", "Arctic")),
        ],
        1,
    )
)
PLAN = QuizPlan(QUESTIONS, title="Friday night")


NOTE_ANSWERS = """addEventListener("quiz:record", ({ detail: { kind, outcome, session_id, ref } }) => {
  if (kind === "answer.acked" && outcome === "accepted") window.quizAcknowledged(session_id, ref);
});"""


class Hosted:
    """One event with a host past the link."""

    def __init__(self, event: str, client: HostClient) -> None:
        self.event, self._client = event, client

    async def order(self, action: HostAction, phase: str) -> None:
        """Give a command, and wait until its phase is reached."""
        machine = self._client.machine
        await eventually(lambda: machine.status is not None and machine.pending is None)
        assert self._client.order(action)
        await eventually(lambda: machine.status is not None and machine.status.phase == phase)

    async def start(self) -> None:
        """Open the first question."""
        await self.order(HostAction.START, "question")

    async def reveal(self) -> None:
        """Close the question."""
        await self.order(HostAction.REVEAL, "reveal")

    async def advance(self, phase: str) -> None:
        """From the reveal to the leaderboard, from there to the next phase."""
        await self.order(HostAction.NEXT, phase)

    @property
    def connected(self) -> int:
        """Connected participants, as the host sees them."""
        status = self._client.machine.status
        return status.connected if status else -1


class BrowserWorld:
    """One server, its link and one browser; events and profiles are made for each test."""

    def __init__(self, server: ServerProcess, link: ProxiedLink, browser: Browser) -> None:
        self.server, self.link, self.browser = server, link, browser
        self.problems: list[str] = []
        self._accepted: set[tuple[str, str]] = set()
        FIGURES.chromium = browser.version
        self._conditions: list[Condition] = []

    async def impose(self, condition: Condition) -> None:
        """Begin a condition of the link; what a test leaves ends with its event."""
        self._conditions.append(condition)
        await self.link.apply(Impose(condition))

    async def lift(self, condition: Condition) -> None:
        """End a condition of the link."""
        self._conditions.remove(condition)
        await self.link.apply(Lift(condition))

    async def cut(self) -> None:
        """Close every connection over the link."""
        await self.link.apply(CloseAll())

    async def cut_off(self) -> None:
        """Close every connection, and refuse new ones until :meth:`heal`."""
        await self.impose(Refuse())
        await self.cut()

    async def heal(self) -> None:
        """End every condition of the link."""
        for condition in list(self._conditions):
            await self.lift(condition)

    @property
    def origin(self) -> str:
        """The pages through the link."""
        return f"http://{self.link.address}"

    def url(self, event: str, path: str = "/play", more: str = "") -> str:
        """A page of an event."""
        return f"{self.origin}{path}?event={event}{more}"

    @asynccontextmanager
    async def hosted(self, plan: QuizPlan = PLAN) -> AsyncIterator[Hosted]:
        """A new event."""
        event = f"e{secrets.token_hex(4)}"
        async with host(self.server.url, key=KEY, plan=plan, event=event) as client:
            await eventually(lambda: client.machine.status is not None)
            try:
                yield Hosted(event, client)
            finally:
                await self.heal()
        self._require_answers(event)

    @asynccontextmanager
    async def profile(self, **options: Any) -> AsyncIterator[BrowserContext]:  # noqa: ANN401 - Playwright's own
        """A profile of its own, whose pages must throw nothing."""
        context = await self.browser.new_context(viewport={"width": 390, "height": 780}, **options)
        context.set_default_timeout(HANG_S * 1000)
        await context.expose_binding("quizAcknowledged", self._acknowledged)
        await context.add_init_script(NOTE_ANSWERS)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        context.on(
            "console", lambda said: self.problems.append(said.text) if is_problem(said.type, said.text) else None
        )
        try:
            yield context
        finally:
            await context.close()
        assert self.problems == []

    # answers ----------------------------------------------------------------------------------------------------------

    def _acknowledged(self, _source: object, session: str, ref: str) -> None:
        """A page received the verdict that this answer counts."""
        self._accepted.add((session, ref))

    def _require_answers(self, event: str) -> None:
        """Every answer that counts by a verdict which a page received is stored, and once."""
        rows = self.rows("select participant, question, key from answers where event like ?", f"{event}#%")
        members = {
            row[0] for row in self.rows("select participant from event_participants where event like ?", f"{event}#%")
        }
        accepted = {(who, ref) for who, ref in self._accepted if who in members}
        lost = accepted - {(who, f"{question}/{key}") for who, question, key in rows}
        twice = len(rows) - len({(who, question) for who, question, _ in rows})
        for name, number in (("answers", len(accepted)), ("lost", len(lost)), ("counted_twice", twice)):
            FIGURES.count(name, number)
        assert (lost, twice) == (set(), 0)

    # what the server has ----------------------------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the server's database."""
        with sqlite3.connect(f"file:{self.server.folder / 'quiz.db'}?mode=ro", uri=True) as database:
            return database.execute(query, values).fetchall()

    def answers(self, event: str) -> list[tuple[str, int]]:
        """The stored answers of an event: question and choice."""
        found = self.rows("select question, choice from answers where event like ? order by question", f"{event}#%")
        return [(str(question), int(choice)) for question, choice in found]

    def participants(self, event: str) -> list[tuple[str, int]]:
        """The stored participants of an event: name and connection number."""
        found = self.rows("select name, connection_no from event_participants where event like ?", f"{event}#%")
        return [(str(name), int(number)) for name, number in found]

    def logged(self, kind: str, event: str) -> list[dict[str, Any]]:
        """Records of this kind in the server's event log about participants of this event."""
        members = {
            row[0] for row in self.rows("select participant from event_participants where event like ?", f"{event}#%")
        }
        lines = (self.server.folder / "events.jsonl").read_text("utf-8").splitlines()
        records = [json.loads(line) for line in lines if kind in line]
        return [record for record in records if record["kind"] == kind and record.get("session_id") in members]


def is_problem(kind: str, text: str) -> bool:
    """Whether a page wrote an error that is not the browser's own word about a lost connection or a file."""
    return kind == "error" and "WebSocket connection to" not in text and "Failed to load resource" not in text


@asynccontextmanager
async def browser_world(
    folder: Path, binary: Binary, settings: str = SETTINGS, flags: Sequence[str] = ()
) -> AsyncIterator[BrowserWorld]:
    """A world whose server has these settings, and whose Chromium has these flags too."""
    program = chromium_program()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with target(folder, settings, "--event-log", str(folder / "events.jsonl")) as server, async_playwright() as p:
        link = await ProxiedLink.start("alpha", binary, folder / "toxiproxy.log", RunClock())
        link.api.timeout_s = HANG_S  # no test here is about a proxy that hangs
        browser = await p.chromium.launch(
            executable_path=program, args=[*LAUNCH, *root, *flags], timeout=HANG_S * 1000, ignore_default_args=IGNORED
        )
        try:
            await link.connect(Address(ADDRESS, server.port))
            yield BrowserWorld(server, link, browser)
        finally:
            await browser.close()
            await link.close()
        assert server.noise() == []


IGNORED = ["--disable-back-forward-cache"]
"""What Playwright switches off and people have on."""


async def joined(context: BrowserContext, url: str, name: str = "Ada") -> Page:
    """A page that has joined an event."""
    page = await context.new_page()
    await join(page, url, name)
    return page


async def join(page: Page, url: str, name: str = "Ada") -> None:
    """Join an event with this page."""
    await page.goto(url)
    await page.get_by_label("Your name").fill(name)
    await page.get_by_role("button", name="Join").click()
    await expect(page.locator("header .score strong")).to_have_text(name)
    await expect(page.get_by_text("Connecting to the quiz")).to_have_count(0)


async def given_up(world: BrowserWorld, page: Page, event: str) -> None:
    """Join with the ladder of ten attempts, and lose the server until the page shows that it has made them all.

    The page's own time is run ahead.
    """
    await page.clock.install()
    await join(page, world.url(event, more="&preset=classic"))
    await expect(page.get_by_text("You are in")).to_be_visible()
    await world.cut_off()
    async with asyncio.timeout(HANG_S):
        while not await page.locator(".banner.red").count():
            await page.clock.run_for(2000)


async def collect_records(page: Page) -> Callable[[str], Any]:
    """Collect the records of the page's log from its next document on; returns how to read those of a kind."""
    script = "window.quizRecords = []; addEventListener('quiz:record', (e) => window.quizRecords.push(e.detail));"
    await page.add_init_script(script)

    async def of(kind: str) -> list[dict[str, Any]]:
        return await page.evaluate("(kind) => window.quizRecords.filter((r) => r.kind === kind)", kind)  # type: ignore[no-any-return]

    return of


async def watch_banners(page: Page) -> Callable[[], Awaitable[list[str]]]:
    """Watch the banners of the document that is shown; returns how to read the classes of those that appeared."""
    await page.evaluate("""() => {
      window.banners = [];
      new MutationObserver(() => {
        const shown = document.querySelector(".banner")?.className;
        if (shown && window.banners.at(-1) !== shown) window.banners.push(shown);
      }).observe(document.body, { childList: true, subtree: true, attributes: true });
    }""")
    return lambda: page.evaluate("window.banners")


async def until(condition: Callable[[], Any]) -> None:
    """Wait until an awaited condition holds."""
    async with asyncio.timeout(HANG_S):
        while not await condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)
