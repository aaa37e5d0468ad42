"""Reads a run's log events, merged by time. Reports the file and line of a broken line; never skips one silently."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import msgspec

from resilience.errors import UsageError
from resilience.eventlog.end_marker import decode_marker
from resilience.eventlog.vocabulary import LogEvent


def read_events(run_dir: Path) -> list[LogEvent]:
    """All events below ``run_dir/events``, in order of ``t`` (ties: by file name, then line).

    A last line without a newline is left by a killed process and is dropped; end markers are no events. Any other
    broken line raises :class:`~resilience.errors.UsageError`.
    """
    files = sorted((run_dir / "events").glob("*.jsonl"))
    if not files:
        raise UsageError(f"{run_dir}: no event log found; expected files events/*.jsonl of a finished run")
    streams = [sorted(_events(path), key=attrgetter("t")) for path in files]
    return list(heapq.merge(*streams, key=attrgetter("t")))


def _events(path: Path) -> Iterator[LogEvent]:
    decoder = msgspec.json.Decoder(LogEvent)
    lines = path.read_bytes().split(b"\n")
    lines.pop()
    for number, line in enumerate(lines, 1):
        if decode_marker(line) is not None:
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}:{number}: not an event of this version: {error}") from error
