"""One client machine on one asyncio loop: dials, sends, reads, and keeps its deadlines.

Every read and every failure is reported under the dial it belongs to; the machine ignores those of older dials.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from resilience.errors import RemoteProtocolError
from resilience.policy.retry import CloseCode
from resilience.protocol import codec
from resilience.protocol.client import ClientMachine
from resilience.protocol.effects import Abandon, ClientEffect, Deliver, Dial, Hangup, Record, SendUp
from resilience.protocol.messages import Message
from resilience.runtime import DeadlineTimer, Log, RunClock, discard
from resilience.units import Seconds

MAX_SIZE_BYTES = 4_194_304
"""A snapshot of a large event may be this big; anything bigger is not ours."""

CLOSE_TIMEOUT: Seconds = 1.0

_quiet = logging.getLogger("resilience.client.transport")
_quiet.setLevel(logging.CRITICAL)

_ADVICE = re.compile(r"retry_after=(\d+(?:\.\d+)?)")


class ReconnectingClient:
    """Drives ``machine`` against ``url``. ``deliver`` gets what the machine hands to the application."""

    def __init__(
        self,
        machine: ClientMachine,
        url: str,
        *,
        clock: RunClock | None = None,
        log: Log = discard,
        deliver: Callable[[Message], None] | None = None,
    ) -> None:
        self.machine, self.url = machine, url
        self._clock = clock or RunClock()
        self._log, self._deliver = log, deliver
        self._timer = DeadlineTimer(self._clock, self._on_deadline)
        self._task: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._leaving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Dial for the first time, or again after giving up."""
        self.machine.start(self._clock.now())
        self._pump()

    def answer(self, question: str, choice: int) -> None:
        """Answer a question (choices count from 0), now or when the connection is back."""
        self.machine.answer(question, choice, self._clock.now())
        self._pump()

    def wake(self) -> None:
        """The network or the machine came back: probe or dial at once."""
        self.machine.wake(self._clock.now())
        self._pump()

    async def leave(self) -> None:
        """Go on purpose; returns when the server was told, or could not be."""
        self.machine.leave(self._clock.now())
        self._pump()
        if self._leaving is not None:
            await self._leaving
        await self.stop()

    async def stop(self) -> None:
        """End at once and without a word, as a killed process would."""
        self._timer.stop()
        task, self._task = self._task, None
        self._abort()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # carrying out -----------------------------------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        self.machine.handle_timeout(self._timer.fired())
        self._pump()

    def _pump(self) -> None:
        for effect in self.machine.effects():
            self._carry_out(effect)
        self._timer.aim(self.machine.next_deadline())

    def _carry_out(self, effect: ClientEffect) -> None:
        match effect:
            case Record():
                self._log(effect)
            case SendUp():
                if self._socket is not None:
                    broadcast((self._socket,), codec.encode(effect.message), text=True)
            case Dial():
                self._task = asyncio.get_running_loop().create_task(self._live(effect.dial))
            case Abandon():
                self._abandon()
            case Hangup():
                self._hang_up()
            case Deliver():
                if self._deliver is not None:
                    self._deliver(effect.message)

    def _abandon(self) -> None:
        task, self._task = self._task, None
        self._abort()
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _abort(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()

    def _hang_up(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            self._leaving = asyncio.get_running_loop().create_task(socket.close())

    # one dial's life --------------------------------------------------------------------------------------------------

    async def _live(self, dial: int) -> None:
        socket = await self._open(dial)
        if socket is None:
            return
        self._socket = socket
        self.machine.transport_opened(dial, self._clock.now())
        self._pump()
        try:
            await self._read(socket, dial)
        except ConnectionClosed as closed:
            self._report_loss(dial, closed)
        finally:
            if self._socket is socket:
                self._socket = None
            socket.transport.abort()

    async def _open(self, dial: int) -> ClientConnection | None:
        try:
            return await connect(
                self.url,
                compression=None,
                proxy=None,
                ping_interval=None,
                open_timeout=None,
                close_timeout=CLOSE_TIMEOUT,
                max_size=MAX_SIZE_BYTES,
                user_agent_header=None,
                logger=_quiet,
            )
        except (OSError, EOFError, WebSocketException) as error:
            self.machine.transport_failed(dial, cause_of(error), self._clock.now(), advice_of(error))
            self._pump()
            return None

    async def _read(self, socket: ClientConnection, dial: int) -> None:
        while True:
            data = await socket.recv(decode=False)
            try:
                message = codec.decode_server(data)
            except RemoteProtocolError as error:
                self.machine.transport_lost(dial, f"unreadable: {error}", self._clock.now())
                self._pump()
                return
            self.machine.receive(message, dial, self._clock.now())
            self._pump()

    def _report_loss(self, dial: int, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd else CloseCode.ABNORMAL
        reason = closed.rcvd.reason if closed.rcvd else ""
        cause = f"close_{code}" if closed.rcvd else "closed"
        self.machine.transport_lost(dial, cause, self._clock.now(), code, _advice_in(reason))
        self._pump()


def cause_of(error: Exception) -> str:
    """Why a dial failed, in one word of the log: ``refused``, ``closed``, ``status_<n>`` or the error's name."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, InvalidStatus):
        return f"status_{error.response.status_code}"
    if isinstance(error, ConnectionResetError | EOFError | ConnectionClosed | InvalidHandshake):
        return "closed"
    return type(error).__name__


def advice_of(error: Exception) -> Seconds | None:
    """The server's ``Retry-After`` of a refused handshake, seconds."""
    if not isinstance(error, InvalidStatus):
        return None
    text = error.response.headers.get("Retry-After", "")
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _advice_in(reason: str) -> Seconds | None:
    found = _ADVICE.search(reason)
    return float(found.group(1)) if found else None
