"""One client machine on one asyncio loop: connects, sends, reads, and keeps its deadlines. Decides nothing itself.

Every message and every failure is reported under the number of its dial; the machine ignores those of older dials.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import lru_cache, partial
from types import TracebackType
from typing import Generic, Self, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

from websockets.exceptions import InvalidURI, SecurityError
from websockets.uri import parse_uri

from resilience.client.dial_failures import failure_of
from resilience.client.dialled_connection import DialledConnection
from resilience.client.dialling import CACHED, open_transport, redirect_of, uri_of
from resilience.client.suspend import suspend_detector
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

MAX_UNREAD_MESSAGES = 10_000
"""Messages kept for the iterating application; above that the oldest are dropped."""

MAX_HOPS = 10
"""Connections that one dial may open, each but the first because the one before was redirected."""

M = TypeVar("M", bound=ReconnectingConnection)
Arguments = TypeVarTuple("Arguments")


class ClientDriver(Generic[M]):
    """Drives ``machine`` against ``url``.

    Messages for the application go to ``deliver``, or, without one, to the code that iterates over the driver. The
    iteration ends when the machine closed or gave up; after giving up, ``start`` and another iteration continue.
    ``watch_sleep`` detects a suspension of the computer. As a context manager the driver starts on entry; on exit it
    leaves, or stops at once after an error.
    """

    __slots__ = (
        "_clock",
        "_closing",
        "_connection",
        "_deliver",
        "_dialled_url",
        "_dialling",
        "_hop",
        "_log",
        "_news",
        "_stopped",
        "_timer",
        "_unread",
        "_watches_sleep",
        "machine",
        "url",
    )

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
        self._watches_sleep = watch_sleep
        self._dialling: asyncio.Task[None] | None = None
        self._dialled_url, self._hop = url, 0
        self._connection: DialledConnection | None = None
        self._closing: DialledConnection | None = None
        self._stopped = False
        self._unread: deque[Message] | None = None
        self._news: asyncio.Event | None = None

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
            await self._next_news()

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
        if self._watches_sleep:
            suspend_detector().add(self._on_sleep)
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
        await self._closed()
        await self.stop()

    async def stop(self) -> None:
        """Stop at once without any message, as a killed process would; returns when the transport is gone."""
        self._stopped = True
        self._timer.stop()
        if self._watches_sleep:
            suspend_detector().remove(self._on_sleep)
        dialling = self._abandon()
        if self._closing is not None:
            self._closing.abort()
        self._tell_news()
        if dialling is not None:
            await asyncio.gather(dialling, return_exceptions=True)
        await self._closed()

    async def _closed(self) -> None:
        """Wait until the connection that is being closed is gone."""
        while self._closing is not None:
            await self._next_news()

    async def _next_news(self) -> None:
        """Wait for a message, or for an end of the connection or of this client."""
        if self._news is None:  # most clients of a fleet never wait
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()

    def _tell_news(self) -> None:
        if self._news is not None:
            self._news.set()

    # effects --------------------------------------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        self.machine.handle_timeout(self._timer.fired())
        self._pump()

    def _on_sleep(self) -> None:
        """The computer was suspended until now. A client that was stopped in the same turn stays so."""
        if not self._stopped:
            self.machine.slept(self._clock.now())
            self._pump()

    def _pump(self) -> None:
        for effect in self.machine.effects():
            self._carry_out(effect)
        if self._news is not None and (self.is_over or self.state is ClientState.GAVE_UP):
            self._news.set()
        self._timer.set_deadline(self.machine.next_deadline())

    def _carry_out(self, effect: ClientEffect) -> None:
        match effect:
            case Record():
                self._log(effect)
            case SendToServer():
                self._send(effect.message)
            case OpenTransport():
                self._start_dial(effect.dial, self.url, hop=1)
            case AbortTransport():
                self._abandon()
            case CloseTransport():
                self._close()
            case Deliver():
                self._deliver_message(effect.message)

    def _send(self, message: ClientMessage) -> None:
        if self._connection is not None:
            self._connection.send_text(codec.encode(message))

    def _deliver_message(self, message: Message) -> None:
        if self._deliver is None:
            if self._unread is None:
                self._unread = deque(maxlen=MAX_UNREAD_MESSAGES)
            self._unread.append(message)
            self._tell_news()
            return
        try:
            self._deliver(message)
        except Exception as error:  # noqa: BLE001 - the application's fault must not cost it the connection
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "the receiver of the messages failed", "exception": error})

    def _abandon(self) -> asyncio.Task[None] | None:
        """Cancel the dial and abort its transport; returns the dial's task if it has not ended."""
        dialling, self._dialling = self._dialling, None
        connection, self._connection = self._connection, None
        if connection is not None:
            self._closing = connection
            connection.abort()
        if dialling is not None:
            dialling.cancel()
        return dialling

    def _close(self) -> None:
        connection = self._connection
        if connection is not None and connection.is_shaking_hands:
            self._abandon()
        elif connection is not None:
            self._closing, self._connection = connection, None
            connection.close(CloseCode.NORMAL)

    # one dial ---------------------------------------------------------------------------------------------------------

    def _start_dial(self, dial: int, url: str, hop: int) -> None:
        self._dialled_url, self._hop = url, hop
        self._dialling = asyncio.get_running_loop().create_task(self._open(dial, url))

    async def _open(self, dial: int, url: str) -> None:
        """Open the transport of a dial. The task ends with that: the connection reports what follows."""
        try:
            uri = uri_of(url)
            connection = await open_transport(uri, partial(DialledConnection, uri))
        except Exception as error:  # noqa: BLE001 - whatever ends an attempt to connect is a failed dial
            self._dialling = None
            self._guard(dial, self._report_failure, error)
        else:
            self._dialling, self._connection = None, connection
            connection.start(self, dial)

    def handshake_ended(self, connection: DialledConnection, error: Exception | None) -> None:
        """The dial has opened its connection, or has failed, or continues at another URL."""
        if connection is self._connection:
            if error is None:
                self._guard(connection.dial, self._report_opened)
            else:
                self._abandon()
                self._guard(connection.dial, self._follow, redirect_of(self._dialled_url, error))

    def message_received(self, connection: DialledConnection, message: bytes) -> None:
        """The server has sent a message."""
        if connection is self._connection:
            self._guard(connection.dial, self._receive, message)

    def connection_failed(self, connection: DialledConnection, reason: str) -> None:
        """The server has sent what no message can be: the connection closes by itself, and the client needs another."""
        if connection is self._connection:
            self._closing, self._connection = connection, None
            self._guard(connection.dial, self._report_malformed, reason)

    def connection_ended(self, connection: DialledConnection, code: int | None, reason: str) -> None:
        """The connection is lost, or has been closed."""
        if connection is self._closing:
            self._closing = None
            self._tell_news()
        if connection is self._connection:
            self._connection = None
            self._guard(connection.dial, self._report_loss, code, reason)

    def _guard(self, dial: int, step: Callable[[int, *Arguments], None], *arguments: *Arguments) -> None:
        """Take a step of a dial: an unforeseen error in it must not end in silence, nor without a retry."""
        try:
            step(dial, *arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._report_unforeseen(dial, error)

    def _report_opened(self, dial: int) -> None:
        self.machine.transport_opened(dial, self._clock.now())
        self._pump()

    def _follow(self, dial: int, target: str | Exception) -> None:
        if isinstance(target, Exception):
            self._report_failure(dial, target)
        elif self._hop == MAX_HOPS:
            self._report_failure(dial, SecurityError(f"more than {MAX_HOPS} redirects"))
        else:
            self._start_dial(dial, target, self._hop + 1)

    def _receive(self, dial: int, data: bytes) -> None:
        try:
            message = codec.decode_server_lenient(data)
        except RemoteProtocolError as error:
            self._abandon()
            self._report_malformed(dial, str(error))
            return
        now = self._clock.now()
        if isinstance(message, codec.Unknown):
            self.machine.receive_unknown(message.seq, dial, now)
        else:
            self.machine.receive(message, dial, now)
        self._pump()

    def _report_malformed(self, dial: int, reason: str) -> None:
        self.machine.transport_lost(dial, f"malformed: {reason}", self._clock.now())
        self._pump()

    def _report_failure(self, dial: int, error: Exception) -> None:
        failure, now = failure_of(error), self._clock.now()
        self.machine.transport_failed(
            dial, failure.cause, now, failure.advice, status=failure.status, detail=failure.detail
        )
        self._pump()

    def _report_loss(self, dial: int, code: int | None, reason: str) -> None:
        cause = "closed" if code is None else f"close_{code}"
        advice = retry_after_in_reason(reason)
        now, known = self._clock.now(), CloseCode.ABNORMAL if code is None else code
        self.machine.transport_lost(dial, cause, now, known, advice, reason=reason)
        self._pump()

    def _report_unforeseen(self, dial: int, error: Exception) -> None:
        """Report the error, and the end of the dial to the machine, which ignores what does not fit its state."""
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "a dial of the client failed unexpectedly", "exception": error})
        self._abandon()
        cause, now = type(error).__name__, self._clock.now()
        self.machine.transport_failed(dial, cause, now)
        self.machine.transport_lost(dial, cause, now)
        self._pump()


@lru_cache(maxsize=CACHED)
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
