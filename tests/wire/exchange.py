"""Plays a case with an end over a connection, and tells what came back. Reads as strictly as RFC 6455 allows."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from tests.hostile.wire import BINARY, CLOSE, PING, PONG, TEXT, head, mask
from tests.support.deadlines import HANG_S

from .cases import FRAMES, WHOLE, Case, Frame
from .ends import REFUSED, End, Reply

LAST = 999_999
"""The number of the question after a case: its answer shows that the connection is open and all replies have come.

It is no ping, because an end may answer pings at once and messages later.
"""

BUFFER = 65_536
LONGEST_CONTROL, SHORT, MEDIUM = 125, 126, 127
NO_CODE = 0


class Outcome(NamedTuple):
    """What came back: replies in order, the code of the close frame (``None`` without one), whether it is open."""

    replies: list[Reply]
    closes: int | None
    is_open: bool


async def read_frame(reader: asyncio.StreamReader, *, masked: bool) -> tuple[int, bytes]:
    """The next frame of an end: opcode and payload.

    Raises ``AssertionError`` for one that RFC 6455 forbids, and for a fragment, which no end of ours sends;
    ``IncompleteReadError`` or ``ConnectionError`` at the end of the connection.
    """
    first, second = await reader.readexactly(2)
    opcode, size = first & 0x0F, second & 0x7F
    assert first & 0xF0 == 0x80, f"not a whole frame without reserved bits: {first:#x}"
    assert opcode in {TEXT, BINARY, CLOSE, PING, PONG}, f"opcode {opcode}"
    assert bool(second & 0x80) is masked, "a client masks, a server does not (section 5.1)"
    if size == SHORT:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        assert size >= SHORT, "the length takes more octets than it needs"
    elif size == MEDIUM:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
        assert size > 0xFFFF, "the length takes more octets than it needs"
    assert opcode < CLOSE or size <= LONGEST_CONTROL, "a control frame is too long"
    key = await reader.readexactly(4) if masked else b""
    payload = await reader.readexactly(size)
    return opcode, _unmasked(payload, key) if masked else payload


async def play_case(
    case: Case, end: End, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pause: float
) -> Outcome:
    """Send the frames of a case, cut as it says with ``pause`` seconds between the pieces, and read what comes back."""
    reading = asyncio.create_task(_read(end, reader))
    last = [Frame(TEXT, end.ask(LAST))] if case.closes is None else []
    with suppress(ConnectionError):
        for piece in _pieces(chain(case.frames(end), last), case.cut, masked=end.is_server):
            if reading.done():
                break
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0 if case.cut == WHOLE else pause)
    async with asyncio.timeout(HANG_S):
        return await reading


async def _read(end: End, reader: asyncio.StreamReader) -> Outcome:
    replies: list[Reply] = []
    try:
        while True:
            opcode, payload = await read_frame(reader, masked=not end.is_server)
            if opcode == CLOSE:
                if end.is_server:
                    assert await reader.read(1) == b"", "a server closes the connection after its close frame"
                return Outcome(replies, _code_of(payload), is_open=False)
            reply = Reply("pong", payload) if opcode == PONG else end.reply(payload)
            if reply == Reply("answer", LAST):
                return Outcome(replies, None, is_open=True)
            replies += [reply] if reply else []
    except (asyncio.IncompleteReadError, ConnectionError):
        return Outcome([*replies, REFUSED], None, is_open=False)


def check(case: Case, end: End, outcome: Outcome) -> None:
    """Assert that this is the outcome which the case asks for."""
    wanted = list(case.replies(end))
    got = wanted[: len(outcome.replies)] if case.lenient and not outcome.is_open else wanted
    is_refused_by_a_client = REFUSED in wanted and not end.is_server
    is_open = case.closes is None and not is_refused_by_a_client
    assert outcome == Outcome(got, case.closes, is_open), f"case {case.number}, section {case.section} of RFC 6455"


def _pieces(frames: Iterable[Frame], cut: int, *, masked: bool) -> Iterator[bytes]:
    """The bytes of frames as they are written to the socket; made when they are asked for."""
    buffer = b""
    for part in (part for each in frames for part in _encoded(each, masked=masked)):
        if cut == FRAMES:
            yield part
        elif cut == WHOLE:
            buffer += part
            if len(buffer) >= BUFFER:
                yield buffer
                buffer = b""
        else:
            yield from (part[at : at + cut] for at in range(0, len(part), cut))
    if buffer:
        yield buffer


def _encoded(each: Frame, *, masked: bool) -> Iterator[bytes]:
    """A frame (section 5.2); a long one in parts, so that one which is refused by its length need not be made."""
    start = head(len(each.payload), each.opcode, fin=each.fin, masked=masked, reserved=each.reserved)
    for at in range(0, max(len(each.payload), 1), BUFFER):
        part = each.payload[at : at + BUFFER]
        yield start + (mask(part) if masked else part)
        start = b""


def _code_of(payload: bytes) -> int:
    if not payload:
        return NO_CODE
    assert len(payload) >= 2, "half a code"
    payload[2:].decode()
    return int.from_bytes(payload[:2], "big")


def _unmasked(payload: bytes, key: bytes) -> bytes:
    return bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))


async def read_message(reader: asyncio.StreamReader, wanted: bytes, *, masked: bool) -> bytes:
    """The next text message that has these octets in it."""
    while True:
        opcode, payload = await read_frame(reader, masked=masked)
        if opcode == TEXT and wanted in payload:
            return payload
