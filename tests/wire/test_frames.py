"""Frames made and read without the library are those that the library makes and reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets import utils
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from resilience.wire.frames import masked_text_frame, text_frame, whole_message

LIMIT = 100_000
SIZES = [0, 1, 125, 126, 127, 65_535, 65_536]
HEADS = [2, 2, 2, 4, 4, 4, 10]


@pytest.mark.parametrize("size, head", list(zip(SIZES, HEADS, strict=True)))
def test_a_frame_of_a_server_is_whole_and_unmasked(size: int, head: int) -> None:
    text = b"x" * size
    assert text_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)
    assert len(text_frame(text)) == head + size


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_of_a_client_is_read_by_the_library(size: int) -> None:
    protocol, text = Protocol(Side.SERVER), b"x" * size
    protocol.receive_data(masked_text_frame(text))
    (received,) = protocol.events_received()
    assert received == Frame(Opcode.TEXT, text)


def test_the_mask_of_each_frame_is_a_new_one() -> None:
    assert len({masked_text_frame(b"the same")[2:6] for _ in range(50)}) == 50


@given(
    opcode=st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
    size=st.sampled_from(SIZES[:-1]),
    start=st.integers(0, 3),
    behind=st.binary(max_size=3),
    is_masked=st.booleans(),
)
def test_a_whole_message_is_read_and_nothing_behind_it(
    opcode: Opcode, size: int, start: int, behind: bytes, *, is_masked: bool
) -> None:
    frame = Frame(opcode, b"z" * size).serialize(mask=is_masked)
    message = whole_message(b"\x81" * start + frame + behind, start, LIMIT, is_masked=is_masked)
    assert message == (b"z" * size, opcode is Opcode.TEXT, start + len(frame))


@given(size=st.sampled_from([0, 5, 126, 300]), is_masked=st.booleans(), data=st.data())
def test_part_of_a_frame_is_no_message(size: int, data: st.DataObject, *, is_masked: bool) -> None:
    frame = Frame(Opcode.TEXT, b"z" * size).serialize(mask=is_masked)
    part = frame[: data.draw(st.integers(0, len(frame) - 1))]
    assert whole_message(part, 0, LIMIT, is_masked=is_masked) is None


@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.TEXT, b"part", fin=False),
        Frame(Opcode.CONT, b"part"),
        Frame(Opcode.PING, b"?"),
        Frame(Opcode.PONG, b""),
        Frame(Opcode.CLOSE, b""),
        Frame(Opcode.TEXT, b"x" * 65_536),
        Frame(Opcode.TEXT, b"x" * 1001),
    ],
    ids=["fragment", "continuation", "ping", "pong", "close", "long", "above the limit"],
)
def test_what_is_no_usual_frame_is_left_to_the_library(frame: Frame, *, is_masked: bool) -> None:
    limit = 1000 if len(frame.data) == 1001 else LIMIT
    assert whole_message(frame.serialize(mask=is_masked), 0, limit, is_masked=is_masked) is None


@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize("first", [0xC1, 0xA1, 0x91, 0x83, 0x01])
def test_a_frame_that_breaks_the_protocol_is_left_to_the_library(first: int, *, is_masked: bool) -> None:
    good = Frame(Opcode.TEXT, b"x").serialize(mask=is_masked)
    assert whole_message(bytes((first,)) + good[1:], 0, LIMIT, is_masked=is_masked) is None
    assert whole_message(good, 0, LIMIT, is_masked=not is_masked) is None


def test_both_forms_of_the_librarys_mask_are_the_same() -> None:
    """``frames`` takes it from an undocumented module of ``websockets``, and else from ``websockets.utils``."""
    speedups = pytest.importorskip("websockets.speedups")
    for size in range(20):
        data, mask = b"x" * size, b"\x01\x02\x03\x04"
        assert speedups.apply_mask(data, mask) == utils.apply_mask(data, mask)
