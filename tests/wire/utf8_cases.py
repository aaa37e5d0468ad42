"""The texts of Autobahn's cases 6.2 to 6.23: sequences that are UTF-8, and sequences that only look like it. Pure.

They come from Markus Kuhn's UTF-8 decoder stress test. Which of them are valid is for Python's decoder to say.
"""

from __future__ import annotations

from typing import NamedTuple

HELLO = b"Hello, world!"
VALID = "Hello-µ@ßöäüàá-UTF-8!!".encode()
KOSME = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
BAD = b"\xf4\x90\x80\x80"
"""A code point above the last one, 0x10FFFF; its second octet shows it."""

INVALID = KOSME + BAD + b"edited"

_PIECE = 16


class Cut(NamedTuple):
    """Where the message with the invalid text is cut: ``before`` and ``after`` count octets of its bad code point.

    ``octets``: the size of pieces of one frame instead of fragments.
    """

    before: int = 0
    after: int = 0
    octets: int = 0

    @property
    def is_of_frames(self) -> bool:
        """Whether the parts are frames."""
        return not self.octets

    def sizes(self, data: bytes) -> tuple[int, int]:
        """The sizes of the first two parts."""
        return data.index(BAD) + self.before, self.after - self.before


def is_utf8(text: bytes) -> bool:
    """Whether Python's decoder takes it."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def cut_around_the_fault() -> list[tuple[str, Cut]]:
    """6.4.1 and 6.4.2: three frames, of which the second has all bad octets, or only the one that shows the fault.

    6.4.3 and 6.4.4: one frame in pieces that end at different octets.
    """
    cuts = [Cut(0, len(BAD)), Cut(1, 2), Cut(octets=_PIECE), Cut(octets=_PIECE - 1)]
    return [(f"6.4.{row}", cut) for row, cut in enumerate(cuts, 1)]


_MISSING = (
    b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80",
    b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf",
)  # fmt: skip


_HIGH = (b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf")


def _lonely(first: int, last: int) -> bytes:
    return b"".join(bytes([octet]) + b" " for octet in range(first, last))


def _non_characters() -> list[bytes]:
    planes = [chr(plane << 16 | low).encode() for plane in range(1, 17) for low in (0xFFFE, 0xFFFF)]
    return [b"\xef\xbf\xbe", b"\xef\xbf\xbf", *planes]


SEQUENCES: dict[int, tuple[str, list[bytes]]] = {
    5: (
        "valid sequences",
        [b"hello\x24world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld", b"hello\xf0\xa4\xad\xa2world", KOSME],
    ),
    6: ("all prefixes of a valid text", [KOSME[:size] for size in range(1, len(KOSME) + 1)]),
    7: ("first sequence of each length", [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
    8: ("first sequence of five and six octets", [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
    9: ("last sequence of each length", [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
    10: (
        "last sequence of four to six octets",
        [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    ),
    11: (
        "other boundaries",
        [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80"],
    ),
    12: (
        "unexpected continuation octets",
        [b"\x80", b"\xbf", *[(b"\x80\xbf" * 3)[:size] for size in range(2, 7)], bytes(range(0x80, 0xBF))],
    ),
    13: (
        "lonely first octets",
        [_lonely(*octets) for octets in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))],
    ),
    14: ("last continuation octet missing", list(_MISSING)),
    15: ("incomplete sequences in a row", [b"".join(_MISSING)]),
    16: ("impossible octets", [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
    17: (
        "overlong ASCII",
        [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"],
    ),
    18: (
        "longest overlong sequences",
        [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"],
    ),
    19: (
        "overlong NUL",
        [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"],
    ),
    20: (
        "single surrogates",
        [b"\xed" + rest for rest in (*_HIGH, b"\xb0\x80", b"\xbe\x80", b"\xbf\xbf")],
    ),
    21: (
        "paired surrogates",
        [b"\xed" + high + b"\xed" + low for high in _HIGH for low in (b"\xb0\x80", b"\xbf\xbf")],
    ),
    22: ("non-characters", _non_characters()),
    23: ("specials", [b"\xef\xbf" + bytes([last]) for last in range(0xB9, 0xC0)]),
}
"""By group of cases: what the group is about, and its texts."""
