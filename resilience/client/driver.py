"""One link machine on one asyncio loop: dials, sends, reads, and keeps its deadlines. Decides nothing itself.

Every read and every failure is reported under the dial it belongs to; the machine ignores those of older dials.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Generic, Self, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from resilience.client.suspend import SuspendDetector
from resilience.errors import LocalProtocolError, RemoteProtocolError, UsageError
from resilience.policy.close_codes import CloseCode, retry_after_in_reason
from resilience.protocol import codec
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.effects import (
    AbortTransport,
    ClientEffect,
    CloseTransport,
    Deliver,
    OpenTransport,
    Record,
    SendToServer,
)
from resilience.protocol.messages import ClientMessage, Message
from resilience.protocol.states import ClientState
from resilience.runtime import DeadlineTimer, RecordSink, RunClock, ignore_record
from resilience.units import Seconds

MAX_MESSAGE_BYTES = 4_194_304
"""A snapshot of a large event may be this big; anything bigger is not ours."""

MAX_UNREAD_MESSAGES = 10_000
"""Messages kept for whoever iterates; of more than that the oldest are lost."""

CLOSE_TIMEOUT_S: Seconds = 1.0

_quiet = logging.getLogger("resilience.client.transport")
_quiet.setLevel(logging.CRITICAL)

_ADVISING = (429, 503)

M = TypeVar("M", bound=ReconnectingConnection)


class ClientDriver(Generic[M]):
    """Drives ``machine`` against ``url``.

    What the machine hands to the application goes to ``deliver``, or, without one, to whoever iterates over the driver.
    The iteration ends when the machine closed or gave up; ``start`` and another iteration take up what was given up.
    ``watch_sleep`` notices by itself that the computer was suspended. As a context manager the driver starts, and
    leaves when the block ends, or just stops when it ends with an error.
    """

    def __init__(  # noqa: PLR0913 - all that a driver depends on
        self,
        machine: M,
        url: str,
        *,
        clock: RunClock | None = None,
        log: RecordSink = ignore_record,
        deliver: Callable[[Message], None] | None = None,
        watch_sleep: bool = False,
    ) -> None:
        self.machine, self.url = machine, url
        self._clock = clock or RunClock(source=asyncio.get_running_loop().time)
        self._log, self._deliver = log, deliver
        self._timer = DeadlineTimer(self._clock, self._on_deadline)
        self._sleep = SuspendDetector(self.wake) if watch_sleep else None
        self._task: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._stopped = False
        self._unread: deque[Message] = deque(maxlen=MAX_UNREAD_MESSAGES)
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.leave() if error is None else self.stop())

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            while self._unread:
                yield self._unread.popleft()
            if self.is_over or self.state is ClientState.GAVE_UP:
                return
            self._news.clear()
            await self._news.wait()

    @property
    def state(self) -> ClientState:
        """Where the client stands."""
        return self.machine.state

    @property
    def is_over(self) -> bool:
        """Whether it will never dial again: it left, was sent away for good, or was stopped."""
        return self._stopped or self.state is ClientState.CLOSED

    def start(self) -> None:
        """Dial for the first time, or again after giving up.

        :class:`~resilience.errors.LocalProtocolError` when it is over: only a new client can come back then.
        """
        if self.is_over:
            raise LocalProtocolError(f"this client is over ({self.state}); make another one to come back")
        if self._sleep is not None:
            self._sleep.start()
        self.machine.start(self._clock.now())
        self._pump()

    def wake(self) -> None:
        """The network or the machine came back: probe or dial at once."""
        if not self._stopped:
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
        self._stopped = True
        self._timer.stop()
        if self._sleep is not None:
            self._sleep.stop()
        task, self._task = self._task, None
        self._abort()
        self._news.set()
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
        if self.is_over or self.state is ClientState.GAVE_UP:
            self._news.set()
        self._timer.set_deadline(self.machine.next_deadline())

    def _carry_out(self, effect: ClientEffect) -> None:
        match effect:
            case Record():
                self._log(effect)
            case SendToServer():
                self._send(effect.message)
            case OpenTransport():
                self._task = asyncio.get_running_loop().create_task(self._run_dial(effect.dial))
            case AbortTransport():
                self._abandon()
            case CloseTransport():
                self._close()
            case Deliver():
                self._deliver_message(effect.message)

    def _send(self, message: ClientMessage) -> None:
        if self._socket is not None:
            broadcast((self._socket,), codec.encode(message), text=True)

    def _deliver_message(self, message: Message) -> None:
        if self._deliver is None:
            self._unread.append(message)
            self._news.set()
            return
        try:
            self._deliver(message)
        except Exception as error:  # noqa: BLE001 - the application's fault must not cost it the connection
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "what takes the messages failed", "exception": error})

    def _abandon(self) -> None:
        task, self._task = self._task, None
        self._abort()
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _abort(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()

    def _close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            self._leaving = asyncio.get_running_loop().create_task(socket.close())

    # one dial's life --------------------------------------------------------------------------------------------------

    async def _run_dial(self, dial: int) -> None:
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
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_MESSAGE_BYTES,
                user_agent_header=None,
                logger=_quiet,
            )
        except (OSError, EOFError, WebSocketException) as error:
            self.machine.transport_failed(dial, cause_of(error), self._clock.now(), retry_after_of_response(error))
            self._pump()
            return None

    async def _read(self, socket: ClientConnection, dial: int) -> None:
        while True:
            data = await socket.recv(decode=False)
            try:
                message = codec.decode_server_lenient(data)
            except RemoteProtocolError as error:
                self.machine.transport_lost(dial, f"malformed: {error}", self._clock.now())
                self._pump()
                return
            if isinstance(message, codec.Unknown):
                self.machine.receive_unknown(message.seq, dial, self._clock.now())
            else:
                self.machine.receive(message, dial, self._clock.now())
            self._pump()

    def _report_loss(self, dial: int, closed: ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd else CloseCode.ABNORMAL
        reason = closed.rcvd.reason if closed.rcvd else ""
        cause = f"close_{code}" if closed.rcvd else "closed"
        self.machine.transport_lost(dial, cause, self._clock.now(), code, retry_after_in_reason(reason))
        self._pump()


def checked_url(url: str) -> str:
    """``url``, when a WebSocket can be opened there; else :class:`~resilience.errors.UsageError`."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{url}: must be a WebSocket URL such as ws://127.0.0.1:8765/ws")
    return url


def cause_of(error: Exception) -> str:
    """Why a dial failed, in one word of the log: ``refused``, ``closed``, ``status_<n>`` or the error's name."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, InvalidStatus):
        return f"status_{error.response.status_code}"
    if isinstance(error, ConnectionResetError | EOFError | ConnectionClosed | InvalidHandshake):
        return "closed"
    return type(error).__name__


def retry_after_of_response(error: Exception) -> Seconds | None:
    """The ``Retry-After`` (RFC 9110, section 10.2.3) of a handshake refused with 429 or 503, seconds."""
    if not isinstance(error, InvalidStatus) or error.response.status_code not in _ADVISING:
        return None
    headers = error.response.headers
    text = headers.get("Retry-After", "")
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else _until(headers)


def _until(headers: Headers) -> Seconds | None:
    """A date is counted from the server's own, so that nobody's wall clock matters."""
    try:
        wait = parsedate_to_datetime(headers["Retry-After"]) - parsedate_to_datetime(headers["Date"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(wait.total_seconds(), 0.0)
