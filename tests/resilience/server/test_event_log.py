"""An event log that cannot be written ends, which is reported once; the server continues."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resilience.errors import ExitCode, UsageError
from resilience.eventlog.end_marker import decode_marker
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.protocol.effects import Record
from resilience.runtime import log_to
from resilience.server.event_log import ServerEventLog

RECORD = Record(LogEventKind.SESSION_DETACHED, 1.0, "p1", 1, cause="closed")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may be longer than a kilobyte; not for the whole test, whose outcome pytest may write to a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_log_and_nothing_else(tmp_path: Path) -> None:
    path, told = tmp_path / "server.jsonl", list[str]()
    log = ServerEventLog(path, told.append)
    sink = log_to(log, Lane.REAL, Role.SERVER, "server")
    with full_disk():
        for _ in range(1000):
            sink(RECORD)
            log.flush()
        log.close()
    assert told == [f"{path}: File too large"]
    assert path.stat().st_size <= 1000
    assert decode_marker(path.read_bytes().splitlines(keepends=True)[-1]) is None


def test_a_log_that_was_written_whole_ends_with_its_marker(tmp_path: Path) -> None:
    path, told = tmp_path / "events" / "server.jsonl", list[str]()
    log = ServerEventLog(path, told.append)
    log_to(log, Lane.REAL, Role.SERVER, "server")(RECORD)
    log.close()
    marker = decode_marker(path.read_bytes().splitlines(keepends=True)[-1])
    assert marker is not None
    assert (marker.lines, told) == (1, [])


@pytest.mark.parametrize("name", ["", "/proc/nowhere/log", "/dev/full"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    """A folder, a path into nowhere, a device."""
    with pytest.raises(UsageError, match=r"--event-log .*: cannot be written: .*; name a file") as caught:
        ServerEventLog(tmp_path / name, pytest.fail)
    assert caught.value.exit_code is ExitCode.USAGE
