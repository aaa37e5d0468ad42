"""A canary over plain TCP and HTTP: what a fault really does to the path that a cohort's clients use. Changes nothing.

It crosses the very link (a proxy, or a virtual one) that the clients cross. Where silence or an end could also be the
server's doing, a control connection that goes straight to the server must show the contrary at the same time. What it
requests, and which answer counts, the target says (``HealthRequests``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from resilience.experiment.primitives import (
    ConnectionsEnd,
    DialsRefused,
    Direction,
    LateClose,
    ServerDraining,
    ServerGone,
    ServerSilent,
    Silence,
    SlowBytes,
    SlowReplies,
    SmallPieces,
    Symptom,
    TornMessage,
)
from resilience.units import Seconds

from .link_probes import QUIZ_HEALTH, STATUS_BYTES, Address, HealthRequest, HealthRequests, shows_in_bytes

SILENCE_S: Seconds = 0.4
"""No answer for this long, and for twice as long as the server takes now, is silence; idle ones take milliseconds."""

PROBE_TIMEOUT_S: Seconds = 1.0
"""How long a server under load may take to answer one request."""

PAUSE_S: Seconds = 0.05
"""Between two probes of the link."""


class ProbeResult(StrEnum):
    """What a new connection met."""

    ANSWERED = "answered"
    REFUSED = "refused"
    SILENT = "silent"
    CLOSED = "closed"
    TORN = "torn"


async def probe(
    address: Address, within: Seconds = PROBE_TIMEOUT_S, request: HealthRequest = QUIZ_HEALTH.alive
) -> ProbeResult:
    """Open a connection, make the request and return what came of it ``within`` so many seconds."""
    try:
        async with asyncio.timeout(within):
            return await _exchange(address, request)
    except TimeoutError:
        return ProbeResult.SILENT
    except ConnectionRefusedError:
        return ProbeResult.REFUSED
    except OSError:
        return ProbeResult.CLOSED


async def _exchange(address: Address, request: HealthRequest) -> ProbeResult:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request.encoded())
        reply = await reader.readexactly(STATUS_BYTES)
    except asyncio.IncompleteReadError as ended:
        return ProbeResult.TORN if ended.partial else ProbeResult.CLOSED
    finally:
        writer.transport.abort()
    return ProbeResult.ANSWERED if request.accepts(reply) else ProbeResult.CLOSED


class IdleConnection:
    """A connection without traffic, to see whether, when and how it ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address: Address) -> IdleConnection:
        """Connect and send nothing."""
        return cls(*await asyncio.open_connection(*address))

    @property
    def ended(self) -> bool:
        """Whether it is known to be over."""
        return self._reader.at_eof() or self._reader.exception() is not None

    async def wait_for_end(self) -> bool:
        """Wait until it is over; returns whether it was reset."""
        try:
            while await self._reader.read(4096):
                pass
        except ConnectionResetError:
            return True
        except OSError:
            return False
        return False

    def abort(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()


class NetworkCanary:
    """Watches one link during one fault; as a context manager it closes its connections.

    A canary of the server itself has the server's address as its ``link``.
    """

    def __init__(self, link: Address, server: Address, health: HealthRequests = QUIZ_HEALTH) -> None:
        self._link, self._server, self._health = link, server, health
        self._control: IdleConnection | None = None
        self._held: IdleConnection | None = None
        self._last = ProbeResult.SILENT
        self.problem: str | None = "the link was not probed before the fault"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        for connection in (self._held, self._control):
            if connection is not None:
                connection.abort()
        self._held = self._control = None

    @property
    def hold_ended(self) -> bool:
        """Whether the connection over the link, or the one straight to the server, has ended."""
        return any(each is not None and each.ended for each in (self._control, self._held))

    async def prepare(self, within: Seconds) -> None:
        """Wait until the link works and hold it; ``problem`` says what was wrong after ``within`` seconds."""
        try:
            async with asyncio.timeout(within):
                await _until(self._holds)
        except TimeoutError:
            self.problem = f"the link was not usable before the fault: {self._last}"
        else:
            self.problem = None

    async def _holds(self) -> bool:
        """Whether the link answers and both connections are open; a server that ends between the two is tried again."""
        if not await self._answers():
            return False
        try:
            # The control first: a server that closes idle connections closes them in this order.
            self._control = await IdleConnection.open(self._server)
            self._held = await IdleConnection.open(self._link)
        except OSError:
            self._last = ProbeResult.REFUSED
            self._release()
            return False
        return True

    async def saw_symptom(self, symptom: Symptom, within: Seconds) -> bool:
        """Whether the symptom shows ``within`` so many seconds; returns as soon as it does."""
        return await _happens(self._shown(symptom), within)

    async def saw_health(self, within: Seconds) -> bool:
        """Whether the link answers ``within`` so many seconds; returns as soon as it does."""
        return await _happens(_until(self._answers), within)

    async def _answers(self) -> bool:
        self._last = await self._probe(self._link)
        return self._last is ProbeResult.ANSWERED

    async def _shown(self, symptom: Symptom) -> None:
        """Return when the symptom shows."""
        match symptom:
            case ConnectionsEnd(reset=reset):
                await self._held_ends(reset=reset)
            case DialsRefused():
                await _until(lambda: self._is_refused(self._link))
            case ServerGone():
                await _until(lambda: self._is_refused(self._server))
            case ServerSilent():
                await _until(self._server_is_silent)
            case ServerDraining():
                await _until(self._server_is_unready)
            case SlowReplies(at_least=at_least):
                await _until(lambda: self._is_slow(at_least))
            case Silence(direction=direction):
                await _until(lambda: self._is_silent(direction))
            case SlowBytes() | SmallPieces() | TornMessage() | LateClose():
                await _until(lambda: shows_in_bytes(symptom, self._health.alive, link=self._link, server=self._server))

    async def _held_ends(self, *, reset: bool) -> None:
        if self._held is not None and self._control is not None:
            was_reset = await self._held.wait_for_end()
            if (was_reset or not reset) and not self._control.ended:
                return
        await asyncio.Event().wait()  # an end that the server may have caused, or of the wrong kind, is no symptom

    async def _is_refused(self, address: Address) -> bool:
        return await self._probe(address) is ProbeResult.REFUSED

    async def _server_is_silent(self) -> bool:
        return await self._probe(self._server) is ProbeResult.SILENT

    async def _server_is_unready(self) -> bool:
        found = await probe(self._server, request=self._health.ready)
        return found in {ProbeResult.CLOSED, ProbeResult.REFUSED}

    async def _probe(self, address: Address, within: Seconds = PROBE_TIMEOUT_S) -> ProbeResult:
        return await probe(address, within, self._health.alive)

    async def _is_slow(self, at_least: Seconds) -> bool:
        loop, times = asyncio.get_running_loop(), []
        for address in (self._server, self._link):
            asked_at = loop.time()
            if await self._probe(address, 3 * at_least + PROBE_TIMEOUT_S) is not ProbeResult.ANSWERED:
                return False
            times.append(loop.time() - asked_at)
        return times[1] - times[0] >= at_least

    async def _is_silent(self, direction: Direction) -> bool:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        met = asyncio.create_task(self._probe(self._link, 3 * PROBE_TIMEOUT_S))
        try:
            control = await self._probe(self._server)
            took = loop.time() - asked_at
            await asyncio.wait({met}, timeout=max(SILENCE_S, 2 * took) - took)
            shown = met.result() if met.done() else ProbeResult.SILENT
        finally:
            met.cancel()
        return control is ProbeResult.ANSWERED and shown in _met_in_silence(direction)


async def _happens(event: Awaitable[None], within: Seconds) -> bool:
    try:
        async with asyncio.timeout(within):
            await event
    except TimeoutError:
        return False
    return True


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await condition():
            return
        await asyncio.sleep(PAUSE_S)


def _met_in_silence(direction: Direction) -> tuple[ProbeResult, ...]:
    """Only downstream, the request arrives, the answer vanishes, and the close after it passes."""
    if direction is Direction.DOWN:
        return (ProbeResult.SILENT, ProbeResult.CLOSED)
    return (ProbeResult.SILENT,)
