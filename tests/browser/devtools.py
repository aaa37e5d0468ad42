"""A Chromium without Playwright, by its raw DevTools: there a page in the background is hidden, and can be frozen.

Playwright tells every page that it has the focus, so none of its pages is ever hidden, and freezing one does nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from chaos.drivers.chromium.browser import BrowserProcess

from ..support.chromium import chromium_program
from ..support.deadlines import HANG_S


class DevTools:
    """The browser's end; replies by number, events are ignored."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def read(self) -> None:
        """Take replies until the browser is gone."""
        async for line in self._connection:
            message = json.loads(line)
            waiting = self._waiting.pop(message.get("id"), None)
            if waiting is not None:
                waiting.set_result(message)

    async def send(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Call a method of the browser, or of the page with this session; its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        order = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        await self._connection.send(json.dumps(order))
        async with asyncio.timeout(HANG_S):
            reply = await self._waiting[number]
        assert "error" not in reply, reply["error"]
        return dict(reply["result"])

    async def open(self, url: str) -> RawPage:
        """A new page in front of all others."""
        target = (await self.send("Target.createTarget", url=url))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        return RawPage(self, target, session)


class RawPage:
    """One page, which is hidden while another one is in front."""

    def __init__(self, devtools: DevTools, target: str, session: str) -> None:
        self._devtools, self._target, self._session = devtools, target, session

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever JavaScript returns
        """The value of an expression, awaited if it is a promise."""
        found = await self._devtools.send(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(HANG_S):
            while not await self.evaluate(expression):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.05)

    async def show(self) -> None:
        """Bring it to the front."""
        await self._devtools.send("Target.activateTarget", targetId=self._target)

    async def freeze(self) -> None:
        """Stop its scripts and its network, as a phone does with a page in the background."""
        await self._devtools.send("Page.setWebLifecycleState", self._session, state="frozen")

    async def thaw(self) -> None:
        """Let it run again."""
        await self._devtools.send("Page.setWebLifecycleState", self._session, state="active")


@asynccontextmanager
async def devtools() -> AsyncIterator[DevTools]:
    """A Chromium of its own, killed at the end."""
    process = await BrowserProcess.start(chromium_program(), [])
    try:
        async with connect(await process.endpoint(), max_size=None, proxy=None) as connection:
            tools = DevTools(connection)
            reading = asyncio.create_task(tools.read())
            try:
                yield tools
            finally:
                reading.cancel()
    finally:
        await process.kill()
