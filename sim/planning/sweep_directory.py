"""A sweep's directory while it runs: what was asked, and every result as soon as it is known. Decides nothing.

``design.json`` is the question, ``results.jsonl`` a result a line. A sweep that was interrupted continues from there; a
directory that answers another question is refused. One process writes it: the file is locked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import msgspec

import resilience
from resilience.errors import EvidenceError, HarnessError, UsageError

from .design import Design
from .evaluation import RunResult, Scenario

DESIGN, RESULTS = "design.json", "results.jsonl"
SCHEMA_VERSION = 1


class SweepQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep asks: two of one :attr:`digest` have the same results. ``version``: of this software."""

    scenario: Scenario
    design: Design
    version: str = resilience.__version__
    schema_version: int = SCHEMA_VERSION

    @property
    def digest(self) -> str:
        """SHA-256 of all that results depend on."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class SweepDirectory:
    """The results of one question; made by :func:`open_directory`. ``results``: by point and replication."""

    def __init__(self, path: Path, file: FileIO, results: dict[tuple[int, int], RunResult]) -> None:
        self.path, self.results, self._file = path, results, file

    def add(self, result: RunResult) -> None:
        """Store a result; raises :class:`~resilience.errors.HarnessError` when it cannot be written."""
        try:
            self._write(msgspec.json.encode(result) + b"\n")
        except OSError as error:
            raise HarnessError(
                f"{self.path / RESULTS}: cannot be written: {error.strerror or error}; the {len(self.results)} results "
                "before are kept: make room, then run the same command again"
            ) from error
        self.results[result.point, result.replication] = result

    def _write(self, line: bytes) -> None:
        if self._file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def open_directory(path: Path, question: SweepQuestion) -> Iterator[SweepDirectory]:
    """Begin a sweep in an empty or absent directory, or continue the one that is there.

    Raises :class:`~resilience.errors.UsageError` for a directory of another question, with other files, or in use by
    another process, and :class:`~resilience.errors.EvidenceError` for damaged results.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        _claim(path, question)
        file = (path / RESULTS).open("a+b", buffering=0)  # a buffer would be written again, and fail, at the end
    except OSError as error:
        raise UsageError(f"{path}: cannot make the sweep's directory: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{path}: another process is running this sweep") from None
        results = _read(path / RESULTS, file)
        file.seek(0, os.SEEK_END)
        yield SweepDirectory(path, file, results)


def _claim(path: Path, question: SweepQuestion) -> None:
    """Write the question, or compare it with the one that is there."""
    own = path / DESIGN
    if not own.exists():
        if any(path.iterdir()):
            raise UsageError(f"{path}: already there and not a sweep's; choose another --out")
        fresh = path / f".{DESIGN}.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(question), indent=2) + b"\n")
        fresh.replace(own)
        return
    try:
        stored = msgspec.json.decode(own.read_bytes(), type=dict)
    except msgspec.DecodeError as error:
        raise EvidenceError(f"{own}: not the design of a sweep: {error}") from error
    asked = msgspec.json.decode(msgspec.json.encode(question))
    if stored != asked:
        raise UsageError(f"{path}: holds the results of another question ({_difference(stored, asked)}); choose --out")


def _difference(stored: dict[str, object], asked: dict[str, object]) -> str:
    """The first part in which two questions differ, in words."""
    if stored.get("version") != asked["version"]:
        return f"it was asked of version {stored.get('version')}, this is {asked['version']}"
    for part in ("scenario", "design"):
        here, there = stored.get(part), asked[part]
        if isinstance(here, dict) and isinstance(there, dict):
            for name, value in there.items():
                if here.get(name) != value:
                    return f"its {part}.{name} is another one"
    return "its format is another one"


def _read(path: Path, file: FileIO) -> dict[tuple[int, int], RunResult]:
    """The results that are there; a last line that was cut off while it was written is dropped."""
    file.seek(0)
    content = file.readall()
    whole, newline, _ = content.rpartition(b"\n")
    if len(whole) + len(newline) < len(content):
        file.truncate(len(whole) + len(newline))
    found: dict[tuple[int, int], RunResult] = {}
    decoder = msgspec.json.Decoder(RunResult)
    for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
        try:
            result = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise EvidenceError(f"{path}, line {number}: not a result: {error}") from error
        found[result.point, result.replication] = result
    return found
