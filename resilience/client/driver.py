"""One client machine on one asyncio loop: connects, sends, reads, and keeps its deadlines. Decides nothing itself.

Every message and every failure is reported under the number of its dial; the machine ignores those of older dials.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed, InvalidURI
from websockets.uri import parse_uri

from resilience.client.dial_failures import failure_of
from resilience.client.dialling import RacingConnect
from resilience.client.suspend import SuspendDetector
from resilience.client.terminal_text import strip_control_characters
from resilience.errors import LocalProtocolError, RemoteProtocolError, UsageError
from resilience.policy.close_codes import CloseCode, retry_after_in_reason
from resilience.protocol import codec
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.client.dismissal import Dismissal
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
"""The largest message that is accepted: a snapshot of a large event fits, anything bigger is not from our server."""

MAX_UNREAD_MESSAGES = 10_000
"""Messages kept for the iterating application; above that the oldest are dropped."""

CLOSE_TIMEOUT_S: Seconds = 1.0

_quiet = logging.getLogger("resilience.client.transport")
_quiet.setLevel(logging.CRITICAL)

M = TypeVar("M", bound=ReconnectingConnection)


class ClientDriver(Generic[M]):
    """Drives ``machine`` against ``url``.

    Messages for the application go to ``deliver``, or, without one, to the code that iterates over the driver. The
    iteration ends when the machine closed or gave up; after giving up, ``start`` and another iteration continue.
    ``watch_sleep`` detects a suspension of the computer. As a context manager the driver starts on entry; on exit it
    leaves, or stops at once after an error.
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
        """The state of the connection."""
        return self.machine.state

    @property
    def dismissal(self) -> Dismissal | None:
        """How the server ended this client for good; ``None`` while it did not."""
        return self.machine.dismissal

    @property
    def is_over(self) -> bool:
        """Whether it will never connect again: it left, was rejected for good, or was stopped."""
        return self._stopped or self.state is ClientState.CLOSED

    def start(self) -> None:
        """Connect for the first time, or again after giving up.

        Raises :class:`~resilience.errors.LocalProtocolError` when :attr:`is_over`: create a new client instead.
        """
        if self.is_over:
            raise LocalProtocolError(f"this client is over ({self.state}); create another one to connect again")
        if self._sleep is not None:
            self._sleep.start()
        self.machine.start(self._clock.now())
        self._pump()

    def wake(self) -> None:
        """The network or the computer is available again: probe or reconnect at once."""
        if not self._stopped:
            self.machine.wake(self._clock.now())
            self._pump()

    async def leave(self) -> None:
        """Leave on purpose; returns when the server has the message, or cannot get it."""
        self.machine.leave(self._clock.now())
        self._pump()
        if self._leaving is not None:
            await self._leaving
        await self.stop()

    async def stop(self) -> None:
        """Stop at once without any message, as a killed process would."""
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

    # effects --------------------------------------------------------------------------------------------------------

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
            loop.call_exception_handler({"message": "the receiver of the messages failed", "exception": error})

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

    # one dial ---------------------------------------------------------------------------------------------------------

    async def _run_dial(self, dial: int) -> None:
        try:
            socket = await self._open(dial)
            if socket is not None:
                await self._talk(socket, dial)
        except Exception as error:  # noqa: BLE001 - an unforeseen error must not end in silence, nor without a retry
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "a dial of the client failed unexpectedly", "exception": error})
            self._report_unforeseen(dial, error)

    async def _talk(self, socket: ClientConnection, dial: int) -> None:
        self._socket = socket
        try:
            self.machine.transport_opened(dial, self._clock.now())
            self._pump()
            await self._read(socket, dial)
        except ConnectionClosed as closed:
            self._report_loss(dial, closed)
        finally:
            if self._socket is socket:
                self._socket = None
            socket.transport.abort()

    async def _open(self, dial: int) -> ClientConnection | None:
        try:
            return await RacingConnect(
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
        except Exception as error:  # noqa: BLE001 - whatever ends an attempt to connect is a failed dial
            failure = failure_of(error)
        self.machine.transport_failed(
            dial, failure.cause, self._clock.now(), failure.advice, status=failure.status, detail=failure.detail
        )
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
        advice = retry_after_in_reason(reason)
        self.machine.transport_lost(dial, cause, self._clock.now(), code, advice, reason=reason)
        self._pump()

    def _report_unforeseen(self, dial: int, error: Exception) -> None:
        """The machine ignores the report that does not fit its state."""
        cause, now = type(error).__name__, self._clock.now()
        self.machine.transport_failed(dial, cause, now)
        self.machine.transport_lost(dial, cause, now)
        self._pump()


def checked_url(url: str) -> str:
    """``url`` if a WebSocket can be opened there; else raises :class:`~resilience.errors.UsageError`."""
    try:
        parts = urlsplit(url)
        parse_uri(url)
        (parts.hostname or "").encode("idna")
        usable = bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except (ValueError, InvalidURI):
        usable = False
    if not usable:
        raise UsageError(f"{strip_control_characters(url)}: must be a WebSocket URL such as ws://127.0.0.1:8765/ws")
    return url
