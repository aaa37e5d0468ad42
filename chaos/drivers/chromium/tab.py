"""One client in Chromium: a page, its orders, and what its documents say. Starts no browser and writes no line.

What makes the client useless for a run is a :class:`~resilience.errors.DriverError`, raised or handed to ``fail``: a
page that does not load, takes no orders, throws in an order, reports nonsense, closes itself or crashes. Other errors
that a page throws are its own affair, and are only written to ``say``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Protocol

from playwright.async_api import Error as PlaywrightError

from resilience.errors import DriverError
from resilience.units import Seconds

from ..clock import MAX_UNCERTAINTY_S, DriverClock, Greeting
from ..messages import BrokenLineError, ClientReport, Open
from .reports import DOCUMENT, ORDERS, TabReports, read_message
from .tasks import BackgroundTasks

LOAD_TIMEOUT_S: Seconds = 20.0
"""How long a page may take until it takes orders."""

THROWN_TIMEOUT_S: Seconds = 5.0
"""How long it may take when the page has thrown an error that no script caught: it takes none any more, as a rule."""

MOST_ERRORS = 20
"""So many errors of one page are written out."""

_READINGS, _MOST_READINGS = 3, 50
_FINE_S: Seconds = 0.005
"""A document's clock that is known so well is read no more."""

_CLOCK = "() => window.__resilienceClock()"
_DELIVER = "([name, order]) => window.__resilienceDeliver(name, order)"


class TabPage(Protocol):
    """What a tab needs of Playwright's page."""

    async def goto(self, url: str, *, wait_until: Any) -> object:  # noqa: ANN401 - a literal type of Playwright's own
        """Load a document."""

    async def evaluate(self, expression: str, arg: Any = None) -> Any:  # noqa: ANN401 - whatever JavaScript returns
        """Call a function in the present document."""


class ClientTab:
    """The tab of one client. ``write`` takes its reports, ``fail`` the first error that ends it, ``say`` words."""

    def __init__(
        self,
        order: Open,
        page: TabPage,
        *,
        write: Callable[[ClientReport], None],
        fail: Callable[[BaseException], None],
        say: Callable[[str], None],
    ) -> None:
        self.client, self.is_closed = order.client, False
        self._order, self._page = order, page
        self._write, self._fail, self._say = write, fail, say
        self._reports = TabReports(order.client)
        self._takes_orders = asyncio.Event()
        self._errors = 0
        self._tasks = BackgroundTasks(self._task_failed)

    # orders -----------------------------------------------------------------------------------------------------------

    async def load(self, url: str) -> None:
        """Load the page, and wait until it takes orders. DriverError when it does not."""
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                await self._page.goto(url, wait_until="commit")
                await self._takes_orders.wait()
        except TimeoutError:
            right = "a page calls resilience.takeOrders({open, act}) once its scripts have run"
            raise self._error(f"{url} has not taken orders within {LOAD_TIMEOUT_S:g} s; {right}") from None
        except PlaywrightError as error:
            if not self.is_closed:
                raise self._error(f"cannot load {url}: {first_line(error)}") from None

    async def act(self, key: str) -> None:
        """Let the client do one piece of its work, if its page is there."""
        await self._deliver("act", {"client": self.client, "key": key})

    async def _open(self) -> None:
        order = self._order
        fields = {"client": order.client, "url": order.url, "seed": order.seed, "options": order.options}
        await self._deliver("open", fields)
        self._takes_orders.set()

    async def _deliver(self, name: str, order: dict[str, Any]) -> None:
        with contextlib.suppress(PlaywrightError):  # the document is being replaced: the next one asks for orders again
            thrown = await self._page.evaluate(_DELIVER, [name, order])
            if thrown:
                self._end(str(thrown))

    # what the page says -----------------------------------------------------------------------------------------------

    def receive(self, payload: str) -> None:
        """Take a message of the page; its clock is read when the message begins a document."""
        received = time.monotonic()
        try:
            message = read_message(payload)
            if message.type == DOCUMENT:
                self._reports.begin(message.document)
                self._tasks.start(self._measure(message.document))
            elif message.type == ORDERS:
                self._tasks.start(self._open())
            else:
                self._report(self._reports.receive(message, received))
        except BrokenLineError as error:
            self._end(str(error))

    async def _measure(self, document: float) -> None:
        """Read a document's clock until it is known, or the document is gone."""
        clock = DriverClock()
        for n in range(1, _MOST_READINGS + 1):
            sent = time.monotonic()
            try:
                current, t = await self._page.evaluate(_CLOCK)
            except PlaywrightError:
                return
            if current != document:
                return
            clock.measure(Greeting(sent, t, time.monotonic()))
            if n >= _READINGS and clock.uncertainty <= _FINE_S:
                break
        if clock.uncertainty > MAX_UNCERTAINTY_S:
            raise self._error(f"after {_MOST_READINGS} readings its clock is known to {clock.uncertainty:.3f} s only")
        if document == self._reports.document:
            self._report(self._reports.measured(clock))

    def _report(self, reports: list[ClientReport]) -> None:
        for report in reports:
            if not self.is_closed:
                self._write(report)

    # what happens to the page -----------------------------------------------------------------------------------------

    def threw(self, error: str) -> None:
        """The page threw what no script of it caught, which is fatal only if it then takes no orders."""
        self.complains(error)
        if not self._takes_orders.is_set():
            asyncio.get_running_loop().call_later(THROWN_TIMEOUT_S, self._require_orders_after, error)

    def _require_orders_after(self, error: str) -> None:
        if not self._takes_orders.is_set():
            self._end(f"the page threw before it took orders: {error}")

    def complains(self, error: str) -> None:
        """The page wrote an error for people."""
        self._errors += 1
        if self._errors <= MOST_ERRORS:
            self._say(f"{self.client}: {error}")

    def crashed(self) -> None:
        """The page's process is gone."""
        self._end("its tab crashed, as a rule for want of memory: end other programs, or plan fewer pages")

    def left(self) -> None:
        """The page is closed."""
        self._end("its page closed itself")

    def close(self) -> None:
        """Nothing more is reported of the client, and its orders are awaited no more."""
        self.is_closed = True
        self._takes_orders.set()

    def _task_failed(self, error: BaseException) -> None:
        if isinstance(error, BrokenLineError):
            self._end(str(error))
        else:
            self._fail(error)

    def _end(self, why: str) -> None:
        if not self.is_closed:
            self._fail(self._error(why))

    def _error(self, why: str) -> DriverError:
        return DriverError(f"{self.client}: {why}")


def first_line(error: PlaywrightError) -> str:
    """What Playwright says, without its call log."""
    return error.message.partition("\n")[0]
