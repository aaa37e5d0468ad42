"""Lines gather, are written together, and each is accounted for, whatever became of its batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from threading import Event

import pytest

from resilience.server import log_writer
from resilience.server.log_writer import BATCH_LINES, Fields, NonBlockingWriter, writer_to
from tests.support.deadlines import HANG_S


class Reader:
    """Takes batches of lines as ``take`` decides, by default whole."""

    def __init__(self, take: Callable[[Sequence[bytes]], int] = len) -> None:
        self.batches: list[list[bytes]] = []
        self._take = take

    def __call__(self, lines: Sequence[bytes]) -> int:
        taken = self._take(lines)
        self.batches.append(list(lines[:taken]))
        return taken

    @property
    def lines(self) -> list[bytes]:
        return [line for batch in self.batches for line in batch]


def render(fields: Fields) -> str:
    return str(fields["n"])


def notice(count: int) -> Fields:
    return {"n": f"{count} dropped"}


def written(reader: Reader, *numbers: object) -> NonBlockingWriter:
    """A writer that was given lines of these numbers and tried them all."""
    writer = NonBlockingWriter(reader, render, notice)
    for number in numbers:
        writer.put({"n": number})
    assert writer.drain()
    writer.close()
    return writer


def test_what_waits_for_a_slow_reader_is_written_in_full_batches_and_in_order() -> None:
    """The reader takes nothing until all lines are queued: however busy the machine, few writes are left."""
    is_queued = Event()

    def take(lines: Sequence[bytes]) -> int:
        assert is_queued.wait(HANG_S)
        return len(lines)

    reader = Reader(take)
    writer = NonBlockingWriter(reader, render, notice)
    count = 10 * BATCH_LINES
    for number in range(count):
        writer.put({"n": number})
    is_queued.set()
    assert writer.drain(HANG_S)
    writer.close()
    assert reader.lines == [f"{n}\n".encode() for n in range(count)]
    assert len(reader.batches) <= 11
    assert max(map(len, reader.batches)) <= BATCH_LINES


def test_the_end_is_kept_behind_the_lines_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close whose wait is over: the mark of the end comes while lines are being gathered."""
    reader = Reader()
    writer = NonBlockingWriter(reader, render, notice)
    for number in range(3):
        writer.put({"n": number})
    monkeypatch.setattr(writer, "drain", lambda: False)
    writer.close()
    thread = writer._listener._thread
    assert thread is not None
    thread.join(HANG_S)
    assert not thread.is_alive()
    assert reader.lines == [b"0\n", b"1\n", b"2\n"]


def test_a_line_that_is_not_taken_is_dropped_alone() -> None:
    reader = Reader(lambda lines: lines.index(b"3\n") if b"3\n" in lines else len(lines))
    writer = written(reader, *range(6))
    assert writer.dropped == 1
    assert reader.lines == [b"0\n", b"1\n", b"2\n", b"4\n", b"5\n", b"1 dropped\n"]


def test_a_line_that_cannot_be_made_is_dropped_and_the_next_ones_are_written() -> None:
    class Unreadable:
        def __str__(self) -> str:
            raise ValueError

    reader = Reader()
    writer = written(reader, 1, Unreadable(), 2)
    assert writer.dropped == 1
    assert reader.lines == [b"1\n", b"2\n", b"1 dropped\n"]


def test_a_file_that_fails_inside_a_batch_took_its_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes fourteen octets: three lines of four, the second of which has an end inside, and half of one."""
    room = [14]

    def write(descriptor: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = min(room[0], 5, len(data))
        room[0] -= taken
        return os.write(descriptor, data[:taken])

    monkeypatch.setattr(log_writer, "_write_some", write)
    reader, end = os.pipe()
    with os.fdopen(end, "w") as stream:
        assert writer_to(stream)([b"aaa\n", b"b\nb\n", b"ccc\n", b"ddd\n"]) == 3
    assert os.read(reader, 100) == b"aaa\nb\nb\nccc\ndd"
    os.close(reader)
