"""One end of a WebSocket connection: an ``asyncio.Protocol`` around a protocol of ``websockets`` that does no I/O.

The library has the handshake, the closing handshake and every frame but the usual one; this class moves bytes,
assembles messages, and bounds how long a close may take. There is no task, queue or future: a subclass is called in the
turn in which bytes arrive. It knows nothing of what the messages mean, and raises nothing when a connection ends.

A message that comes whole in one frame needs no state, so an open connection has no protocol of the library. One is
made when anything else arrives or is sent, and released behind the next message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, Event, Protocol, Side, State
from websockets.streams import StreamReader
from websockets.typing import LoggerLike

from resilience.units import Seconds
from resilience.wire.frames import masked_text_frame, text_frame, whole_message

MAX_REASON_BYTES = 123
"""The longest reason of a close frame (RFC 6455 section 5.5), bytes of UTF-8."""

MAX_FRAGMENTS = 4096
"""The most fragments of one message: empty ones cost memory too. As in ``websockets.asyncio``."""

_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


class _Fragments(NamedTuple):
    """What has come of a message in several frames."""

    parts: list[bytes]
    is_text: bool


def release(protocol: Protocol) -> None:
    """Release what refers to a protocol of which nothing more comes, and would make it wait for a collection of cycles.

    That are its parser, and the frames in the tracebacks of the errors that ended it.
    """
    protocol.parser.close()
    errors: list[BaseException | None] = [protocol.parser_exc, protocol.handshake_exc]
    while errors:
        error = errors.pop()
        if error is not None:
            error.__traceback__ = None
            errors.append(error.__cause__)


class Endpoint(asyncio.Protocol):
    """One end of one connection, of the ``side`` given.

    ``is_established`` says that the handshake is over and its protocol released.

    A subclass makes the protocol of its handshake in :meth:`_new_protocol`, and overrides :meth:`head_received`,
    :meth:`message_received`, :meth:`writing_paused`, :meth:`writing_resumed`, :meth:`failed` and :meth:`ended`. The
    loop calls them; only :meth:`writing_paused` may be called within a send. Whatever the library wants sent (pongs,
    the answer to a close frame) is sent before they are called.

    ``max_size``: the longest message that is accepted, bytes.
    ``close_timeout``: seconds from the start of a close, by either end, until the transport is aborted.
    ``write_limit``: bytes that may wait in the transport's buffer before :meth:`writing_paused` is called.
    """

    __slots__ = (
        "_close_timeout",
        "_close_timer",
        "_fragments",
        "_is_failed",
        "_is_server",
        "_logger",
        "_max_size",
        "_protocol",
        "_write_limit",
        "is_aborted",
        "is_established",
        "is_writing_paused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(
        self,
        side: Side,
        *,
        max_size: int,
        logger: LoggerLike,
        close_timeout: Seconds,
        write_limit: int | None = None,
    ) -> None:
        self._is_server = side is Side.SERVER
        self._max_size, self._logger = max_size, logger
        self._protocol: Protocol | None = None
        self.is_writing_paused = self.is_aborted = self.is_established = self._is_failed = False
        self._close_timeout, self._write_limit = close_timeout, write_limit
        self._close_timer: asyncio.TimerHandle | None = None
        self._fragments: _Fragments | None = None

    # for the subclass -------------------------------------------------------------------------------------------------

    def head_received(self, head: Request | Response) -> None:
        """The request, or the response to it, has arrived; ``protocol.handshake_exc`` says if it is unacceptable.

        Bytes that are no HTTP at all cause no call: the transport is closed, and ``protocol.handshake_exc`` is set.
        """

    def message_received(self, message: bytes) -> None:
        """A whole message has arrived, text or binary, as bytes.

        One may still come after :meth:`close`, none after :meth:`abort`.
        """

    def writing_paused(self) -> None:
        """More than ``write_limit`` bytes wait for the other end to read them."""

    def writing_resumed(self) -> None:
        """The other end has read enough; called only after :meth:`writing_paused`."""

    def failed(self, reason: str) -> None:
        """This end closes the connection because of what has come; no message follows."""

    def ended(self, code: int | None, reason: str) -> None:
        """The transport is gone; called once, and last.

        ``code`` and ``reason`` are those of the close frame received; ``None`` and empty if there was none.
        """

    # what the subclass may call ---------------------------------------------------------------------------------------

    @property
    def protocol(self) -> Protocol:
        """The library's protocol of this connection; one that has none gets one."""
        if self._protocol is None:
            self._protocol = self._new_protocol()
        return self._protocol

    @property
    def has_protocol(self) -> bool:
        """Whether the library has a part in this connection now: without it none has failed or is being closed."""
        return self._protocol is not None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: the handshake is complete, and neither end has closed."""
        if self._protocol is None:
            return self.is_established and not self.is_aborted
        return self._protocol.state is OPEN and not self.is_aborted

    def feed(self, data: bytes) -> int:
        """Parse bytes; returns how many frames of any kind, control frames included, and heads ended in them."""
        start = frames = 0
        while self._protocol is None and self.is_open:
            message = whole_message(data, start, self._max_size, is_masked=self._is_server)
            if message is None:
                break
            start, frames = message.end, frames + 1
            self._message_ended(message.data, is_text=message.is_text)
            if start == len(data):
                return frames
        return frames if self.is_aborted else frames + self._feed_library(data[start:])

    def limit_messages(self, size: int) -> None:
        """Accept messages of at most ``size`` bytes from now on."""
        self._max_size = size
        if self._protocol is not None:
            self._protocol.max_message_size = size

    def send_frame(self, frame: bytes) -> None:
        """Send a frame that is already serialized: a server's is the same for all receivers. Dropped unless open."""
        if self.is_open:
            self.transport.write(frame)

    def send_text(self, text: bytes) -> None:
        """Send a text message of UTF-8. Dropped unless the connection is open."""
        self.send_frame(text_frame(text) if self._is_server else masked_text_frame(text))

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; :meth:`ended` follows within ``close_timeout``. Nothing happens unless open.

        A ``reason`` that is too long for a close frame is cut.
        """
        if self.is_open:
            cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
            self.protocol.send_close(code, cut)
            self.flush()

    def abort(self) -> None:
        """Close the transport without a close frame, dropping what is not sent; :meth:`ended` follows."""
        self.is_aborted = True
        self.transport.abort()

    def flush(self) -> None:
        """Write what the protocol wants written; call it after any call of the protocol's ``send_`` methods."""
        protocol = self.protocol
        for data in protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.write_eof()
        if self._close_timer is None and protocol.state is not OPEN and protocol.close_expected():
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(self._close_timeout, self.abort)

    def write_eof(self) -> None:
        """Half-close, so that the other end reads all that was sent; TLS knows only a whole close.

        A subclass may write before that: called without anything written, the library has no answer of its own.
        """
        self._half_close()

    def release_handshake(self) -> None:
        """Free what is kept of the handshake: its head, its parser and the options that it negotiated with.

        Call it once the connection is open. Nothing is done if part of a frame or of a message has come with the head,
        or if extensions are in use.
        """
        old = self._protocol
        if old is None or old.state is not OPEN or old.extensions:
            return
        if _is_between_messages(old):
            self._protocol, self.is_established = None, True
            release(old)

    # asyncio.Protocol -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is open."""
        self.transport = cast("asyncio.Transport", transport)
        if self._write_limit is not None:
            self.transport.set_write_buffer_limits(self._write_limit)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self.feed(data)

    def eof_received(self) -> None:
        """The other end sends nothing more; asyncio closes the transport once everything is written."""
        if self._protocol is None and self.is_open:
            self.is_aborted = True  # as the library would end it: between messages there is nothing to answer
            self._half_close()
            return
        self.protocol.receive_eof()
        events = self.protocol.events_received()
        self.flush()
        for event in events:  # a response whose body ends with the stream
            if not isinstance(event, Frame):
                self.head_received(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone, with or without an error: what the peer said counts, not how its TCP ended."""
        del exc
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._protocol is not None:
            self._protocol.receive_eof()
        self.is_aborted, self._fragments = True, None
        closed = None if self._protocol is None else self._protocol.close_rcvd
        try:
            self.ended(*(None, "") if closed is None else (int(closed.code), closed.reason))
        finally:
            if self._protocol is not None:
                release(self._protocol)

    def pause_writing(self) -> None:
        """The transport's buffer is over its limit."""
        self.is_writing_paused = True
        self.writing_paused()

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        self.is_writing_paused = False
        self.writing_resumed()

    # its parts --------------------------------------------------------------------------------------------------------

    def _half_close(self) -> None:
        if self.transport.can_write_eof():
            with suppress(OSError, RuntimeError):  # it is going down already
                self.transport.write_eof()
        else:
            self.transport.close()

    def _new_protocol(self) -> Protocol:
        side = Side.SERVER if self._is_server else Side.CLIENT
        return Protocol(side, state=State.OPEN, max_size=self._max_size, logger=self._logger)

    def _feed_library(self, data: bytes) -> int:
        protocol = self.protocol
        protocol.receive_data(data)
        events = protocol.events_received()
        self.flush()
        for event in events:
            if self.is_aborted or self._is_failed:
                break
            if isinstance(event, Frame):
                self._frame_received(event)
            else:
                self.head_received(event)
        if self._protocol is protocol and _are_messages(events):
            self.release_handshake()
        return len(events)

    def _frame_received(self, frame: Frame) -> None:
        if frame.opcode not in _DATA:
            return
        if frame.opcode is not Opcode.CONT:
            is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._message_ended(bytes(frame.data), is_text=is_text)
            else:
                self._fragments = _Fragments([bytes(frame.data)], is_text)
        elif self._fragments is not None:
            self._fragment_received(self._fragments, frame)

    def _fragment_received(self, fragments: _Fragments, frame: Frame) -> None:
        fragments.parts.append(bytes(frame.data))
        if frame.fin:
            self._fragments = None
            self._message_ended(b"".join(fragments.parts), is_text=fragments.is_text)
        elif len(fragments.parts) >= MAX_FRAGMENTS:
            self._fragments = None
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")

    def _message_ended(self, message: bytes, *, is_text: bool) -> None:
        if is_text and not _is_utf8(message):
            self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")  # RFC 6455 section 8.1
        else:
            self.message_received(message)

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Fail the connection (RFC 6455 section 7.1.7): what has come behind is not read."""
        self._is_failed = True
        self.protocol.fail(code, reason)
        self.flush()
        self.failed(reason)


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _are_messages(events: Sequence[Event]) -> bool:
    """Whether these are data frames only, and at least one."""
    return bool(events) and all(isinstance(event, Frame) and event.opcode in _DATA for event in events)


def _is_between_messages(protocol: Protocol) -> bool:
    """Whether the parser has consumed nothing of an unfinished message: it waits for the first byte of a frame."""
    parser: Any = protocol.parser  # typeshed gives generators no frames
    while parser.gi_yieldfrom is not None:
        parser = parser.gi_yieldfrom
    return parser.gi_code is StreamReader.at_eof.__code__ and protocol.current_size is None
