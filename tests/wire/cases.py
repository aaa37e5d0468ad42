"""The fuzzing-client cases of the Autobahn test suite as values, by its case numbers; RFC 6455 says what must happen.

A case is frames to send and what must come back. It is the same for both ends: neither echoes as Autobahn's own peers
do, so ``ends`` says which message of the application each of them answers. Texts are in ``utf8_cases``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from tests.hostile.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

from .ends import REFUSED, End, Reply
from .utf8_cases import HELLO, INVALID, KOSME, SEQUENCES, VALID, Cut, cut_around_the_fault, is_utf8

NORMAL, PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1000, 1002, 1007, 1009
WHOLE, FRAMES, OCTETS = -1, 0, 1
"""How bytes are cut for the socket: not, frame by frame, octet by octet; a greater number is octets in a piece."""


class Frame(NamedTuple):
    """One frame to send."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0


Frames = Callable[[End], Iterable[Frame]]
Split = Callable[[bytes], Iterable[Frame]]


@dataclass(frozen=True)
class Case:
    """One case: ``number`` is Autobahn's, ``section`` that of RFC 6455 which asks for the outcome.

    ``replies`` must come back in this order, and ``closes`` is the code of the close frame after them: 0 for a close
    frame without a code, ``None`` for a connection that stays open. ``lenient``: replies may be missing from the end,
    because the connection was closed before they were sent (Autobahn's "non-strict"). ``size``: that of the message
    which an end with a lower limit does not read. ``is_closing``: the peer closes the connection by the rules.
    """

    number: str
    section: str
    frames: Frames
    replies: Callable[[End], Sequence[Reply]] = lambda _: ()
    closes: int | None = None
    cut: int = WHOLE
    lenient: bool = False
    size: int = 0
    is_closing: bool = False

    def at(self, end: End) -> Case:
        """The case with the outcome that the limit of this end asks for."""
        is_too_big = self.size > end.max_message_bytes
        return replace(self, section="7.4.1", replies=lambda _: (), closes=TOO_BIG) if is_too_big else self


# parts of cases -------------------------------------------------------------------------------------------------------


def ask(end: End, number: int = 1) -> Frame:
    """A message that is answered."""
    return Frame(TEXT, end.ask(number))


def answer(number: int = 1) -> Reply:
    """The answer to it."""
    return Reply("answer", number)


def pong(payload: bytes) -> Reply:
    """The answer to a ping."""
    return Reply("pong", payload)


def close(code: int = NORMAL, reason: bytes = b"") -> Frame:
    """A close frame with a code."""
    return Frame(CLOSE, code.to_bytes(2, "big") + reason)


def fragments(data: bytes, *sizes: int, opcode: int = TEXT) -> list[Frame]:
    """A message in fragments of these sizes, and the rest in one more."""
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)] + [len(data)]
    parts = [data[begin:end] for begin, end in pairwise(ends)]
    return [Frame(CONTINUATION if i else opcode, part, i == len(sizes)) for i, part in enumerate(parts)]


def pieces(data: bytes, size: int, opcode: int = TEXT) -> Iterator[Frame]:
    """A message in fragments of one size, made when they are sent."""
    starts = range(0, len(data), size)
    for at in starts:
        yield Frame(CONTINUATION if at else opcode, data[at : at + size], at == starts[-1])


def answered(number: str, section: str, frames: Frames, *replies: Reply, cut: int = WHOLE) -> Case:
    """The connection stays open."""
    return Case(number, section, frames, lambda _: replies, cut=cut)


def failed(number: str, section: str, frames: Frames, *, cut: int = WHOLE, code: int = PROTOCOL_ERROR) -> Case:
    """The connection is failed, and nothing is answered."""
    return Case(number, section, frames, closes=code, cut=cut)


def failed_after_a_message(number: str, section: str, bad: Callable[[End], Frame], cut: int = WHOLE) -> Case:
    """A message, the frame that fails the connection, and a ping that must not be answered."""

    def frames(end: End) -> list[Frame]:
        return [ask(end), bad(end), Frame(PING)]

    return Case(number, section, frames, lambda _: [answer()], PROTOCOL_ERROR, cut, lenient=True)


def closed(number: str, frames: Frames, *replies: Reply, code: int = NORMAL) -> Case:
    """The close frame is answered with the same code; what was asked before it may be answered before it."""
    return Case(number, "5.5.1", frames, lambda _: replies, code, lenient=True, is_closing=True)


def sized(number: str, section: str, size: int, split: Split, cut: int = WHOLE) -> Case:
    """A message of ``size`` octets, padded with blanks."""
    return Case(number, section, lambda end: split(end.ask(1, size)), lambda _: [answer()], cut=cut, size=size)


def whole(opcode: int) -> Split:
    """A message in one frame."""
    return lambda data: [Frame(opcode, data)]


def in_pieces(size: int, opcode: int = TEXT) -> Split:
    """A message in fragments of one size."""
    return lambda data: pieces(data, size, opcode)


# 1: framing -----------------------------------------------------------------------------------------------------------

LENGTHS = ((125, WHOLE), (126, WHOLE), (127, WHOLE), (128, WHOLE), (65_535, WHOLE), (65_536, WHOLE), (65_536, 997))


def framing() -> Iterator[Case]:
    """1.1 text and 1.2 binary messages with each form of the length; an empty one is no message of the application."""
    for group, opcode in (("1.1", TEXT), ("1.2", BINARY)):
        yield empty(f"{group}.1", opcode)
        for row, (size, cut) in enumerate(LENGTHS, 2):
            yield sized(f"{group}.{row}", "5.2", size, whole(opcode), cut)


def empty(number: str, opcode: int) -> Case:
    """A message without content."""
    return answered(number, "5.6", lambda _: [Frame(opcode)], REFUSED)


# 2: pings and pongs ---------------------------------------------------------------------------------------------------

OCTET_STRING = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
FULL = b"\xfe" * 125
TEN = [b"payload-%d" % number for number in range(10)]


def control_frames() -> Iterator[Case]:
    """Every ping is answered with its payload, in order; a pong is not answered."""
    yield pings("2.1", [b""])
    yield pings("2.2", [HELLO])
    yield pings("2.3", [OCTET_STRING])
    yield pings("2.4", [FULL])
    yield failed("2.5", "5.5", lambda _: [Frame(PING, FULL + b"\xfe")])
    yield pings("2.6", [FULL], OCTETS)
    yield answered("2.7", "5.5.3", lambda _: [Frame(PONG)])
    yield answered("2.8", "5.5.3", lambda _: [Frame(PONG, b"unsolicited")])
    yield answered("2.9", "5.5.3", lambda _: [Frame(PONG, b"unsolicited"), Frame(PING, HELLO)], pong(HELLO))
    yield pings("2.10", TEN)
    yield pings("2.11", TEN, OCTETS)


def pings(number: str, payloads: Sequence[bytes], cut: int = WHOLE) -> Case:
    """Pings, and a pong for each."""
    frames = [Frame(PING, payload) for payload in payloads]
    return answered(number, "5.5.2", lambda _: frames, *map(pong, payloads), cut=cut)


# 3 and 4: reserved bits and opcodes -----------------------------------------------------------------------------------


def reserved_bits() -> Iterator[Case]:
    """No extension is negotiated, so a reserved bit fails the connection."""
    yield failed("3.1", "5.2", lambda end: [ask(end)._replace(reserved=1)])
    yield failed_after_a_message("3.2", "5.2", lambda end: ask(end, 2)._replace(reserved=2))
    yield failed_after_a_message("3.3", "5.2", lambda end: ask(end, 2)._replace(reserved=3), FRAMES)
    yield failed_after_a_message("3.4", "5.2", lambda end: ask(end, 2)._replace(reserved=4), OCTETS)
    yield failed("3.5", "5.2", lambda _: [Frame(BINARY, OCTET_STRING, reserved=5)])
    yield failed("3.6", "5.2", lambda _: [Frame(PING, HELLO, reserved=6)])
    yield failed("3.7", "5.2", lambda _: [close()._replace(reserved=7)])


def reserved_opcodes() -> Iterator[Case]:
    """4.1 opcodes 3 to 7, 4.2 opcodes 11 to 15."""
    for group, first in (("4.1", 0x3), ("4.2", 0xB)):
        yield reserved_opcode(f"{group}.1", Frame(first))
        yield reserved_opcode(f"{group}.2", Frame(first + 1, HELLO))
        yield reserved_opcode(f"{group}.3", Frame(first + 2), WHOLE)
        yield reserved_opcode(f"{group}.4", Frame(first + 3, HELLO), WHOLE)
        yield reserved_opcode(f"{group}.5", Frame(first + 4, HELLO), OCTETS)


def reserved_opcode(number: str, bad: Frame, cut: int | None = None) -> Case:
    """The frame alone, or with ``cut`` after a message."""
    if cut is None:
        return failed(number, "5.2", lambda _: [bad])
    return failed_after_a_message(number, "5.2", lambda _: bad, cut)


# 5: fragmentation -----------------------------------------------------------------------------------------------------

AMISS = b"non-continuation payload"


def fragmentation() -> Iterator[Case]:
    """Control frames have no fragments, and between those of a message come control frames only."""
    yield failed("5.1", "5.5", lambda _: [Frame(PING, b"a", fin=False), Frame(CONTINUATION, b"b")])
    yield failed("5.2", "5.5", lambda _: [Frame(PONG, b"a", fin=False), Frame(CONTINUATION, b"b")])
    for row, cut in enumerate((WHOLE, FRAMES, OCTETS)):
        yield answered(f"5.{3 + row}", "5.4", halves, answer(), cut=cut)
        yield answered(f"5.{6 + row}", "5.4", halves_with_a_ping, pong(HELLO), answer(), cut=cut)
        yield failed(f"5.{9 + row}", "5.4", lambda end: [Frame(CONTINUATION, AMISS), ask(end)], cut=cut)
        yield failed(f"5.{12 + row}", "5.4", lambda end: [Frame(CONTINUATION, AMISS, fin=False), ask(end)], cut=cut)
    yield Case("5.15", "5.4", message_and_nothing_to_continue, lambda _: [answer()], PROTOCOL_ERROR, lenient=True)
    yield failed("5.16", "5.4", lambda end: [Frame(CONTINUATION, AMISS, fin=False), *halves(end)] * 2)
    yield failed("5.17", "5.4", lambda end: [Frame(CONTINUATION, AMISS), *halves(end)] * 2)
    yield failed("5.18", "5.4", lambda end: [part._replace(opcode=TEXT) for part in halves(end)])
    yield answered("5.19", "5.4", five_fragments, pong(b"1!"), pong(b"2!"), answer())
    yield answered("5.20", "5.4", five_fragments, pong(b"1!"), pong(b"2!"), answer(), cut=FRAMES)


def halves(end: End) -> list[Frame]:
    """A message in two fragments."""
    return fragments(end.ask(1), 9)


def halves_with_a_ping(end: End) -> list[Frame]:
    """A ping between two fragments."""
    first, last = halves(end)
    return [first, Frame(PING, HELLO), last]


def five_fragments(end: End) -> list[Frame]:
    """Five fragments, with a ping after the second and after the fourth."""
    one, two, three, four, five = fragments(end.ask(1), 3, 3, 3, 3)
    return [one, two, Frame(PING, b"1!"), three, four, Frame(PING, b"2!"), five]


def message_and_nothing_to_continue(end: End) -> list[Frame]:
    """A message in two fragments, a continuation of nothing, a message."""
    return [*halves(end), Frame(CONTINUATION, AMISS, fin=False), ask(end, 2)]


# 6: text --------------------------------------------------------------------------------------------------------------


def texts() -> Iterator[Case]:
    """A text is UTF-8, wherever its fragments end; a message with another one fails the connection."""
    yield empty("6.1.1", TEXT)
    yield answered("6.1.2", "5.6", lambda _: fragments(b"", 0, 0), REFUSED)
    yield answered("6.1.3", "5.4", lambda end: fragments(end.ask(1), 0, len(end.ask(1))), answer())
    yield said("6.2.1", VALID, whole(TEXT))
    yield said("6.2.2", VALID, lambda data: fragments(data, data.index("ß".encode())))
    yield said("6.2.3", VALID, in_pieces(1))
    yield said("6.2.4", KOSME, in_pieces(1))
    yield said("6.3.1", INVALID, whole(TEXT))
    yield said("6.3.2", INVALID, in_pieces(1))
    for number, at in cut_around_the_fault():
        yield said_cut(number, at)
    for group, (_, rows) in SEQUENCES.items():
        for row, text in enumerate(rows, 1):
            yield said(f"6.{group}.{row}", text, whole(TEXT))


def said(number: str, text: bytes, split: Split, cut: int = WHOLE) -> Case:
    """A message with this text in one of its fields; one that is not UTF-8 fails the connection."""

    def frames(end: End) -> Iterable[Frame]:
        return split(end.say(text))

    if not is_utf8(text):
        return failed(number, "8.1", frames, cut=cut, code=INVALID_DATA)
    return Case(number, "8.1", frames, lambda end: end.replies_to(text), cut=cut)


def said_cut(number: str, at: Cut) -> Case:
    """The invalid text in three parts, each sent when the one before has arrived: frames, or pieces of one frame."""
    if at.is_of_frames:
        return said(number, INVALID, lambda data: fragments(data, *at.sizes(data)), FRAMES)
    return said(number, INVALID, whole(TEXT), at.octets)


# 7: the closing handshake ---------------------------------------------------------------------------------------------

GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
LONGEST_REASON = 123


def closing() -> Iterator[Case]:
    """A close frame is answered with one, and nothing after it is answered."""
    yield closed("7.1.1", lambda end: [ask(end), close()], answer())
    yield closed("7.1.2", lambda _: [close(), close()])
    yield closed("7.1.3", lambda _: [close(), Frame(PING)])
    yield closed("7.1.4", lambda end: [close(), ask(end)])
    yield replace(failed("7.1.5", "5.4", close_between_fragments), is_closing=True)  # Autobahn asks for 1000
    yield closed("7.1.6", message_of_the_greatest_size_and_close, answer(1), answer(2))
    yield closed("7.3.1", lambda _: [Frame(CLOSE)], code=0)
    yield failed("7.3.2", "5.5.1", lambda _: [Frame(CLOSE, b"a")])
    yield closed("7.3.3", lambda _: [close()])
    yield closed("7.3.4", lambda _: [close(NORMAL, HELLO)])
    yield closed("7.3.5", lambda _: [close(NORMAL, b"*" * LONGEST_REASON)])
    yield failed("7.3.6", "5.5", lambda _: [close(NORMAL, b"*" * (LONGEST_REASON + 1))])
    yield failed("7.5.1", "8.1", lambda _: [close(NORMAL, INVALID)], code=INVALID_DATA)
    for row, code in enumerate(GOOD_CODES, 1):
        yield good_code(f"7.7.{row}", code)
    for row, code in enumerate(BAD_CODES, 1):
        yield bad_code(f"7.9.{row}", code)
    yield bad_code("7.13.1", 5000)
    yield bad_code("7.13.2", 65_535)


def close_between_fragments(end: End) -> list[Frame]:
    """The first half of a message, a close frame, the other half."""
    first, last = halves(end)
    return [first, close(), last]


def message_of_the_greatest_size_and_close(end: End) -> list[Frame]:
    """A long message, a short one, a close frame and a ping."""
    return [Frame(TEXT, end.ask(1, end.max_message_bytes)), ask(end, 2), close(), Frame(PING)]


def good_code(number: str, code: int) -> Case:
    """A code that a close frame may have."""
    return closed(number, lambda _: [close(code)], code=code)


def bad_code(number: str, code: int) -> Case:
    """A code that it must not have."""
    return failed(number, "7.4", lambda _: [close(code)])


# 9 and 10: limits -----------------------------------------------------------------------------------------------------

KIB, MIB = 2**10, 2**20
SIZES = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB)
FRAGMENTS = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
CHOPS = (64, 128, 256, 512, KIB, 2 * KIB)
ROUND_TRIPS = 100
"""Messages of a case of 9.7 and 9.8, of which Autobahn sends a thousand to measure how long they take."""


def limits() -> Iterator[Case]:
    """A message up to the limit of the end is answered; a longer one closes the connection before it is whole."""
    for shift, opcode in ((0, TEXT), (1, BINARY)):
        for row, size in enumerate(SIZES, 1):
            yield sized(f"9.{1 + shift}.{row}", "5.2", size, whole(opcode))
        for row, size in enumerate(FRAGMENTS, 1):
            yield sized(f"9.{3 + shift}.{row}", "5.4", 4 * MIB, in_pieces(size, opcode))
        for row, cut in enumerate(CHOPS, 1):
            yield sized(f"9.{5 + shift}.{row}", "5.2", MIB, whole(opcode), cut)
        for row, size in enumerate((16, 64, 256, KIB, 4 * KIB), 2):
            yield round_trips(f"9.{7 + shift}.{row}", size, opcode)
    yield failed("9.9.1", "7.4.1", fragments_without_end, code=TOO_BIG)
    yield sized("10.1.1", "5.4", 65_536, in_pieces(1300))
    yield sized("10.1.1, 16 KiB", "5.4", 16 * KIB, in_pieces(1300))


def round_trips(number: str, size: int, opcode: int) -> Case:
    """Messages, each answered in turn."""
    numbers = range(1, ROUND_TRIPS + 1)
    return answered(
        number, "5.2", lambda end: [Frame(opcode, end.ask(each, size)) for each in numbers], *map(answer, numbers)
    )


def fragments_without_end(end: End) -> list[Frame]:
    """Fragments of 4 KiB of a message that is longer than the end allows, and has no last one."""
    return fragments(b" " * (end.max_message_bytes + 4 * KIB), *[4 * KIB] * (end.max_message_bytes // (4 * KIB) + 1))


GROUPS = (framing, control_frames, reserved_bits, reserved_opcodes, fragmentation, texts, closing, limits)
CASES: dict[str, list[Case]] = {}
"""All cases, by all but the last part of their numbers."""

for _case in (case for group in GROUPS for case in group()):
    CASES.setdefault(_case.number.rpartition(".")[0], []).append(_case)
