"""The driver's process: orders from standard input to tabs, their reports to standard output.

A greeting is answered after a turn through a page of its own in the same browser: how late the answer comes shows how
late Chromium runs, and not only this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, async_playwright
from playwright.async_api import Error as PlaywrightError

from resilience.errors import DriverError, ResilienceError, UsageError, describe_error
from resilience.text_files import read_text
from resilience.units import Seconds

from .. import messages as m
from .browser import BrowserProcess, find_chromium
from .tab import ClientTab, first_line
from .tasks import BackgroundTasks

GLUE = Path(__file__).with_name("page.js")
"""What each document gets before its own scripts."""

ADDRESS = "{address}"
"""Where it stands in the URL of a page, the host and port are put at which the client is to connect."""

WINDOW = "360x640"
"""A page's window, CSS pixels: a phone's, as most participants have, and a quarter of the pixels of a desktop's."""

_SEND = "__resilienceSend"
_LINE_LIMIT_BYTES = 1 << 22
_READ_BYTES = 1 << 16
_END_S: Seconds = 0.3
"""What ends with Chromium is a consequence, and waits so long for the cause."""

_MOST_CHARACTERS = 1000
"""Of the words of an error."""

_ORDERS: msgspec.json.Decoder[m.Order] = msgspec.json.Decoder(m.Order)


class PageSettings(NamedTuple):
    """What the driver is started with."""

    page: str
    """A file, or the URL of a page, with :data:`ADDRESS` where the client's address belongs."""
    script: Path | None = None
    """JavaScript that runs in each document before the page's own."""
    tabs: bool = False
    """Whether all clients are tabs of one profile and share its storage and its connections."""
    browser: str | None = None
    flags: Sequence[str] = ()
    window: str = WINDOW
    """Width and height in CSS pixels."""


def url_of(page: str) -> str:
    """The URL of a page that is a file or a URL. UsageError when there is no such file."""
    if page.startswith(("http://", "https://", "file://")):
        return page
    path = Path(page)
    if not path.is_file():
        raise UsageError(f"PAGE: {page!r}: no such file; name an HTML file, or a URL that begins with http")
    return path.absolute().as_uri()


def parse_window(text: str) -> ViewportSize:
    """The window that is written as ``360x640``. UsageError for anything else."""
    width, _, height = text.partition("x")
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in (width, height)):
        raise UsageError(f"--window: {text!r}: must be the width and the height in CSS pixels, such as 360x640")
    return {"width": int(width), "height": int(height)}


def scripts_of(settings: PageSettings) -> list[str]:
    """What runs in each document before the page's own scripts. UsageError when the user's cannot be read."""
    try:
        own = [] if settings.script is None else [read_text(settings.script)]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--script: {str(settings.script)!r}: {reason}; name a file of JavaScript") from error
    return [GLUE.read_text("utf-8"), *own]


class ChromiumDriver:
    """The clients of one process in one browser. ``write`` takes the lines, ``say`` words for people."""

    def __init__(
        self, settings: PageSettings, program: str, *, write: Callable[[m.Report], None], say: Callable[[str], None]
    ) -> None:
        self._settings, self._program, self._write, self._say = settings, program, write, say
        self._url, self._scripts = url_of(settings.page), scripts_of(settings)
        self._window = parse_window(settings.window)
        self._tabs: dict[str, ClientTab] = {}
        self._pages: dict[str, Page] = {}
        self._closed: set[str] = set()
        self._tasks = BackgroundTasks(self._task_failed)
        self._opening = asyncio.Lock()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, orders: asyncio.StreamReader) -> None:
        """Carry out orders until told to stop, or until they end. HarnessError when that cannot be done."""
        async with async_playwright() as playwright:
            process = await BrowserProcess.start(self._program, self._settings.flags)
            try:
                endpoint = await process.endpoint()
                await self._serve(await playwright.chromium.connect_over_cdp(endpoint), process, orders)
            except PlaywrightError as error:
                raise DriverError(f"Chromium cannot be used: {first_line(error)}") from error
            finally:
                self._close_tabs()
                await process.kill()
            self._write(m.DriverEnded(time.monotonic()))

    async def _serve(self, browser: Browser, process: BrowserProcess, orders: asyncio.StreamReader) -> None:
        self._browser, self._name = browser, f"Chromium {browser.version}, {Path(self._settings.page).name}"
        self._greeted = await (await browser.new_context()).new_page()
        self._shared = await self._new_profile() if self._settings.tabs else None
        self._tasks.start(self._watch(process))
        reading = asyncio.create_task(self._read(orders))
        try:
            done, _ = await asyncio.wait({reading, self._failed}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # what fails from now on is a consequence of the end
            for each in (reading, self._tasks, self._failed):
                each.cancel()
        for ended in done:
            ended.result()

    async def _watch(self, process: BrowserProcess) -> None:
        raise DriverError(await process.ended())

    # orders -----------------------------------------------------------------------------------------------------------

    async def _read(self, orders: asyncio.StreamReader) -> None:
        while line := await next_line(orders):
            try:
                order = _ORDERS.decode(line)
            except msgspec.DecodeError as error:
                self._write(m.Problem(complaint_about(line, error)))
                continue
            if isinstance(order, m.StopDriver):
                return
            self._carry_out(order)

    def _carry_out(self, order: m.Order) -> None:
        match order:
            case m.Hello(n=n):
                self._tasks.start(self._greet(n))
            case m.Open():
                self._tasks.start(self._open(order))
            case m.Act(client=client, key=key) if client in self._tabs:
                self._tasks.start(self._tabs[client].act(key))
            case m.Close(client=client):
                self._tasks.start(self._close(client))

    async def _greet(self, n: int) -> None:
        await self._greeted.evaluate("0")
        self._write(m.DriverReady(time.monotonic(), m.VERSION, n, self._name))

    async def _open(self, order: m.Open) -> None:
        async with self._opening:  # more at a time open no sooner, and Chromium answers greetings late meanwhile
            context = self._shared or await self._new_profile()
            page = await context.new_page()
            if order.client in self._closed:
                await page.close()
                return
            tab = ClientTab(order, page, write=self._write, fail=self._fail, say=self._say)
            self._tabs[order.client], self._pages[order.client] = tab, page
            await self._connect(tab, page, context)
            await tab.load(self._url.replace(ADDRESS, urlsplit(order.url).netloc))

    async def _new_profile(self) -> BrowserContext:
        """A profile of its own, which asks for reduced motion: no person sees its animations, and each frame costs."""
        return await self._browser.new_context(viewport=self._window, reduced_motion="reduce")

    async def _connect(self, tab: ClientTab, page: Page, context: BrowserContext) -> None:
        """Let the tab hear what its page says and what happens to it."""

        def wrote(message: ConsoleMessage) -> None:
            if message.type == "error":
                tab.complains(message.text)

        def closed(_: Page) -> None:
            asyncio.get_running_loop().call_later(_END_S, tab.left)

        def called(event: dict[str, Any]) -> None:
            if event["name"] == _SEND:
                tab.receive(event["payload"])

        page.on("console", wrote)
        page.on("pageerror", lambda error: tab.threw(error.stack or str(error)))
        page.on("crash", lambda _: tab.crashed())
        page.on("close", closed)
        devtools = await context.new_cdp_session(page)
        devtools.on("Runtime.bindingCalled", called)
        await devtools.send("Runtime.enable")
        await devtools.send("Runtime.addBinding", {"name": _SEND})
        for script in self._scripts:
            await page.add_init_script(script)

    async def _close(self, client: str) -> None:
        self._closed.add(client)
        if client in self._tabs:
            self._tabs[client].close()
            page = self._pages[client]
            await (page.close() if self._shared else page.context.close())

    def _close_tabs(self) -> None:
        for tab in self._tabs.values():
            tab.close()

    # failures ---------------------------------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _task_failed(self, error: BaseException) -> None:
        if isinstance(error, PlaywrightError):  # unless Chromium is ending, which says more
            asyncio.get_running_loop().call_later(_END_S, self._fail, DriverError(first_line(error)))
        else:
            self._fail(error)


async def next_line(orders: asyncio.StreamReader) -> bytes:
    """The next line of the orders; empty at their end. DriverError when it is too long."""
    try:
        return await orders.readline()
    except ValueError:
        raise DriverError(f"an order is too long; at most {_LINE_LIMIT_BYTES >> 20} MiB") from None


def complaint_about(line: bytes, error: Exception) -> str:
    """What is wrong with an order, in words."""
    try:
        kind = msgspec.json.decode(line, type=dict[str, Any]).get("type")
    except msgspec.DecodeError:
        return f"no JSON object: {m.quoted(line)}"
    known = {str(order.__struct_config__.tag) for order in get_args(m.Order)}
    return f"{kind}: {error}" if kind in known else f"unknown message type {kind!r}"


def run_driver(settings: PageSettings) -> None:
    """Be the driver, over standard input and output. An error that ends it is reported as one, then raised."""
    try:
        asyncio.run(_drive(settings))
    except ResilienceError as error:
        write_line(m.Problem(describe_error(error)[:_MOST_CHARACTERS]))
        raise


async def _drive(settings: PageSettings) -> None:
    driver = ChromiumDriver(settings, find_chromium(settings.browser, os.environ), write=write_line, say=_say)
    orders = asyncio.StreamReader(limit=_LINE_LIMIT_BYTES)
    threading.Thread(target=_pass_input, args=(asyncio.get_running_loop(), orders), daemon=True).start()
    await driver.run(orders)


def _pass_input(loop: asyncio.AbstractEventLoop, orders: asyncio.StreamReader) -> None:
    """Pass standard input on, whatever it is: the loop itself reads pipes, but no files. In a thread of its own."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: the driver has ended
        while data := _read_input():
            loop.call_soon_threadsafe(orders.feed_data, data)
        loop.call_soon_threadsafe(orders.feed_eof)


def _read_input() -> bytes:
    try:
        return os.read(sys.stdin.fileno(), _READ_BYTES)
    except OSError:  # closed, or the terminal is gone
        return b""


def write_line(report: m.Report) -> None:
    """Write one message to the laboratory."""
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
