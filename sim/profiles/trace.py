"""Outage traces: timelines as a CSV file of ``participant,start,end,kind``, written here or measured elsewhere.

A row is one outage, in any order; ``start`` and ``end`` are seconds from the begin of the trace, ``kind`` may be left
out (``silent``). Outages of one participant that overlap or touch are merged. A row with a participant only says that
there is one, without an outage. Every complaint is one line that names the file, the line and the rule.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

from reports.pages import failing_in_one_line
from resilience.errors import UsageError
from resilience.text_files import read_named
from resilience.validation import one_line

from .timelines import LATEST_S, OutageKind, OutageTimelines, merged

COLUMNS = ("participant", "start", "end", "kind")
KINDS: Mapping[str, OutageKind] = {kind.name.lower(): kind for kind in OutageKind if kind is not OutageKind.FROZEN}

_SHOWN = 40
"""Characters of a value that an error quotes."""


class OutageTrace(NamedTuple):
    """Timelines and the names of their participants, in the order of their first rows."""

    names: tuple[str, ...]
    timelines: OutageTimelines


class TraceError(UsageError):
    """A trace cannot be used; ``line`` counts from 1, 0 is the file as a whole."""

    def __init__(self, file: str, line: int, rule: str) -> None:
        super().__init__(one_line(f"{file}:{line}: {rule}" if line else f"{file}: {rule}"))
        self.file, self.line, self.rule = file, line, rule


def read_trace(path: Path) -> OutageTrace:
    """The trace in a file; :class:`TraceError` for one that cannot be read or breaks a rule."""
    return parse_trace(read_named(path, lambda reason: TraceError(str(path), 0, reason)), str(path))


def parse_trace(text: str, file: str) -> OutageTrace:
    """The trace written in ``text``; ``file`` is only named in errors."""
    rows = csv.reader(io.StringIO(text), strict=True)
    numbers: dict[str, int] = {}
    outages: list[tuple[int, float, float, int]] = []
    try:
        _check_header(next(rows, []))
        for row in filter(None, rows):
            outage = _outage(*_cells(row))
            number = numbers.setdefault(row[0].strip(), len(numbers))
            if outage is not None:
                outages.append((number, *outage))
    except csv.Error as error:
        raise TraceError(file, rows.line_num, f"not CSV: {error}") from error
    except ValueError as error:
        raise TraceError(file, rows.line_num, str(error)) from error
    if not numbers:
        raise TraceError(file, 0, "names no participant: after the header every row is one outage")
    owner, start, end, kind = zip(*outages, strict=True) if outages else ((), (), (), ())
    return OutageTrace(tuple(numbers), merged(len(numbers), owner, start, end, kind))


def write_trace(trace: OutageTrace, path: Path) -> None:
    """Write the trace, each participant's outages in order; :class:`~resilience.errors.HarnessError` if that fails."""
    with failing_in_one_line(path, "the outages"), path.open("w", encoding="utf-8", newline="") as file:
        write_rows(trace, file)


def write_rows(trace: OutageTrace, file: TextIO) -> None:
    """The header, then a row for each outage and for each participant without one; instants in full precision."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, outages in zip(trace.names, trace.timelines, strict=True):
        if not outages:
            writer.writerow((name, "", "", ""))
        writer.writerows((name, repr(start), repr(end), kind.name.lower()) for start, end, kind in outages)


def numbered(timelines: OutageTimelines) -> OutageTrace:
    """The trace of participants that have numbers only: their names count from 0."""
    return OutageTrace(tuple(map(str, range(timelines.participants))), timelines)


def _check_header(header: list[str]) -> None:
    given = tuple(cell.strip() for cell in header)
    if given not in {COLUMNS, COLUMNS[:3]}:
        found = _shown(",".join(header))
        raise ValueError(f"the first line must be participant,start,end or participant,start,end,kind, not {found}")


def _cells(row: list[str]) -> Iterator[str]:
    if not len(COLUMNS) - 1 <= len(row) <= len(COLUMNS):
        raise ValueError(f"{len(row)} fields, but an outage has participant, start, end and, if any, kind")
    cells = [cell.strip() for cell in row]
    if not cells[0]:
        raise ValueError("participant: must not be empty")
    yield from cells[1:] if len(row) == len(COLUMNS) else (*cells[1:], "")


def _outage(start: str, end: str, kind: str) -> tuple[float, float, int] | None:
    """Seconds and kind of a row; ``None`` where it has no outage."""
    if not (start or end or kind):
        return None
    begins, ends = _seconds("start", start), _seconds("end", end)
    if ends <= begins:
        raise ValueError(f"end: {_shown(end)}: must be after start ({begins:g})")
    if kind and kind not in KINDS:
        raise ValueError(f"kind: {_shown(kind)}: must be one of: {', '.join(KINDS)}")
    return begins, ends, KINDS[kind or "silent"]


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < LATEST_S:
        rule = f"must be seconds from the begin of the trace, from 0 to below {LATEST_S:.0f}"
        raise ValueError(f"{name}: {_shown(text)}: {rule}")
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
