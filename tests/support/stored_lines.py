"""What a run has written so far, as objects: log events by time, observations by file. Tests only.

The product reads columns, and judges files (:mod:`reports.evidence`); this fails on any line that it cannot decode.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import msgspec

from resilience.eventlog.end_marker import decode_marker
from resilience.eventlog.vocabulary import LogEvent
from resilience.lab.manifest import EVENTS, OBSERVATIONS
from resilience.lab.observation import Observation

T = TypeVar("T")


def read_events(run_dir: Path) -> list[LogEvent]:
    """All events in order of ``t`` (ties: by file name, then line); a last line without a newline is dropped."""
    return sorted(_lines(run_dir / EVENTS, LogEvent), key=attrgetter("t"))


def read_observations(run_dir: Path) -> list[Observation]:
    """All observations by file name, then line."""
    return list(_lines(run_dir / OBSERVATIONS, Observation))


def _lines(folder: Path, kind: type[T]) -> Iterator[T]:
    decoder = msgspec.json.Decoder(kind)
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            if decode_marker(line) is None:
                yield decoder.decode(line)
