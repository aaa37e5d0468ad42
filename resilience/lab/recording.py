"""Where the history of one run goes: a run directory, or memory. Knows names and files, not meaning.

Below a run directory: ``events/*`` (one file per process), ``observations/*.jsonl`` (what clients were shown),
``database.json`` (what the server's database held at the end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from resilience.errors import EvidenceError, HarnessError, UsageError
from resilience.eventlog.end_marker import RunningDigest, encode_marker
from resilience.eventlog.writer import EventFile, EventList, EventSink, EventWriter
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Experiment

from .directory_watch import DirectoryWatch
from .manifest import DATABASE, EVENTS, OBSERVATIONS, EvidenceFile, FileInspection, inspect_file, take_inventory
from .observation import Observation
from .observation_rows import ListedRows, ObservationRows, ObservationSpool, SpooledRows
from .stored_run import StoredRun

__all__ = [
    "DATABASE",
    "EVENTS",
    "LINES",
    "OBSERVATIONS",
    "DirectoryRecording",
    "LogFormat",
    "Recording",
    "read_stored_run_file",
    "write_lines",
]

RUNNER_LOG = "run"


class LogFormat(NamedTuple):
    """How an event log is stored: the end of its file's name, how to begin a file, how to describe a finished one."""

    suffix: str
    begin: Callable[[Path], EventFile]
    inspect: FileInspection


LINES = LogFormat(".jsonl", EventWriter, inspect_file)
"""JSON Lines with an end marker: what every process of every lane can write, and what is whole up to a crash."""


class ObservingClients(Protocol):
    """Clients that know what they were shown."""

    def observations(self) -> Iterable[Observation]:
        """Everything, client by client."""

    def observation_lines(self) -> Iterable[bytes]:
        """The same as JSON Lines, in pieces of whole lines."""


class Recording:
    """The history of one run. ``events`` takes the events of the run itself and of every lane that is one process.

    ``directory`` is the run directory, for lanes that need files of their own; in memory there is none.
    """

    def __init__(
        self, events: EventSink, directory: Path | None = None, flush: Callable[[], None] = lambda: None
    ) -> None:
        self.events, self.flush = events, flush
        self._directory = directory
        self.observations: list[Observation] = []
        self.stored: StoredRun | None = None

    @classmethod
    def in_memory(cls) -> Recording:
        """A recording whose ``events`` are an :class:`~resilience.eventlog.writer.EventList`."""
        return cls(EventList())

    @property
    def directory(self) -> Path:
        """The run directory; HarnessError in memory."""
        if self._directory is None:
            raise HarnessError("this lane needs a run directory; use lab.run.execute")
        return self._directory

    def require_directory(self) -> None:
        """Raise HarnessError when the run directory was removed or its disk is full; there is none in memory."""

    def rows_of_a_client(self) -> ObservationRows:
        """Where to keep what one client of this process is shown."""
        return ListedRows()

    def write_observations(self, name: str, clients: ObservingClients) -> None:
        """Keep what the clients of one process, ``name``, were shown: ``observations`` in memory, else a file."""
        del name
        self.observations += clients.observations()

    def write_stored_run(self, stored: StoredRun) -> None:
        """Keep what the database held at the end."""
        self.stored = stored
        if self._directory is not None:
            text = msgspec.json.format(msgspec.json.encode(stored), indent=1)
            (self._directory / DATABASE).write_bytes(text + b"\n")


class DirectoryRecording(Recording):
    """A recording in a run directory; :meth:`close` it. A directory that already holds a run is refused."""

    def __init__(self, directory: Path, experiment: Experiment, log_format: LogFormat = LINES) -> None:
        try:
            (directory / EVENTS).mkdir(parents=True, exist_ok=True)
            with (directory / "experiment.toml").open("x", encoding="utf-8") as file:
                file.write(to_toml(experiment))
            self._writer = log_format.begin(directory / EVENTS / f"{RUNNER_LOG}{log_format.suffix}")
        except FileExistsError as error:
            raise UsageError(f"{directory}: already holds a run; choose an empty or absent directory") from error
        except OSError as error:
            raise UsageError(f"{directory}: cannot write the run directory: {error.strerror}") from error
        self._inspect = log_format.inspect
        super().__init__(self._writer, directory, self._writer.flush)
        self._watch = DirectoryWatch(directory)
        self._spool: ObservationSpool | None = None

    def rows_of_a_client(self) -> ObservationRows:
        """In a file without a name, below the run directory."""
        if self._spool is None:
            self._spool = ObservationSpool(self.directory)
        return SpooledRows(self._spool)

    def write_observations(self, name: str, clients: ObservingClients) -> None:
        """Write what the clients of one process, ``name``, were shown."""
        write_lines(self.directory / OBSERVATIONS / f"{name}.jsonl", clients.observation_lines())

    def require_directory(self) -> None:
        """Raise HarnessError when the run directory was removed or its disk is full."""
        problem = self._watch.problem()
        if problem is not None:
            raise HarnessError(problem)

    def close(self) -> tuple[EvidenceFile, ...]:
        """Close the event log and list the evidence for ``run.json``; nothing may be recorded afterwards."""
        if self._spool is not None:
            self._spool.close()
        self._writer.close()
        return take_inventory(self.directory, self._inspect)


def write_lines(path: Path, pieces: Iterable[bytes]) -> None:
    """Write pieces of whole lines, and the end marker; a run directory that was removed is not made again."""
    path.parent.mkdir(exist_ok=True)
    digest = RunningDigest()
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.add(piece, piece.count(b"\n"))
        file.write(encode_marker(digest.marker))


def read_stored_run_file(run_dir: Path) -> StoredRun | None:
    """``database.json`` of a run; ``None`` where the run kept none. EvidenceError when it is broken."""
    path = run_dir / DATABASE
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=StoredRun)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path}: not the database of a run of this version: {error}") from error
