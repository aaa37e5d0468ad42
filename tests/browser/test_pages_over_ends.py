"""What outlives an end: of the server, of the browser's process, of a page that was frozen or left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, async_playwright, expect
from playwright.async_api import Error as PlaywrightError

from chaos.toxiproxy.provision import Binary
from resilience.experiment.primitives import Direction, Drop, Freeze

from ..support.chromium import chromium_program
from ..support.deadlines import HANG_S
from ..support.processes import descendants, eventually
from ..support.server_process import target
from .devtools import devtools
from .figures import FIGURES
from .harness import IGNORED, LAUNCH, SETTINGS, BrowserWorld, browser_world, collect_records, join, joined, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(binary: Binary, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BrowserWorld]:
    """The world of all these tests."""
    async with browser_world(tmp_path_factory.mktemp("ends"), binary) as started:
        yield started


@asynccontextmanager
async def person(profile: Path) -> AsyncIterator[tuple[BrowserContext, list[int]]]:
    """A browser with a profile on disk, and the processes that it consists of."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as p:
        before = set(descendants(os.getpid()))
        context = await p.chromium.launch_persistent_context(
            str(profile),
            executable_path=chromium_program(),
            args=[*LAUNCH, *root],
            timeout=HANG_S * 1000,
            ignore_default_args=IGNORED,
        )
        context.set_default_timeout(HANG_S * 1000)
        try:
            yield context, [pid for pid in descendants(os.getpid()) if pid not in before]
        finally:
            with suppress(PlaywrightError):  # killed by the test
                await context.close()


@pytest.mark.parametrize("seconds", [0, 1, 7])
async def test_an_answer_that_was_called_saved_survives_the_kill_of_the_browser(
    world: BrowserWorld, tmp_path: Path, seconds: float
) -> None:
    """Killed so long after the page said so: the session and the answer are there when it is back.

    A browser writes to its disk at times of its own: right after a first write, between two, long after.
    """
    async with world.hosted() as quiz:
        async with person(tmp_path / "profile") as (context, processes):
            page = await joined(context, world.url(quiz.event))
            await quiz.start()
            await expect(page.locator(".choice")).to_have_count(4)
            await world.cut_off()
            await expect(page.locator(".banner.amber")).to_contain_text("Your progress is saved.")
            await page.get_by_role("button", name="Mercury").click()
            await expect(page.locator(".verdict")).to_contain_text("Saved on this device.")
            await asyncio.sleep(seconds)
            kill_browser(processes)
        FIGURES.count("said_saved")
        await world.heal()
        assert world.answers(quiz.event) == []
        async with person(tmp_path / "profile") as (context, _):
            again = await context.new_page()
            await again.goto(world.url(quiz.event))
            with counted_as_false():
                await expect(again.locator(".verdict")).to_have_text("Your answer is in.")
                await expect(again.locator("header .score strong")).to_have_text("Ada")
        assert world.answers(quiz.event) == [("q1", 1)]
        assert [name for name, _ in world.participants(quiz.event)] == ["Ada"]
        await eventually(lambda: len(world.logged("session.resumed", quiz.event)) == 1)
        assert len(world.logged("session.created", quiz.event)) == 1
        ((committed),) = world.logged("answer.committed", quiz.event)
        assert committed["outcome"] == "accepted"


@contextmanager
def counted_as_false() -> Iterator[None]:
    """What fails in here was called saved, and is not."""
    try:
        yield
    except AssertionError:
        FIGURES.count("falsely_saved")
        raise


def kill_browser(processes: list[int]) -> None:
    """Kill every process of a browser at once."""
    for pid in processes:
        if "--user-data-dir" in command_of(pid) or "--type=" in command_of(pid):
            kill(pid)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", errors="replace")
    except OSError:
        return ""


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def test_a_cut_in_the_middle_of_a_restore_is_only_another_attempt(world: BrowserWorld) -> None:
    """The connection opens, and the link swallows the reply until the join times out; then it heals."""
    async with world.hosted() as quiz, world.profile() as context:
        page = await context.new_page()
        records = await collect_records(page)
        await join(page, world.url(quiz.event))
        await expect(page.get_by_text("You are in")).to_be_visible()
        downlink = Drop(Direction.DOWN)
        await world.cut()
        await world.impose(downlink)
        await until(lambda: records("transport.failed"))
        await world.lift(downlink)
        await until(lambda: records("session.restored"))
        await expect(page.locator(".banner")).to_have_count(0)
        assert [name for name, _ in world.participants(quiz.event)] == ["Ada"]


async def test_an_answer_whose_acknowledgement_is_lost_counts_once(world: BrowserWorld) -> None:
    """The server commits it, the link swallows the reply; the page sends it again and gets the stored verdict."""
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await quiz.start()
        await expect(page.locator(".choice")).to_have_count(4)
        downlink = Drop(Direction.DOWN)
        await world.impose(downlink)
        await page.get_by_role("button", name="Mercury").click()
        await eventually(lambda: world.answers(quiz.event) == [("q1", 1)])
        await expect(page.locator(".verdict")).not_to_have_text("Your answer is in.")
        await world.lift(downlink)
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        assert world.answers(quiz.event) == [("q1", 1)]


async def test_a_frozen_link_that_thaws_costs_nothing(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await world.impose(Freeze())
        await expect(page.locator(".banner.amber")).to_be_visible()
        await world.lift(Freeze())
        await expect(page.locator(".banner")).to_have_count(0)
        await quiz.start()
        await page.get_by_role("button", name="Mercury").click()
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")


async def test_a_page_that_was_left_comes_back_from_the_page_cache(world: BrowserWorld) -> None:
    async with world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await page.evaluate("window.isTheSameDocument = true")
        await page.goto(f"{world.origin}/healthz")
        await quiz.start()
        await page.go_back(wait_until="commit")
        assert await page.evaluate("window.isTheSameDocument")
        await expect(page.locator(".choice")).to_have_count(4)
        await page.get_by_role("button", name="Mercury").click()
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        assert world.answers(quiz.event) == [("q1", 1)]
        assert [name for name, _ in world.participants(quiz.event)] == ["Ada"]
        await eventually(lambda: len(world.logged("session.resumed", quiz.event)) == 1)  # its connection was closed


def connections(world: BrowserWorld, event: str, kind: str) -> list[int]:
    """The numbers of the connections that the records of this kind are about."""
    return [record["connection_no"] for record in world.logged(kind, event)]


def all_returned(world: BrowserWorld, event: str) -> bool:
    """Whether there was a loss, and each was followed by a return."""
    lost, back = (connections(world, event, kind) for kind in ("transport.lost", "session.resumed"))
    return len(lost) == len(back) > 0


JOIN = """(() => {
  window.events = [];
  for (const name of ["freeze", "resume"]) document.addEventListener(name, () => window.events.push(name));
  const name = document.querySelector("#name");
  name.value = "Ada";
  name.form.requestSubmit();
})()"""


async def test_a_page_that_the_browser_froze_is_there_again_when_it_thaws(world: BrowserWorld) -> None:
    """Hidden and frozen, as a phone does it: meanwhile a question opens, and the page knows it when it runs again."""
    async with world.hosted() as quiz, devtools() as tools:
        page = await tools.open(world.url(quiz.event))
        await page.until("document.querySelector('#name') !== null")
        await page.evaluate(JOIN)
        await eventually(lambda: quiz.connected == 1)
        other = await tools.open("about:blank")
        await other.show()
        await page.until("document.hidden")
        await page.freeze()
        await quiz.start()
        await page.thaw()
        await page.show()
        await page.until("document.querySelectorAll('.choice').length === 4")
        assert await page.evaluate("window.events") == ["freeze", "resume"]
        await page.evaluate("document.querySelectorAll('.choice')[1].click()")
        await page.until("document.querySelector('.verdict')?.textContent === 'Your answer is in.'")
        assert world.answers(quiz.event) == [("q1", 1)]
        assert [name for name, _ in world.participants(quiz.event)] == ["Ada"]
        await eventually(lambda: all_returned(world, quiz.event))
        lost, back = (connections(world, quiz.event, kind) for kind in ("transport.lost", "session.resumed"))
        assert back == [number + 1 for number in lost] == [*range(2, 2 + len(back))], "each loss has one return"
        cause = world.logged("transport.lost", quiz.event)[0]["cause"]
        assert cause == "close_1001", "the browser closes the connection of a frozen page"


async def test_without_a_network_no_attempt_is_spent(world: BrowserWorld) -> None:
    """The browser's own word for offline pauses the client; its return dials at once."""
    async with world.hosted() as quiz, world.profile() as context:
        page = await context.new_page()
        records = await collect_records(page)
        await join(page, world.url(quiz.event))
        await expect(page.get_by_text("You are in")).to_be_visible()
        await context.set_offline(True)
        await world.cut()
        await expect(page.locator(".banner.amber")).to_contain_text("You are offline. Waiting for a network.")
        dials = len(await records("transport.opening"))
        await asyncio.sleep(2.5)  # the window preset would dial several times in this time
        assert len(await records("transport.opening")) == dials
        await context.set_offline(False)
        await expect(page.locator(".banner")).to_have_count(0)
        await eventually(lambda: quiz.connected == 1)


async def test_an_insecure_origin_has_everything_that_the_page_needs(binary: Binary, tmp_path: Path) -> None:
    """A classroom's server has a name and no TLS: no Web Locks, no randomUUID; the session survives all the same."""
    flags = ["--host-resolver-rules=MAP quiz.test 127.0.0.1"]
    async with (
        browser_world(tmp_path, binary, flags=flags) as world,
        world.hosted() as quiz,
        world.profile() as context,
    ):
        address = world.url(quiz.event).replace(f"http://{world.link.address.host}", "http://quiz.test")
        page = await joined(context, address)
        assert await page.evaluate("isSecureContext") is False
        await expect(page.get_by_text("You are in")).to_be_visible()
        await until(lambda: page.evaluate("localStorage.length > 0"))
        await page.reload()
        await expect(page.locator("header .score strong")).to_have_text("Ada")
        assert len(world.participants(quiz.event)) == 1


async def test_a_killed_server_that_is_started_again_has_the_score_and_the_place(
    binary: Binary, tmp_path: Path
) -> None:
    async with browser_world(tmp_path, binary) as world, world.hosted() as quiz, world.profile() as context:
        page = await joined(context, world.url(quiz.event))
        await quiz.start()
        await page.get_by_role("button", name="Mercury").click()
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")
        await world.server.kill()
        await expect(page.locator(".banner.amber")).to_be_visible()
        async with target(tmp_path, SETTINGS, port=world.server.port):
            await expect(page.locator(".banner")).to_have_count(0)
            await expect(page.locator(".chosen")).to_contain_text("Mercury")
            await quiz.reveal()
            await expect(page.get_by_text("✓ right, your choice")).to_be_visible()
            assert world.answers(quiz.event) == [("q1", 1)]


NETWORKS = {"wifi": 4.0, "cellular4g": 10.0}
"""By the kind of network: after how many seconds of silence the page asks for a sign of life."""


async def test_the_kind_of_network_decides_how_long_a_silence_may_last(binary: Binary, tmp_path: Path) -> None:
    """As Chromium itself reports it: its flag shows the kind to the page, and DevTools changes it."""
    flags = ["--enable-blink-features=NetInfoDownlinkMax"]
    async with (
        browser_world(tmp_path, binary, flags=flags) as world,
        world.hosted() as quiz,
        world.profile() as context,
    ):
        page = await context.new_page()
        records = await collect_records(page)
        await page.clock.install()
        await join(page, world.url(quiz.event))
        await expect(page.get_by_text("You are in")).to_be_visible()
        devtools = await context.new_cdp_session(page)
        await devtools.send("Network.enable")
        for kind, silence in NETWORKS.items():
            # Without any limit DevTools leaves the kind as it is.
            limits = {"offline": False, "latency": 1, "downloadThroughput": 1e8, "uploadThroughput": 1e8}
            await devtools.send("Network.emulateNetworkConditions", {**limits, "connectionType": kind})
            await page.wait_for_function("(kind) => kind.startsWith(navigator.connection.type)", arg=kind)
            suspected = await next_suspicion(page, records)
            assert silence <= round(suspected["value"], 6) < silence + 1


async def test_a_page_that_saves_data_asks_least_often(world: BrowserWorld) -> None:
    """Chromium's own override of its data saver; it has no event, so an open page notices it when it is used again."""
    async with world.hosted() as quiz, world.profile() as context:
        page = await context.new_page()
        records = await collect_records(page)
        await page.clock.install()
        devtools = await context.new_cdp_session(page)
        await devtools.send("Emulation.setDataSaverOverride", {"dataSaverEnabled": True})
        await join(page, world.url(quiz.event))
        await expect(page.get_by_text("You are in")).to_be_visible()
        for saves, silence in ((True, 15.0), (False, 4.0), (True, 15.0)):
            await devtools.send("Emulation.setDataSaverOverride", {"dataSaverEnabled": saves})
            await page.wait_for_function("(saves) => navigator.connection.saveData === saves", arg=saves)
            await page.evaluate("dispatchEvent(new Event('focus'))")
            suspected = await next_suspicion(page, records)
            assert silence <= round(suspected["value"], 6) < silence + 1


async def next_suspicion(page: Page, records: Callable[[str], Any]) -> dict[str, Any]:
    """Run the page's clock ahead until it asks a silent server for a sign of life; the record of that."""
    before = len(await records("peer.suspected"))
    async with asyncio.timeout(HANG_S):
        while len(await records("peer.suspected")) == before:
            await page.clock.run_for(500)
    return dict((await records("peer.suspected"))[-1])


SLEEPS = """(() => {
  const now = Date.now;
  window.sleptMs = 0;
  Date.now = () => now() + window.sleptMs;
})()"""
"""A sleep moves the time of day, while the page's own clock may stand still."""


async def test_a_countdown_is_true_again_after_a_sleep(world: BrowserWorld) -> None:
    """The page asks for a new snapshot, whatever the time of day says; here it was only set, so no time is lost."""
    async with world.hosted() as quiz, world.profile() as context:
        await context.add_init_script(SLEEPS)
        page = await context.new_page()
        records = await collect_records(page)
        await join(page, world.url(quiz.event))
        await quiz.start()
        await expect(page.locator(".choice")).to_have_count(4)
        await page.evaluate("window.sleptMs = 400_000")
        await until(lambda: records("session.restored"))
        (lost,) = await records("transport.lost")
        assert lost["cause"] == "slept"
        assert int(await page.locator(".seconds").inner_text()) > 400
        await page.get_by_role("button", name="Mercury").click()
        await expect(page.locator(".verdict")).to_have_text("Your answer is in.")


async def test_a_question_that_waited_on_the_link_is_shown_with_the_time_that_is_left(world: BrowserWorld) -> None:
    """It was sent while the link stood still; the page asks for a new snapshot once it has it."""
    async with world.hosted() as quiz, world.profile() as context:
        page = await context.new_page()
        records = await collect_records(page)
        await join(page, world.url(quiz.event))
        await expect(page.get_by_text("You are in")).to_be_visible()
        await world.impose(Freeze())
        await until(lambda: records("peer.suspected"))
        await quiz.start()
        await asyncio.sleep(1.2)  # a probe that waits for less than a second shows no stalled link
        await world.lift(Freeze())

        async def is_back() -> bool:
            return len(await records("session.restored")) == len(await records("transport.lost")) > 0

        await until(is_back)
        await expect(page.locator(".choice")).to_have_count(4)
        causes = [record.get("cause") for record in await records("transport.lost")]
        late = await records("peer.declared_dead")  # on a machine that is so slow that the link stood still for longer
        assert causes == ["question_held"] * len(causes) or late  # again where the page itself stood still
