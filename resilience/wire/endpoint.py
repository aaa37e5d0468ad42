"""One end of a WebSocket connection: an ``asyncio.Protocol`` around a protocol of ``websockets`` that does no I/O.

The library parses and serializes; this class moves bytes between it and the transport, assembles messages, and bounds
how long a close may take. There is no task, queue or future: a subclass is called in the turn in which bytes arrive.
It knows nothing of what the messages mean, and raises nothing when a connection ends.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, Protocol, Side, State
from websockets.streams import StreamReader

from resilience.units import Seconds

MAX_REASON_BYTES = 123
"""The longest reason of a close frame (RFC 6455 section 5.5), bytes of UTF-8."""

MAX_FRAGMENTS = 4096
"""The most fragments of one message: empty ones cost memory too. As in ``websockets.asyncio``."""

_UNNAMED = uuid.UUID(int=0)
"""The name of every connection in the library's own log."""

_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


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
    """One end of one connection; ``protocol`` is its ``ServerProtocol`` or ``ClientProtocol``.

    A subclass overrides :meth:`head_received`, :meth:`message_received`, :meth:`writing_paused`,
    :meth:`writing_resumed` and :meth:`ended`. The loop calls them; only :meth:`writing_paused` may be called within a
    send. Whatever the library wants sent (pongs, the answer to a close frame) is sent before they are called.

    ``close_timeout``: seconds from the start of a close, by either end, until the transport is aborted.
    ``write_limit``: bytes that may wait in the transport's buffer before :meth:`writing_paused` is called.
    """

    __slots__ = (
        "_close_timeout",
        "_close_timer",
        "_fragments",
        "_write_limit",
        "is_aborted",
        "is_writing_paused",
        "protocol",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, protocol: Protocol, *, close_timeout: Seconds, write_limit: int | None = None) -> None:
        self.protocol = protocol
        self.is_writing_paused = self.is_aborted = False
        self._close_timeout, self._write_limit = close_timeout, write_limit
        self._close_timer: asyncio.TimerHandle | None = None
        self._fragments: list[bytes] | None = None

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

    def ended(self, code: int | None, reason: str) -> None:
        """The transport is gone; called once, and last.

        ``code`` and ``reason`` are those of the close frame received; ``None`` and empty if there was none.
        """

    # what the subclass may call ---------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: the handshake is complete, and neither end has closed."""
        return self.protocol.state is OPEN and not self.is_aborted

    def feed(self, data: bytes) -> int:
        """Parse bytes; returns how many frames of any kind, control frames included, and heads ended in them."""
        protocol = self.protocol
        protocol.receive_data(data)
        events = protocol.events_received()
        self.flush()
        for event in events:
            if self.is_aborted:
                break
            if isinstance(event, Frame):
                self._frame_received(event)
            else:
                self.head_received(event)
        return len(events)

    def send_frame(self, frame: bytes) -> None:
        """Send a frame that is already serialized: a server's is the same for all receivers. Dropped unless open."""
        if self.protocol.state is OPEN and not self.is_aborted:
            self.transport.write(frame)

    def send_text(self, text: bytes) -> None:
        """Send a text message of UTF-8. Dropped unless the connection is open."""
        if self.is_open:
            self.protocol.send_text(text)
            self.flush()

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
        for data in self.protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.write_eof()
        if self._close_timer is None and self.protocol.state is not OPEN and self.protocol.close_expected():
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(self._close_timeout, self.abort)

    def write_eof(self) -> None:
        """Half-close, so that the other end reads all that was sent; TLS knows only a whole close.

        A subclass may write before that: called without anything written, the library has no answer of its own.
        """
        if self.transport.can_write_eof():
            with suppress(OSError, RuntimeError):  # it is going down already
                self.transport.write_eof()
        else:
            self.transport.close()

    def release_handshake(self) -> None:
        """Free what is kept of the handshake: its head, its parser and the options that it negotiated with.

        Call it once the connection is open. The frames are parsed by a protocol of the library that never was in a
        handshake. Nothing is done if part of a frame has come with the head, or extensions are in use.
        """
        old = self.protocol
        if self.is_open and self._is_between_messages() and not old.extensions:
            sizes = (old.max_message_size, old.max_fragment_size)
            self.protocol = Protocol(Side(old.side), state=State.OPEN, max_size=sizes, logger=old.logger)
            self.protocol.id = _UNNAMED
            old.parser.close()

    def _is_between_messages(self) -> bool:
        """Whether the parser has consumed nothing of an unfinished message: it waits for the first byte of a frame."""
        parser: Any = self.protocol.parser  # typeshed gives generators no frames
        while parser.gi_yieldfrom is not None:
            parser = parser.gi_yieldfrom
        return parser.gi_code is StreamReader.at_eof.__code__ and self.protocol.current_size is None

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
        protocol = self.protocol
        protocol.receive_eof()
        self.is_aborted, self._fragments = True, None
        closed = protocol.close_rcvd
        try:
            self.ended(*(None, "") if closed is None else (int(closed.code), closed.reason))
        finally:
            release(protocol)

    def pause_writing(self) -> None:
        """The transport's buffer is over its limit."""
        self.is_writing_paused = True
        self.writing_paused()

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        self.is_writing_paused = False
        self.writing_resumed()

    # its parts --------------------------------------------------------------------------------------------------------

    def _frame_received(self, frame: Frame) -> None:
        if frame.opcode not in _DATA:
            return
        if frame.opcode is not Opcode.CONT:
            if frame.fin:
                self.message_received(bytes(frame.data))
            else:
                self._fragments = [bytes(frame.data)]
        elif self._fragments is not None:
            self._fragment_received(self._fragments, frame)

    def _fragment_received(self, fragments: list[bytes], frame: Frame) -> None:
        fragments.append(bytes(frame.data))
        if frame.fin:
            self._fragments = None
            self.message_received(b"".join(fragments))
        elif len(fragments) >= MAX_FRAGMENTS:
            self._fragments = None
            self.protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            self.flush()
