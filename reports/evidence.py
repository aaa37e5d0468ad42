"""Whether the files of a run are all there and agree with one another. Judges the evidence, never the system.

What cannot be read raises :class:`~resilience.errors.EvidenceError`. What can be read but is missing, cut, doubled, put
together from two runs, edited or contradictory becomes a sentence that names the file.

A run that did not complete may lack files and records: its status decides, and only what exists is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from resilience.eventlog.vocabulary import SCHEMA_VERSION, LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.primitives import DuplicateClients
from resilience.experiment.spec import Experiment
from resilience.lab.manifest import EPISODES, EVENTS, OBSERVATIONS, EvidenceFile, LineScan, evidence_paths
from resilience.lab.observation import Observation
from resilience.lab.participants import client_name, client_names, tab_name
from resilience.lab.run_directory import RunInfo, RunStatus
from resilience.units import Instant

from .clocks import disagreements
from .column_files import inspect_evidence, is_column_file, row_groups
from .columns import RecordColumns
from .episode_table import read_episodes

ORDER_TOLERANCE_S = 10.0
"""Seconds by which time may run backwards within a file of clients or server: a server's records wait for their commit.

Records of runner and injector are stamped when something was ordered, and written when it has happened.
"""

MARGIN_S = 300.0
"""Seconds before the start and after the end within which a process of the run may still record something."""

CLIENT_MARGIN_S = 1.0
"""Seconds before the start within which a client may record something."""

CLOSING = frozenset(
    {
        LogEventKind.RUN_ENDED,
        LogEventKind.SCORE_FINAL,
        LogEventKind.SESSION_STATE,
        LogEventKind.SESSION_DETACHED,
        LogEventKind.ANSWER_COMMITTED,
        LogEventKind.ANSWER_RECOVERED,
    }
)
"""What counts although it happened after the run's end: the server's closing report, and nothing else.

That is the final scores, the final states with the detachments of its drain, without which a final absence would have
no beginning, and the answers that it stores, without which the scores and the database would not add up.
"""

_MANY = 3
_PROGRAM = "quiz-resilience"
_SERVER_LOG = f"{EVENTS}/server.jsonl"


@dataclass
class FoundEvidence:
    """What a run directory holds. ``episodes`` is None but in a run that kept episodes instead of events."""

    events: pd.DataFrame
    observed: pd.DataFrame
    episodes: pd.DataFrame | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Glance:
    """What one chunk of a file tells about lane and clock: lanes, the first and last instant, how far it runs back."""

    lanes: frozenset[str] = frozenset()
    earliest: float = np.inf
    latest: float = -np.inf
    back: float = 0.0


def _glance(table: pa.Table) -> _Glance:
    """Records of runner and injector do not count for the clock."""
    if "lane" not in table.column_names:
        return _Glance()
    live = pc.is_in(table["role"].cast(pa.string()), pa.array([Role.CLIENT.value, Role.SERVER.value]))
    t = table["t"].to_numpy()[live.to_numpy()]
    lanes = frozenset(table["lane"].unique().to_pylist())
    if not len(t):
        return _Glance(lanes)
    back = float((np.maximum.accumulate(t) - t).max())
    return _Glance(lanes, float(t.min()), float(t.max()), back)


@dataclass
class _Reading:
    """The files of one run while they are read."""

    run_dir: Path
    listed: Mapping[str, EvidenceFile]
    files: dict[str, EvidenceFile] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    lanes: set[str] = field(default_factory=set)

    def read(self, columns: RecordColumns[LogEvent] | RecordColumns[Observation], folder: str) -> None:
        """Read every file of a folder into ``columns``."""
        for path in evidence_paths(self.run_dir):
            if path.startswith(f"{folder}/") and path.endswith(".jsonl"):
                self._read_lines(columns, path)
            elif path.startswith(f"{folder}/") and is_column_file(path):
                self._read_columns(columns, path)

    def _read_lines(self, columns: RecordColumns[LogEvent] | RecordColumns[Observation], path: str) -> None:
        before, scan = columns.rows, LineScan(self.run_dir / path)
        self._note(path, columns.add_file(str(self.run_dir / path), scan, _glance))
        self.files[path] = scan.found(path)
        self.problems += _inner_markers(path, scan.lines - (columns.rows - before))

    def _read_columns(self, columns: RecordColumns[LogEvent] | RecordColumns[Observation], path: str) -> None:
        """A damaged file is named and never decoded: nothing separates its rows from what the damage made of them."""
        found = self.files[path] = inspect_evidence(self.run_dir, path)
        if self.listed.get(path, found) != found:
            return
        if not found.complete:
            self.problems.append(f"{path}: cut, or not finished by its writer: none of its records can be read")
            return
        source = self.run_dir / path
        self._note(path, columns.add_tables(str(source), row_groups(source, columns.record), _glance))

    def _note(self, path: str, glances: Iterable[_Glance]) -> None:
        latest, back = -np.inf, 0.0
        for glance in glances:
            self.lanes |= glance.lanes
            back = max(back, glance.back, latest - glance.earliest)
            latest = max(latest, glance.latest)
        if back > ORDER_TOLERANCE_S:
            limit = f"at most {ORDER_TOLERANCE_S:g} s happens in a file of one process"
            self.problems.append(f"{path}: time runs backwards by {back:.3f} s; {limit}")


def read_evidence(run_dir: Path, info: RunInfo, experiment: Experiment) -> FoundEvidence:
    """Every event and observation of a run, and what is wrong with its files."""
    reading = _Reading(run_dir, {file.path: file for file in info.evidence or ()})
    events, observed = RecordColumns(LogEvent, without=("lane",)), RecordColumns(Observation)
    reading.read(events, EVENTS)
    reading.read(observed, OBSERVATIONS)
    for path in evidence_paths(run_dir):
        if path not in reading.files:
            reading.files[path] = inspect_evidence(run_dir, path)
    frame = events.frame()
    episodes = read_episodes(run_dir / EPISODES) if EPISODES in reading.files else None
    problems = [
        *_version(info),
        *_lanes(reading.lanes - {info.lane.value}, info),
        *_digest(info, experiment),
        *_manifest(info, reading.files),
        *reading.problems,
    ]
    if info.status is RunStatus.COMPLETED and episodes is None:
        problems += _records(frame, info, experiment)
    return FoundEvidence(until_end(frame), observed.frame(), episodes, tuple(problems))


def until_end(frame: pd.DataFrame) -> pd.DataFrame:
    """An event frame without what came after ``run.ended``, but with the closing records."""
    t = frame["t"].to_numpy()
    ended = t[frame["kind"] == LogEventKind.RUN_ENDED.value]
    if not len(ended) or t[-1] <= ended[0]:
        return frame
    start = int(np.searchsorted(t, ended[0], side="right"))
    closing = frame["kind"].iloc[start:].isin([kind.value for kind in CLOSING]).to_numpy()
    kept = np.concatenate([np.arange(start), start + np.flatnonzero(closing)])
    return frame.take(kept).reset_index(drop=True)


# files ----------------------------------------------------------------------------------------------------------------


def _version(info: RunInfo) -> Iterator[str]:
    if info.schema_version != SCHEMA_VERSION:
        yield f"run.json: schema version {info.schema_version}; this program reads version {SCHEMA_VERSION}"


def _lanes(strange: set[str], info: RunInfo) -> Iterator[str]:
    if strange:
        yield f"{EVENTS}/: events of the lane {', '.join(sorted(strange))} in a run of the lane {info.lane}"


def _digest(info: RunInfo, experiment: Experiment) -> Iterator[str]:
    same_program = info.versions.get(_PROGRAM) == version(_PROGRAM)  # another may know other defaults
    if same_program and info.experiment_digest != experiment.digest:
        yield (
            f"experiment.toml: not the experiment that was run: digest {experiment.digest[:12]}, run.json says "
            f"{info.experiment_digest[:12]}; to judge the run by other expectations use --experiment"
        )
    if info.experiment != experiment.name:
        yield f"run.json: a run of {info.experiment!r}, but experiment.toml is of {experiment.name!r}"


def _manifest(info: RunInfo, files: dict[str, EvidenceFile]) -> Iterator[str]:
    if info.evidence is None:
        if info.status is RunStatus.COMPLETED:
            yield "run.json: lists no evidence files; a completed run lists every one with its digest"
        return
    listed = {file.path: file for file in info.evidence}
    for path, file in listed.items():
        yield from _difference(path, file, files.get(path))
        if not file.complete and not _excused(file, info):
            yield f"{path}: had no end marker when the run ended: its writer did not finish it"
    for path in files:
        if path not in listed:
            yield f"{path}: not a file of this run; run.json lists {len(listed)} others"
    if not any(path.startswith(EVENTS) or path == EPISODES for path in listed) and info.status is RunStatus.COMPLETED:
        yield f"run.json: lists no event log; a completed run has {EVENTS}/*.jsonl or {EVENTS}/*.parquet"


def _excused(file: EvidenceFile, info: RunInfo) -> bool:
    """A run that did not complete; or the log of a server that ended by itself, as ``cause`` says."""
    return info.status is not RunStatus.COMPLETED or (file.path == _SERVER_LOG and info.cause is not None)


def _difference(path: str, then: EvidenceFile, now: EvidenceFile | None) -> Iterator[str]:
    if now is None:
        yield (
            f"{path}: missing; it had {then.lines:,} lines, {then.bytes:,} bytes" if then.lines else f"{path}: missing"
        )
    elif now.bytes != then.bytes or now.lines != then.lines:
        yield f"{path}: {now.lines:,} lines, {now.bytes:,} bytes; it had {then.lines:,} lines, {then.bytes:,} bytes"
    elif now.sha256 != then.sha256:
        yield f"{path}: changed since the run: digest {now.sha256[:12]}, it was {then.sha256[:12]}"


def _inner_markers(path: str, count: int) -> Iterator[str]:
    if count:
        yield f"{path}: lines after its end marker: doubled, or put together from several files"


# records --------------------------------------------------------------------------------------------------------------


def _records(frame: pd.DataFrame, info: RunInfo, experiment: Experiment) -> Iterator[str]:
    """What is missing in the log of a completed run, or is too much in it."""
    yield from _run_records(frame, experiment)
    yield from _instants(frame, info)
    yield from _participants(frame, experiment, info.seed)
    yield from _doubled(frame)
    yield from (f"{EVENTS}/: {said}" for said in disagreements(frame))
    if info.cause is None:
        yield from _windows(frame, info, experiment)


def _of(frame: pd.DataFrame, kind: LogEventKind) -> pd.DataFrame:
    return frame[frame["kind"] == kind.value]


def _run_records(frame: pd.DataFrame, experiment: Experiment) -> Iterator[str]:
    expected = [(LogEventKind.RUN_STEADY, Verdict.PASS.value), (LogEventKind.RUN_ENDED, "completed")]
    if _failed_before(frame, experiment.hypothesis.within):  # its steady state was not due yet
        expected.pop(0)
    for kind, right in expected:
        found = _of(frame, kind)["outcome"].astype(object).tolist()
        if len(found) != 1:
            yield f"{EVENTS}/: {len(found)} records {kind.value}; a completed run has one"
        elif found[0] != right:
            yield f"{EVENTS}/: {kind.value} says {found[0]!r}, but run.json says that the run completed"


def _failed_before(frame: pd.DataFrame, t: Instant) -> bool:
    """Whether the run ended before ``t`` because its server failed by itself."""
    return bool((_of(frame, LogEventKind.SERVER_FAILED)["t"] < t).any())


def _instants(frame: pd.DataFrame, info: RunInfo) -> Iterator[str]:
    t, mine = frame["t"], frame["role"] == Role.CLIENT.value
    first, first_of_client = t.min(), t[mine].min()
    if first < -MARGIN_S:
        yield f"{EVENTS}/: an event at {first:.3f} s, long before the run's start"
    elif first_of_client < -CLIENT_MARGIN_S:
        yield f"{EVENTS}/: an event of a client at {first_of_client:.3f} s, before the run's start"
    if t.max() > info.duration_s + MARGIN_S:
        yield f"{EVENTS}/: an event at {t.max():.3f} s, long after the end of a run of {info.duration_s:g} s"


def _tabs(experiment: Experiment, seed: int) -> pd.Index:
    """The second tabs that faults may have opened; a strike on a client without a session opens none."""
    strikes: Counter[str] = Counter()
    for window in experiment.windows(seed):
        strikes[window.place] += DuplicateClients() in window.fault.composition.begin
    names = [
        tab_name(client_name(cohort.name, i), number)
        for cohort in experiment.cohorts
        for i in range(1, cohort.clients + 1)
        for number in range(2, 2 + strikes[cohort.name])
    ]
    return pd.Index(names, dtype="str")


def _participants(frame: pd.DataFrame, experiment: Experiment, seed: int) -> Iterator[str]:
    actors = frame["actor"].cat.categories
    is_seen = np.zeros(len(actors), dtype=bool)
    is_seen[frame["actor"].cat.codes.to_numpy()[(frame["role"] == Role.CLIENT.value).to_numpy()]] = True
    seen, expected = actors[is_seen], pd.Index(client_names(experiment), dtype="str")
    missing, strangers = (
        sorted(expected.difference(seen)),
        sorted(seen.difference(expected.union(_tabs(experiment, seed)))),
    )
    if missing and not _failed_before(frame, experiment.ramp):  # else they had not come yet
        yield f"{EVENTS}/: no event of {_some(missing)}: {len(missing):,} of {len(expected):,} clients are missing"
    if strangers:
        yield f"{EVENTS}/: events of {_some(strangers)}, no client of this experiment ({len(strangers):,} of them)"


def _doubled(frame: pd.DataFrame) -> Iterator[str]:
    dials = _of(frame, LogEventKind.TRANSPORT_OPENING)
    twice = dials.duplicated(["actor", "connection_no", "t"])
    if twice.any():
        who, t = dials.loc[twice, ["actor", "t"]].iloc[0]
        yield f"{EVENTS}/: {int(twice.sum()):,} dials are there twice, the first of {who} at {t:.3f} s"


def _windows(frame: pd.DataFrame, info: RunInfo, experiment: Experiment) -> Iterator[str]:
    begun = set(_of(frame, LogEventKind.FAULT_STARTED)["ref"].dropna())
    ended = set(_of(frame, LogEventKind.FAULT_ENDED)["ref"].dropna())
    invalid = set(_of(frame, LogEventKind.FAULT_INVALID)["ref"].dropna())
    planned = {window.fault_id for window in experiment.windows(info.seed)}
    for what, ids in (
        ("no fault.started of the planned window", planned - begun - invalid),
        ("no fault.ended of the window", begun - ended - invalid),
        ("an unplanned window", (begun | invalid) - planned),
    ):
        if ids:
            yield f"{EVENTS}/: {what} {_some(sorted(ids))}"


def _some(names: Iterable[str]) -> str:
    """The first few names."""
    listed = list(names)
    more = f" and {len(listed) - _MANY:,} more" if len(listed) > _MANY else ""
    return ", ".join(listed[:_MANY]) + more
