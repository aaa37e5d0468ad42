"""An eyewitness: plain TCP and HTTP over a cohort's own link, to see what a fault really does. Changes nothing.

It crosses the very link (a proxy, or a virtual one) that the cohort's clients cross. Where silence or an end could
also be the server's doing, a control that goes straight to the server must show the contrary at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from resilience.experiment.faults import AnyFault, Blackhole, Cut, Direction
from resilience.units import Seconds

HostPort = tuple[str, int]
"""Host and port."""

MIN_SILENCE_S: Seconds = 0.4
"""No answer for this long, and for twice as long as the server takes now, is silence; idle ones take milliseconds."""

PROBE_TIMEOUT_S: Seconds = 1.0
"""How long a server under load may take to answer one request."""

PROBE_INTERVAL_S: Seconds = 0.05
"""Between two looks at the link."""

_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n"
_HEALTHY = b"HTTP/1.1 200"


class ProbeResult(StrEnum):
    """What a fresh connection met."""

    ANSWERED = "answered"
    REFUSED = "refused"
    SILENT = "silent"
    CLOSED = "closed"


async def probe(address: HostPort, within: Seconds = PROBE_TIMEOUT_S) -> ProbeResult:
    """Open a connection, ask for ``/healthz`` and say what came of it within ``within`` seconds."""
    try:
        async with asyncio.timeout(within):
            return await _exchange(address)
    except TimeoutError:
        return ProbeResult.SILENT
    except ConnectionRefusedError:
        return ProbeResult.REFUSED
    except OSError:
        return ProbeResult.CLOSED


async def _exchange(address: HostPort) -> ProbeResult:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(_REQUEST)
        said = await reader.read(64)
    finally:
        writer.transport.abort()
    return ProbeResult.ANSWERED if said.startswith(_HEALTHY) else ProbeResult.CLOSED


class IdleConnection:
    """An idle connection, to see whether and when somebody ends it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address: HostPort) -> IdleConnection:
        """Connect and say nothing."""
        return cls(*await asyncio.open_connection(*address))

    @property
    def ended(self) -> bool:
        """Whether it is known to be over."""
        return self._reader.at_eof() or self._reader.exception() is not None

    async def end(self) -> None:
        """Wait until it is over, however it ends."""
        try:
            while await self._reader.read(4096):
                pass
        except OSError:
            return

    def drop(self) -> None:
        """Let go of it."""
        self._writer.transport.abort()


class Canary:
    """Watches one link during one fault; as a context manager it lets go of its connections."""

    def __init__(self, link: HostPort, server: HostPort) -> None:
        self._link, self._server = link, server
        self._control: IdleConnection | None = None
        self._held: IdleConnection | None = None
        self._last = ProbeResult.SILENT
        self.problem: str | None = "nobody looked at the link before the fault"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for held in (self._control, self._held):
            if held is not None:
                held.drop()

    async def prepare(self, within: Seconds) -> None:
        """See the link healthy and take hold of it, ``within`` so many seconds; else ``doubt`` says what was wrong."""
        try:
            async with asyncio.timeout(within):
                await self.wait_until_healthy()
                # The control first: if the server loses patience with idle connections it does so in this order.
                self._control = await IdleConnection.open(self._server)
                self._held = await IdleConnection.open(self._link)
        except (TimeoutError, OSError):
            self.problem = f"the link was not usable before the fault: {self._last}"
        else:
            self.problem = None

    async def wait_until_faulty(self, fault: AnyFault) -> None:
        """Return when the fault shows; the caller limits how long that may take."""
        if isinstance(fault, Cut):
            await self._cut_off()
        else:
            await _until(lambda: self._shows(fault))

    async def wait_until_healthy(self) -> None:
        """Return when the link answers; the caller limits how long that may take."""
        await _until(self._answers)

    async def _answers(self) -> bool:
        self._last = await probe(self._link)
        return self._last is ProbeResult.ANSWERED

    async def _cut_off(self) -> None:
        if self._held is not None and self._control is not None:
            await self._held.end()
            if not self._control.ended:
                return
        await asyncio.Event().wait()  # what cannot be told from the server's own doing is never seen

    async def _shows(self, fault: AnyFault) -> bool:
        if not isinstance(fault, Blackhole):
            return await probe(self._link) is ProbeResult.REFUSED
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        met = asyncio.create_task(probe(self._link, 3 * PROBE_TIMEOUT_S))
        try:
            control = await probe(self._server)
            took = loop.time() - asked_at
            await asyncio.wait({met}, timeout=max(MIN_SILENCE_S, 2 * took) - took)
            shown = met.result() if met.done() else ProbeResult.SILENT
        finally:
            met.cancel()
        return control is ProbeResult.ANSWERED and shown in _met_in(fault)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await condition():
            return
        await asyncio.sleep(PROBE_INTERVAL_S)


def _met_in(fault: Blackhole) -> tuple[ProbeResult, ...]:
    """Only downstream, the request arrives, the answer vanishes, and the close after it passes."""
    return (ProbeResult.SILENT, ProbeResult.CLOSED) if fault.direction is Direction.DOWN else (ProbeResult.SILENT,)
