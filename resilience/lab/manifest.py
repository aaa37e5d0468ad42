"""The list of a run's evidence files, made when the run ends and compared when it is read. Judges no run.

Evidence is what a verdict rests on: ``experiment.toml``, the files in ``events`` and ``observations``,
``database.json``, and ``episodes.parquet`` of a run that keeps episodes instead of events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from resilience.eventlog.end_marker import EndMarker, RunningDigest, decode_marker

EVENTS, OBSERVATIONS, DATABASE, EPISODES = "events", "observations", "database.json", "episodes.parquet"
EXPERIMENT = "experiment.toml"

CHUNK_BYTES = 1 << 23
"""How much of a file is read at a time; larger chunks are slower to decode."""


class EvidenceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One evidence file. ``path`` is relative to the run directory, ``bytes`` its size, ``sha256`` its digest.

    ``lines`` counts the lines before the end marker, or the rows. ``complete``: the file has an end marker and it is
    right; a file of a format without one is complete. Both were so when the run ended.
    """

    path: str
    bytes: int
    sha256: str
    lines: int = 0
    complete: bool = True


FileInspection = Callable[[Path, str], EvidenceFile]
"""Describes one evidence file as it is now: run directory and path below it in."""


def evidence_paths(run_dir: Path) -> list[str]:
    """What lies in the places of evidence, by path; ``episodes.parquet`` only where there is no event log."""
    folders = [run_dir / EVENTS, run_dir / OBSERVATIONS]
    logged = [f"{folder.name}/{path.name}" for folder in folders if folder.is_dir() for path in folder.iterdir()]
    alone = [EXPERIMENT, DATABASE] if logged else [EXPERIMENT, DATABASE, EPISODES]
    return sorted([*logged, *(name for name in alone if (run_dir / name).exists())])


def inspect_file(run_dir: Path, path: str) -> EvidenceFile:
    """One file as it is now."""
    if not path.endswith(".jsonl"):
        return _plain(run_dir, path)
    scan = LineScan(run_dir / path)
    for _ in scan:
        pass
    return scan.found(path)


def _plain(run_dir: Path, path: str) -> EvidenceFile:
    digest, size = hashlib.sha256(), 0
    with (run_dir / path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return EvidenceFile(path=path, bytes=size, sha256=digest.hexdigest())


def take_inventory(run_dir: Path, inspect: FileInspection = inspect_file) -> tuple[EvidenceFile, ...]:
    """Every evidence file below ``run_dir``, by path. Each is read once; ``inspect`` knows the formats that occur."""
    return tuple(inspect(run_dir, path) for path in evidence_paths(run_dir))


class LineScan(Iterable[bytes]):
    """Reads a JSON Lines file once, in chunks of whole lines without the end marker, and digests it on the way.

    After the last chunk ``marker`` is the last line if that is an end marker, ``lines`` and ``marker_now`` are what it
    should say, and ``torn`` the number of bytes after the last newline, which are in no chunk. ``chunk_bytes`` is the
    size that a chunk has, give or take one line.
    """

    def __init__(self, path: Path, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._path, self._chunk_bytes = path, chunk_bytes
        self._lines = RunningDigest()
        self._rest, self.torn = b"", 0
        self.marker: EndMarker | None = None

    def __iter__(self) -> Iterator[bytes]:
        """The chunks; none is empty."""
        with self._path.open("rb") as file:
            while chunk := file.read(self._chunk_bytes):
                chunk += file.readline()
                if not chunk.endswith(b"\n"):
                    chunk = self._without_torn(chunk)
                elif len(chunk) < self._chunk_bytes or not file.peek(1):
                    chunk = self._without_marker(chunk)
                if chunk:
                    self._lines.add(chunk, chunk.count(b"\n"))
                    yield chunk

    def _without_torn(self, chunk: bytes) -> bytes:
        end = chunk.rfind(b"\n") + 1
        self._rest, self.torn = chunk[end:], len(chunk) - end
        return chunk[:end]

    def _without_marker(self, chunk: bytes) -> bytes:
        start = chunk.rfind(b"\n", 0, -1) + 1
        self.marker = decode_marker(chunk[start:])
        self._rest = b"" if self.marker is None else chunk[start:]
        return chunk if self.marker is None else chunk[:start]

    @property
    def lines(self) -> int:
        """The number of lines in the chunks so far."""
        return self._lines.lines

    @property
    def marker_now(self) -> EndMarker:
        """What an end marker after these chunks says."""
        return self._lines.marker

    def found(self, path: str) -> EvidenceFile:
        """The file, once it has been read."""
        complete = self.marker == self.marker_now and not self.torn
        return EvidenceFile(
            path=path,
            bytes=self._lines.bytes + len(self._rest),
            sha256=self._lines.followed_by(self._rest),
            lines=self.lines,
            complete=complete,
        )
