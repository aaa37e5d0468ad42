"""Outage traces as CSV: unsorted and overlapping rows are read, broken ones are answered with file, line and rule."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import HarnessError
from sim.profiles.files import parse_mix
from sim.profiles.sampler import sample
from sim.profiles.timelines import OutageKind, OutageTimelines
from sim.profiles.trace import OutageTrace, TraceError, numbered, parse_trace, read_trace, write_rows, write_trace


def written(trace: OutageTrace) -> str:
    file = io.StringIO()
    write_rows(trace, file)
    return file.getvalue()


def test_rows_in_any_order_that_overlap_become_timelines() -> None:
    text = "participant,start,end,kind\nb,9,12.5,refused\na, 3 ,4,\nb,12,20,silent\n\na,1,2,suspended\nc,,,\n"
    trace = parse_trace(text, "x.csv")
    assert trace.names == ("b", "a", "c")
    assert list(trace.timelines) == [
        [(9, 20, OutageKind.REFUSED)],
        [(1, 2, OutageKind.SUSPENDED), (3, 4, OutageKind.SILENT)],
        [],
    ]


def test_the_kind_may_be_left_out() -> None:
    trace = parse_trace("participant,start,end\r\nphone 1,0,1\r\nphone 2,,\r\n", "x.csv")
    assert trace.names == ("phone 1", "phone 2")
    assert trace.timelines.of_participant(0) == [(0, 1, OutageKind.SILENT)]


def test_a_file_may_begin_with_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b"\xef\xbb\xbfparticipant,start,end\na,1,2\n")
    assert read_trace(file).timelines.outages == 1


@given(st.integers(0, 1000))
def test_what_is_written_is_read_back_bit_for_bit(seed: int) -> None:
    timelines = sample(parse_mix(("congested-venue=9", "server-deploy=3", "suspended-tab=4")), 1800.0, seed=seed)
    back = parse_trace(written(numbered(timelines)), "x.csv")
    assert back.timelines.digest == timelines.digest
    assert back.names == tuple(map(str, range(16)))


def test_names_with_commas_and_quotes_are_kept() -> None:
    trace = OutageTrace(('a,"b"', "c\nd"), OutageTimelines.of([[(1, 2, 0)], []]))
    assert parse_trace(written(trace), "x.csv").names == trace.names


@pytest.mark.parametrize(
    "rows, complaint",
    [
        ("", "x.csv: names no participant"),
        ("\n\na,5,4", "x.csv:4: end: '4': must be after start (5)"),
        ("a,1,2\nb,1,1", "x.csv:3: end: '1': must be after start (1)"),
        ("a,x,2", "x.csv:2: start: 'x': must be seconds from the begin of the trace"),
        ("a,,2", "x.csv:2: start: '': must be seconds"),
        ("a,1,", "x.csv:2: end: '': must be seconds"),
        ("a,-1,2", "x.csv:2: start: '-1': must be seconds"),
        ("a,nan,2", "x.csv:2: start: 'nan': must be seconds"),
        ("a,1,inf", "x.csv:2: end: 'inf': must be seconds"),
        (
            "a,1700000000,1700000002",
            "x.csv:2: start: '1700000000': must be seconds from the begin of the trace, from 0 to",
        ),
        ("a,1,2,down", "x.csv:2: kind: 'down': must be one of: silent, refused, deploy, suspended"),
        ("a,,,silent", "x.csv:2: start: '': must be seconds"),
        (",1,2,silent", "x.csv:2: participant: must not be empty"),
        ("a,1", "x.csv:2: 2 fields, but an outage has"),
        ("a,1,2,silent,x", "x.csv:2: 5 fields"),
        ('"a,1,2', "x.csv:2: not CSV: "),
        ("a,1," + "9" * 200_000, "x.csv:2: not CSV: field larger than field limit"),
        ("a,1," + "y" * 60, "x.csv:2: end: 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...'"),
    ],
)
def test_a_broken_row_is_answered_with_its_line(rows: str, complaint: str) -> None:
    with pytest.raises(TraceError) as error:
        parse_trace(f"participant,start,end,kind\n{rows}\n", "x.csv")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("header", ["", "a,1,2", "participant;start;end", "start,end,participant", "\0", "x\ny"])
def test_another_header_is_answered_with_the_right_one(header: str) -> None:
    with pytest.raises(TraceError, match=r"x.csv(:\d)?: the first line must be participant,start,end or participant,"):
        parse_trace(header, "x.csv")


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv: no such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path)
    (tmp_path / "x.csv").write_bytes(b"\xff\x00")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "x.csv")
    with pytest.raises(HarnessError, match="cannot write the outages"):
        write_trace(numbered(OutageTimelines.none(1)), tmp_path / "no" / "x.csv")
    with pytest.raises(HarnessError, match="cannot write the outages"):
        write_trace(numbered(OutageTimelines.none(1)), tmp_path)
