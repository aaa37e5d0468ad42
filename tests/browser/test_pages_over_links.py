"""The participant's page in a real Chromium through a real Toxiproxy: what is lost comes back, and nothing is lost.

Each test asserts the page, and what the server has stored or logged. All share one server, link and browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from chaos.toxiproxy.provision import Binary
from resilience.experiment.primitives import Direction, Drop

from ..support.deadlines import HANG_S
from ..support.processes import eventually
from .harness import BrowserWorld, browser_world, collect_records, given_up, join, joined, until, watch_banners

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(binary: Binary, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BrowserWorld]:
    """The world of all these tests."""
    async with browser_world(tmp_path_factory.mktemp("pages"), binary) as started:
        yield started


async def choose(page: Page, choice: str) -> None:
    await page.get_by_role("button", name=choice).click()


async def points(page: Page) -> str:
    """The score, without the rank, which a new snapshot may add."""
    return (await page.locator("header .score span").inner_text()).partition(",")[0]


async def test_a_loss_shows_and_ends_and_the_score_is_kept(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        shown = await watch_banners(page)
        await quiz.start()
        await choose(page, "Mercury")
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        await quiz.reveal()
        await expect(page.get_by_text("✓ right, your choice")).to_be_visible()
        score = await points(page)
        assert score != "0 points"

        await world.cut_off()
        await expect(page.locator(".banner.amber")).to_contain_text("Attempt")
        await expect(page.locator(".banner.amber")).to_contain_text("Your progress is saved.")
        await world.heal()
        await expect(page.locator(".banner")).to_have_count(0)
        assert await shown() == ["banner amber", "banner green"]
        assert await points(page) == score
        ((name, connections),) = world.participants(quiz.event)
        assert (name, connections > 1) == ("Ada", True)
        assert world.answers(quiz.event) == [("q1", 1)]


async def test_an_answer_given_offline_is_saved_and_sent_on_return(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await quiz.start()
        await expect(page.locator(".choice")).to_have_count(4)
        await world.cut_off()
        await expect(page.locator(".banner.amber")).to_be_visible()
        await choose(page, "Mercury")
        await expect(page.locator(".verdict")).to_contain_text("Saved on this device.")
        await expect(page.locator(".banner.amber")).to_contain_text("1 answer waits on this device")
        assert world.answers(quiz.event) == []
        await world.heal()
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        assert world.answers(quiz.event) == [("q1", 1)]


async def test_an_answer_survives_the_tab_that_was_closed_while_offline(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await quiz.start()
        await expect(page.locator(".choice")).to_have_count(4)
        await world.cut_off()
        await choose(page, "Mercury")
        await expect(page.locator(".verdict")).to_contain_text("Saved on this device.")
        await page.close()
        await world.heal()
        again = await context.new_page()
        await again.goto(world.url(quiz.event))
        await expect(again.locator(".verdict")).to_have_text("Your answer is in.")
        await expect(again.locator("header .score strong")).to_have_text("Ada")
        assert world.answers(quiz.event) == [("q1", 1)]
        assert len(world.participants(quiz.event)) == 1


async def test_a_tab_that_was_closed_and_opened_again_is_the_same_participant(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await quiz.start()
        await choose(page, "Mars")
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        await page.close()
        join = await context.new_page()
        await join.goto(f"{world.origin}/join")
        await join.get_by_role("button", name=f"Return to {quiz.event} as Ada").click()
        await expect(join.locator(".verdict")).to_have_text("Your answer is in.")
        await expect(join.locator(".chosen")).to_contain_text("Mars")
        assert [name for name, _ in world.participants(quiz.event)] == ["Ada"]
        await eventually(lambda: len(world.logged("session.resumed", quiz.event)) == 1)


async def test_a_silent_hole_is_noticed_without_a_close(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await context.new_page()
        records = await collect_records(page)
        await join(page, world.url(quiz.event))
        await expect(page.get_by_text("You are in")).to_be_visible()
        hole = Drop(Direction.BOTH)
        await world.impose(hole)
        await expect(page.locator(".banner.amber")).to_be_visible()
        assert len(await records("peer.declared_dead")) == 1
        await world.lift(hole)
        await expect(page.locator(".banner")).to_have_count(0)
        await until(lambda: records("session.restored"))
        await quiz.start()
        await expect(page.locator(".choice")).to_have_count(4)


async def test_a_second_tab_asks_and_takes_over_and_the_first_never_retries(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        first = await joined(context, world.url(quiz.event))
        second = await context.new_page()
        await second.goto(world.url(quiz.event))
        await expect(second.get_by_role("heading", name="This quiz is open in another tab")).to_be_visible()
        await expect(first.get_by_text("You are in")).to_be_visible()

        await second.get_by_role("button", name="Use it here").click()
        await expect(second.get_by_text("You are in")).to_be_visible()
        await expect(first.get_by_role("heading", name="You continue in another tab or window")).to_be_visible()
        number = world.participants(quiz.event)[0][1]
        await asyncio.sleep(0.5)  # a duel would show: each takeover has a number
        assert world.participants(quiz.event) == [("Ada", number)]

        await first.get_by_role("button", name="Use it here").click()
        await expect(first.get_by_text("You are in")).to_be_visible()
        await expect(second.get_by_role("heading", name="You continue in another tab or window")).to_be_visible()
        assert [name for name, _ in world.participants(quiz.event)] == ["Ada"]


async def test_attempts_run_out_and_a_click_begins_again(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await context.new_page()
        records = await collect_records(page)
        await given_up(world, page, quiz.event)
        red = page.locator(".banner.red")
        await expect(red).to_contain_text("The connection could not be restored. Your progress is saved.")
        delays = [record["value"] for record in await records("backoff.scheduled")]
        assert delays == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
        assert len(await records("client.gave_up")) == 1

        await world.heal()
        await red.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("You are in")).to_be_visible()
        await expect(page.locator(".banner.red")).to_have_count(0)
        await eventually(lambda: quiz.connected == 1)


async def test_a_crowd_joins_and_sees_one_another(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as one, world.profile() as two, world.profile() as three:
        names = ("Ada", "Bo", "Cem")
        pages = await asyncio.gather(
            *(
                joined(context, world.url(quiz.event), name)
                for context, name in zip((one, two, three), names, strict=True)
            )
        )
        for page in pages:
            await expect(page.get_by_text("3 participants")).to_be_visible()
        assert sorted(name for name, _ in world.participants(quiz.event)) == list(names)


async def test_a_wrong_code_and_a_wrong_name_have_a_way_on(world: BrowserWorld) -> None:
    async with world.profile() as context:
        page = await context.new_page()
        await page.goto(world.url("nothing-here"))
        await page.get_by_label("Your name").fill("Ada")
        await page.get_by_role("button", name="Join").click()
        await expect(page.get_by_role("heading", name="There is no such quiz")).to_be_visible()
        await page.get_by_role("link", name="Another code").click()
        await page.get_by_label("Code of the quiz").fill("quiz")
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_label("Your name").fill("A\u202eda")
        await page.get_by_role("button", name="Join").click()
        await expect(page.get_by_role("alert").first).to_contain_text("This name cannot be used")


async def test_flapping_makes_no_second_participant_and_no_red_banner(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        shown = await watch_banners(page)
        for _ in range(4):
            await world.cut()
            await eventually(lambda: quiz.connected == 1)
        await expect(page.locator(".banner")).to_have_count(0)
        await quiz.start()
        await choose(page, "Mercury")
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        assert len(world.participants(quiz.event)) == 1
        assert "banner red" not in await shown()


HOOK = """async (base) => {
  const { html, render } = await import(`${base}vendor/preact.js`);
  const { useReconnection } = await import(`${base}hooks/use-reconnection.js`);
  window.calls = 0;
  function Probe() {
    const state = useReconnection(() => { window.calls += 1; }, !window.isBack, { maxAttempts: 2 });
    window.hook = state;
    return html`<p id="hook">${JSON.stringify(state)}</p>`;
  }
  const root = document.body.appendChild(document.createElement("div"));
  window.show = () => render(html`<${Probe} />`, root);
  window.show();
}"""


async def test_the_hook_use_reconnection_calls_until_it_has_given_up_and_reset_begins_again(
    world: BrowserWorld,
) -> None:
    async with world.profile() as context:
        page = await context.new_page()
        await page.clock.install()
        await page.goto(f"{world.origin}/join")
        style = await page.locator("link[rel=stylesheet]").get_attribute("href")
        assert style is not None
        await page.evaluate(HOOK, style.removesuffix("style.css"))
        await expect(page.locator("#hook")).to_contain_text('"isReconnecting":true,"attemptCount":1')
        async with asyncio.timeout(HANG_S):
            while not await page.evaluate("window.hook.hasGivenUp"):
                await page.clock.run_for(500)
        assert await page.evaluate("[window.calls, window.hook.attemptCount, window.hook.nextAttemptSeconds]") == [
            2,
            2,
            None,
        ]
        await page.evaluate("window.hook.reset()")
        await page.clock.run_for(500)
        await until(lambda: page.evaluate("window.calls === 3"))
        await page.evaluate("window.isBack = true; window.show()")
        await expect(page.locator("#hook")).to_contain_text('"isReconnecting":false,"attemptCount":0')


LOADED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter(({ name }) => !name.endsWith("icon.svg")) // fetched when the browser likes
  .map(({ transferSize, encodedBodySize }) => [transferSize, encodedBodySize])"""
REVALIDATED = 300
"""The bytes that Resource Timing counts for a response of the cache which the server has confirmed."""


async def test_a_page_is_three_compressed_files_and_a_reload_downloads_none_again(world: BrowserWorld) -> None:
    async with world.profile() as context:
        page = await context.new_page()
        await page.goto(f"{world.origin}/join")
        await expect(page.get_by_label("Code of the quiz")).to_be_visible()
        first = await page.evaluate(LOADED)
        assert len(first) == 3  # document, script, style
        assert all(transferred > body for transferred, body in first)
        assert sum(transferred for transferred, _ in first) < 50_000
        await page.reload()
        await expect(page.get_by_label("Code of the quiz")).to_be_visible()
        assert [transferred for transferred, _ in await page.evaluate(LOADED)] == [REVALIDATED, 0, 0]


NO_STORAGE = """
delete window.indexedDB;
Object.defineProperty(window, "indexedDB", { get() { throw new Error("forbidden"); } });
for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, { get() { throw new Error("forbidden"); } });
"""


async def test_without_storage_the_page_works_and_calls_nothing_saved(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        await context.add_init_script(NO_STORAGE)
        page = await joined(context, world.url(quiz.event), "<b>Ada</b>")
        await quiz.start()
        await expect(page.locator(".choice")).to_have_count(4)
        await world.cut_off()
        await choose(page, "Mercury")
        await expect(page.locator(".verdict")).to_have_text("Your answer waits to be sent: keep this page open.")
        await expect(page.locator(".banner.amber")).to_contain_text("1 answer to be sent: keep this page open.")
        await world.heal()
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        await world.cut_off()
        await expect(page.locator(".banner.amber")).to_contain_text("Keep this page open to stay in your place.")
        assert "saved" not in await page.locator("#app").inner_text()
        assert world.answers(quiz.event) == [("q1", 1)]
