"""Log events to disk and back, by the writer and by the reports' reader of columns."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.columns import RecordColumns
from resilience.errors import EvidenceError
from resilience.eventlog.end_marker import EndMarker, decode_marker
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import FLUSH_BYTES, EventList, EventWriter
from resilience.lab.manifest import LineScan
from tests.support.stored_lines import read_events

TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
EVENTS = st.builds(
    LogEvent,
    t=st.floats(0, 1e6),
    lane=st.sampled_from(Lane),
    role=st.sampled_from(Role),
    actor=st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    kind=st.sampled_from(LogEventKind),
    cohort=TEXT,
    seq=st.none() | st.integers(0, 2**53),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    detail=TEXT,
)


def event(t: float, actor: str = "c0", kind: LogEventKind = LogEventKind.PONG_SENT) -> LogEvent:
    """An event at a time."""
    return LogEvent(t, Lane.PAIR, Role.CLIENT, actor, kind)


def write(path: Path, *events: LogEvent, resume: bool = False) -> Path:
    """Write a log file, or append to one."""
    writer = EventWriter(path, resume=resume)
    for one in events:
        writer.write(one)
    writer.close()
    return path


def unmarked(path: Path) -> bytes:
    """A file without its end marker, which must be right."""
    *lines, last = path.read_bytes().splitlines(keepends=True)
    body = b"".join(lines)
    assert decode_marker(last) == EndMarker(len(lines), hashlib.sha256(body).hexdigest())
    return body


def times(path: Path) -> list[float]:
    """The instants of the events in a file, as the reports read them."""
    columns = RecordColumns(LogEvent)
    columns.add_file(str(path), LineScan(path), len)
    return [float(t) for t in columns.frame()["t"]]


@given(events=st.lists(EVENTS, max_size=10))
def test_written_events_are_read_in_order_of_time(
    tmp_path_factory: pytest.TempPathFactory, events: list[LogEvent]
) -> None:
    run_dir = tmp_path_factory.mktemp("run")
    write(run_dir / "events" / "a.jsonl", *events)
    assert read_events(run_dir) == sorted(events, key=lambda one: one.t)


def test_files_are_merged_by_time_then_name_then_line(tmp_path: Path) -> None:
    write(tmp_path / "events" / "b.jsonl", event(1.0, "b1"), event(2.0, "b2"), event(2.0, "b3"))
    write(tmp_path / "events" / "a.jsonl", event(2.0, "a1"), event(0.5, "a2"))
    assert [one.actor for one in read_events(tmp_path)] == ["a2", "b1", "a1", "b2", "b3"]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """A killed process leaves one, torn at any byte."""
    path = write(tmp_path / "events" / "a.jsonl", event(1.0), event(2.0))
    whole = path.read_bytes()
    for end in range(whole.index(b"\n") + 1, whole.index(b"\n", whole.index(b"\n") + 1)):
        path.write_bytes(whole[:end])
        assert times(path) == [1.0]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"",
        b"{}",
        b'{"t":1,"lane":"pair","role":"client","actor":"c0","kind":"no.such"}',
        b'{"t":1,"lane":"pair","role":"client","actor":"c0","kind":"heartbeat.answered","more":1}',
        b'{"t":1,"lane":"pair","role":"client","actor":"\xff","kind":"heartbeat.answered"}',
    ],
    ids=["nonsense", "blank", "empty", "kind", "field", "bytes"],
)
def test_a_broken_line_is_named_by_file_and_number(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "events" / "a.jsonl", event(1.0))
    path.write_bytes(msgspec.json.encode(event(1.0)) + b"\n" + line + b"\n" + msgspec.json.encode(event(2.0)) + b"\n")
    with pytest.raises(EvidenceError) as caught:
        times(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    assert times(write(tmp_path / "events" / "a.jsonl")) == []


def test_the_writer_buffers_until_flushed(tmp_path: Path) -> None:
    """``flush`` writes everything; large amounts are written without it."""
    path = tmp_path / "events" / "a.jsonl"
    writer = EventWriter(path)
    writer.write(event(1.0))
    assert path.stat().st_size == 0
    writer.flush()
    assert path.read_bytes() == msgspec.json.encode(event(1.0)) + b"\n"
    while path.stat().st_size < FLUSH_BYTES:
        writer.write(event(2.0, "x" * 1000))
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.close()


def test_a_resuming_writer_appends(tmp_path: Path) -> None:
    """Without ``resume`` the file is truncated."""
    path = write(tmp_path / "events" / "a.jsonl", event(1.0))
    for t in (2.0, 3.0):
        write(path, event(t), resume=True)
    assert [one.t for one in read_events(tmp_path)] == [1.0, 2.0, 3.0]
    write(path, event(4.0))
    assert [one.t for one in read_events(tmp_path)] == [4.0]


def test_a_file_has_one_end_marker_however_often_it_was_resumed(tmp_path: Path) -> None:
    """At its end, over all lines, after orderly ends and kills."""
    path = write(tmp_path / "events" / "a.jsonl", event(1.0))
    write(path, event(2.0), resume=True)
    path.write_bytes(unmarked(path) + b'{"t":9')  # killed in the middle of a line
    write(path, event(3.0), resume=True)
    write(path, event(4.0), resume=True)
    assert unmarked(path) == b"".join(msgspec.json.encode(event(t)) + b"\n" for t in (1.0, 2.0, 3.0, 4.0))


def test_a_resuming_writer_creates_a_missing_file(tmp_path: Path) -> None:
    write(tmp_path / "events" / "a.jsonl", event(1.0), resume=True)
    assert [one.t for one in read_events(tmp_path)] == [1.0]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_resuming_writer_drops_an_unfinished_line(tmp_path: Path, kept: int) -> None:
    """Torn at any byte; the other lines stay."""
    path = write(tmp_path / "events" / "a.jsonl", *(event(float(i)) for i in range(kept)))
    whole, line = unmarked(path), msgspec.json.encode(event(9.0))
    for end in range(len(line) + 1):
        path.write_bytes(whole + line[:end])
        write(path, event(10.0), resume=True)
        assert unmarked(path) == whole + msgspec.json.encode(event(10.0)) + b"\n"


@pytest.mark.parametrize("length", [FLUSH_BYTES - 1, FLUSH_BYTES, FLUSH_BYTES + 1, 3 * FLUSH_BYTES + 7])
@pytest.mark.parametrize("kept", [0, 1])
def test_a_torn_line_may_be_longer_than_a_buffer(tmp_path: Path, length: int, kept: int) -> None:
    path = write(tmp_path / "events" / "a.jsonl", *(event(float(i)) for i in range(kept)))
    whole = path.read_bytes()
    path.write_bytes(unmarked(path) + b"x" * length)
    EventWriter(path, resume=True).close()
    assert path.read_bytes() == whole


def test_a_line_has_no_absent_fields() -> None:
    assert msgspec.json.encode(event(1.5)) == (
        b'{"t":1.5,"lane":"pair","role":"client","actor":"c0","kind":"heartbeat.answered"}'
    )


def test_a_list_is_a_sink() -> None:
    sink = EventList()
    sink.write(event(1.0))
    assert sink == [event(1.0)]


def test_no_two_kinds_share_a_name() -> None:
    assert len({kind.value for kind in LogEventKind}) == len(LogEventKind.__members__)
