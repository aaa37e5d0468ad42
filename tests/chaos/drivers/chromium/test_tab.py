"""A tab over a page that is none: what it does with orders and messages, and which failures end it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from playwright.async_api import Error as PlaywrightError

from chaos.drivers import messages as m
from chaos.drivers.chromium import tab as tab_module
from chaos.drivers.chromium.tab import MOST_ERRORS, ClientTab
from resilience.errors import DriverError

from ....support.deadlines import HANG_S

URL = "file:///page.html"
ORDER = m.Open("a", "ws://127.0.0.1:9/ws", 5, {"room": "lobby"})


class FakePage:
    """A page that answers as its fields say, and keeps its orders."""

    def __init__(self) -> None:
        self.document, self.began = 1.0, time.monotonic()
        self.orders: list[tuple[str, dict[str, Any]]] = []
        self.throws: str | None = None
        self.is_gone = False
        self.goes_to: str | None = None

    async def goto(self, url: str, *, wait_until: Any) -> object:  # noqa: ANN401 - as the real one
        if self.is_gone:
            raise PlaywrightError("Page.goto: net::ERR_CONNECTION_REFUSED at " + url + "\nCall log:\n  - navigating")
        self.goes_to = url
        return None

    async def evaluate(self, expression: str, arg: Any = None) -> Any:  # noqa: ANN401 - as the real one
        await asyncio.sleep(0)
        if self.is_gone:
            raise PlaywrightError("Page.evaluate: Execution context was destroyed")
        if arg is None:
            return [self.document, time.monotonic() - self.began]
        self.orders.append((arg[0], arg[1]))
        return self.throws


class World:
    """A tab, its page, and what came of them."""

    def __init__(self) -> None:
        self.page, self.reports, self.words = FakePage(), list[m.ClientReport](), list[str]()
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.tab = ClientTab(ORDER, self.page, write=self.reports.append, fail=self._fail, say=self.words.append)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    def say(self, name: str, **fields: object) -> None:
        """The page sends a message."""
        t = time.monotonic() - self.page.began
        message = {"document": self.page.document, "type": name, "t": t, "fields": fields}
        self.tab.receive(msgspec.json.encode(message).decode())

    async def loaded(self) -> None:
        """The page has loaded and takes orders."""
        loading = asyncio.create_task(self.tab.load(URL))
        self.say("document")
        self.say("orders")
        await loading

    async def failure(self) -> str:
        """The words of the failure."""
        async with asyncio.timeout(HANG_S):
            return str(await self.failed)


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_page_that_takes_orders_is_opened_with_all_that_the_laboratory_said(world: World) -> None:
    await world.loaded()
    await world.tab.act("a/1")
    opened = {"client": "a", "url": ORDER.url, "seed": 5, "options": {"room": "lobby"}}
    assert world.page.goes_to == URL
    assert world.page.orders == [("open", opened), ("act", {"client": "a", "key": "a/1"})]


async def test_reports_are_written_once_the_clock_is_known(world: World) -> None:
    world.say("document")
    world.say("attempt")
    assert world.reports == []
    while not world.reports:  # noqa: ASYNC110 - the clock is read in the background
        await asyncio.sleep(0)
    assert abs(world.reports[0].t - time.monotonic()) < HANG_S


async def test_the_next_document_is_opened_again(world: World) -> None:
    await world.loaded()
    world.page.document, world.page.began = 2.0, time.monotonic()
    world.say("document")
    world.say("orders")
    while len(world.page.orders) < 2:  # noqa: ASYNC110 - it is opened in the background
        await asyncio.sleep(0)
    assert [name for name, _ in world.page.orders] == ["open", "open"]


async def test_an_order_that_throws_ends_the_driver(world: World) -> None:
    await world.loaded()
    world.page.throws = "act threw TypeError: x is undefined"
    await world.tab.act("a/1")
    assert await world.failure() == "a: act threw TypeError: x is undefined"


async def test_an_error_after_which_no_orders_are_taken_ends_the_driver(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_module, "THROWN_TIMEOUT_S", 0.01)
    world.tab.threw("ReferenceError: y is not defined")
    assert await world.failure() == "a: the page threw before it took orders: ReferenceError: y is not defined"


async def test_other_errors_are_the_page_s_own_and_only_so_many_are_written_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one before orders are taken, if they are taken in the end: many an application works with its errors."""
    monkeypatch.setattr(tab_module, "THROWN_TIMEOUT_S", 0.01)
    world.tab.threw("error 0")
    await world.loaded()
    await asyncio.sleep(0.02)
    for number in range(1, MOST_ERRORS + 5):
        world.tab.threw(f"error {number}")
    assert world.words == [f"a: error {number}" for number in range(MOST_ERRORS)]
    assert not world.failed.done()


async def test_a_page_without_the_interface_ends_the_driver(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tab_module, "LOAD_TIMEOUT_S", 0.05)
    with pytest.raises(DriverError, match=r"a: file:///page\.html has not taken orders within 0\.05 s; a page calls"):
        await world.tab.load(URL)


async def test_a_page_that_cannot_be_loaded_ends_the_driver(world: World) -> None:
    world.page.is_gone = True
    with pytest.raises(DriverError, match=r"a: cannot load file:///page\.html: .*ERR_CONNECTION_REFUSED.*html$"):
        await world.tab.load(URL)


CRASHED = "a: its tab crashed, as a rule for want of memory: end other programs, or plan fewer pages"


@pytest.mark.parametrize("event, words", [("crashed", CRASHED), ("left", "a: its page closed itself")])
async def test_a_page_that_is_gone_ends_the_driver(world: World, event: str, words: str) -> None:
    await world.loaded()
    getattr(world.tab, event)()
    assert await world.failure() == words


async def test_a_report_that_is_none_ends_the_driver(world: World) -> None:
    await world.loaded()
    world.say("restored")
    assert "a: restored: object missing required field `how`" in await world.failure()


async def test_a_report_that_is_none_ends_the_driver_also_while_the_clock_is_read(world: World) -> None:
    world.say("document")
    world.say("returned")
    assert "a: unknown report 'returned'" in await world.failure()


async def test_nothing_is_reported_of_a_client_that_was_closed(world: World) -> None:
    await world.loaded()
    world.tab.close()
    world.say("attempt")
    world.tab.left()
    assert (world.reports, world.failed.done()) == ([], False)


async def test_a_client_that_is_closed_while_its_page_loads_is_awaited_no_more(world: World) -> None:
    loading = asyncio.create_task(world.tab.load(URL))
    await asyncio.sleep(0)
    world.tab.close()
    await loading
    assert not world.failed.done()


async def test_an_order_to_a_document_that_is_being_replaced_is_lost_without_harm(world: World) -> None:
    await world.loaded()
    world.page.is_gone = True
    await world.tab.act("a/1")
    assert not world.failed.done()


async def test_an_error_that_the_tab_does_not_expect_ends_the_driver_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its clock would never be known, and its reports be held forever."""

    async def none(*_: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(world.page, "evaluate", none)
    world.say("document")
    assert "NoneType" in await world.failure()
