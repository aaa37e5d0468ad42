"""Writes a run directory of any number of episodes, quickly: logs as a run leaves them, with a list of the evidence.

Thirty events an episode; participants come in cohorts of equal size, one fault window strikes each of them twice.
Events are put together column by column, without an object per event, and written as JSON Lines or as columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reports.column_files import COLUMNS, ColumnWriter, inspect_evidence, schema_of
from reports.episode_table import write_parquet
from resilience.eventlog.end_marker import RunningDigest, encode_marker
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Outcome, Role
from resilience.experiment.faults import CutFault
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Cohort, Expectation, Experiment, Hypothesis, Op
from resilience.lab.manifest import take_inventory
from resilience.lab.recording import LINES, LogFormat
from resilience.lab.run_directory import RunInfo, RunStatus, write_run_info

COHORTS, WINDOWS = 10, 2
STATE = "phase=question;question=q1;score=0;answer=1;epoch=1.1;seq=7"
LENGTH = 1230.0
FIRST, APART, STEP = 60.0, 50.0, 550.0
"""Seconds: the first fault, from cohort to cohort, and from a participant's first fault to its second."""

_CLIENT, _SERVER = Role.CLIENT.value, Role.SERVER.value
_PARTS = {_CLIENT: "clients", _SERVER: "server"}
_Row = tuple[float, str, LogEventKind, str]
_JOINING: tuple[_Row, ...] = (
    (0.000, _CLIENT, LogEventKind.TRANSPORT_OPENING, '"connection_no":1,"attempt":0'),
    (0.010, _CLIENT, LogEventKind.TRANSPORT_OPENED, '"connection_no":1,"attempt":0'),
    (
        0.015,
        _SERVER,
        LogEventKind.SESSION_CREATED,
        '"connection_no":1,"seq":0,"attempt":1,"outcome":"created","detail":@',
    ),
    (0.020, _CLIENT, LogEventKind.SESSION_JOINED, '"connection_no":1,"seq":0,"detail":@'),
    (0.500, _SERVER, LogEventKind.PARTICIPANT_ANNOUNCED, '"seq":1'),
)


def _episode(number: int) -> tuple[_Row, ...]:
    """One outage: seconds after the fault, role, kind, fields; ``@`` is a state, ``#`` a session, ``$`` a time."""
    dial, seq, question = number + 2, 7 + 20 * number, f"q{number + 1}"
    rows: list[_Row] = [
        (-5.0, _SERVER, LogEventKind.HEARTBEAT_SENT, f'"connection_no":{number + 1}'),
        (-4.9, _CLIENT, LogEventKind.PONG_SENT, f'"connection_no":{number + 1}'),
        (-4.8, _SERVER, LogEventKind.HEARTBEAT_ACKED, f'"connection_no":{number + 1},"value":$'),
        (0.01, _CLIENT, LogEventKind.TRANSPORT_LOST, f'"connection_no":{number + 1},"cause":"closed"'),
        (0.02, _SERVER, LogEventKind.TRANSPORT_LOST, f'"connection_no":{number + 1},"cause":"closed"'),
        (0.02, _SERVER, LogEventKind.SESSION_DETACHED, f'"connection_no":{number + 1},"cause":"closed"'),
        (0.03, _CLIENT, LogEventKind.BACKOFF_SCHEDULED, '"attempt":1,"cause":"window","value":$'),
        (0.80, _CLIENT, LogEventKind.TRANSPORT_OPENING, f'"connection_no":{dial},"attempt":1'),
        (0.81, _CLIENT, LogEventKind.TRANSPORT_OPENED, f'"connection_no":{dial},"attempt":1'),
        (0.82, _SERVER, LogEventKind.SESSION_RESUMED, f'"connection_no":{dial},"seq":{seq},"attempt":1,"detail":@'),
        (0.83, _CLIENT, LogEventKind.SESSION_RESTORED, f'"connection_no":{dial},"seq":{seq},"detail":@'),
        (2.00, _CLIENT, LogEventKind.ANSWER_SUBMITTED, f'"ref":"{question}/#","detail":"1"'),
        (2.01, _SERVER, LogEventKind.ANSWER_COMMITTED, f'"outcome":"accepted","value":100.0,"ref":"{question}/#"'),
        (2.02, _CLIENT, LogEventKind.ANSWER_ACKED, f'"outcome":"accepted","ref":"{question}/#"'),
    ]
    rows += [
        (3.0 + i, _CLIENT, LogEventKind.STREAM_DELIVERED, f'"seq":{seq + 1 + i},"detail":"1.1"') for i in range(13)
    ]
    return tuple(rows)


def large_experiment(episodes: int) -> Experiment:
    """The experiment that such a run is of."""
    clients = -(-episodes // WINDOWS // COHORTS)
    names = [f"c{i}" for i in range(COHORTS)]
    faults = [
        CutFault(at=FIRST + APART * i + STEP * k, cohorts=(name,))
        for k in range(WINDOWS)
        for i, name in enumerate(names)
    ]
    return Experiment(
        name="large",
        duration=LENGTH,
        ramp=20.0,
        hypothesis=Hypothesis(within=30.0),
        cohorts=tuple(Cohort(name, clients) for name in names),
        faults=tuple(faults),
        expectations=(
            Expectation("success_rate", Op.AT_LEAST, 0.95),
            Expectation("excess_s.restricted_mean", Op.BELOW, 5.0),
        ),
    )


def write_large_run(run_dir: Path, episodes: int, log_format: LogFormat = LINES) -> Experiment:
    """A whole run directory with one log per cohort's clients, the server's parts and the runner's."""
    experiment = large_experiment(episodes)
    for cohort in experiment.cohorts:
        make = _ColumnFile if log_format is COLUMNS else _LineFile
        names = {role: run_dir / "events" / f"{part}-{cohort.name}{log_format.suffix}" for role, part in _PARTS.items()}
        with closing(make(names[_CLIENT])) as clients, closing(make(names[_SERVER])) as server:
            _write_cohort(experiment, cohort, {_CLIENT: clients, _SERVER: server})
    _write_runner(run_dir / "events" / f"run{log_format.suffix}", experiment, log_format)
    seal(run_dir, experiment, Lane.MODEL)
    return experiment


def write_episodes_run(run_dir: Path, episodes: int) -> Experiment:
    """A run directory that holds episodes and no events, as a simulator of populations writes it."""
    experiment = large_experiment(episodes)
    run_dir.mkdir(parents=True, exist_ok=True)
    frame = pd.concat(_cohort_episodes(experiment), ignore_index=True)
    write_parquet(frame, run_dir / "episodes.parquet")
    seal(run_dir, experiment, Lane.POPULATION)
    return experiment


def seal(run_dir: Path, experiment: Experiment, lane: Lane) -> None:
    """Write ``experiment.toml`` and ``run.json``."""
    (run_dir / "experiment.toml").write_text(to_toml(experiment), encoding="utf-8")
    info = RunInfo(
        experiment=experiment.name,
        experiment_digest=experiment.digest,
        lane=lane,
        seed=experiment.seed,
        started_at="2025-01-01T00:00:00Z",
        duration_s=experiment.duration,
        status=RunStatus.COMPLETED,
        evidence=take_inventory(run_dir, inspect_evidence),
    )
    write_run_info(run_dir, info)


class _EventFile(Protocol):
    """Where the events of one process go."""

    def write(self, rows: Sequence[tuple[_Row, np.ndarray]], actors: pa.Array, sessions: pa.Array, cohort: str) -> None:
        """Append every row for every participant, at these times, in the order of time."""

    def close(self) -> None:
        """Finish the file."""


class _LineFile:
    """A JSON Lines file that gets an end marker."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._digest = path.open("wb"), RunningDigest()

    def write(self, rows: Sequence[tuple[_Row, np.ndarray]], actors: pa.Array, sessions: pa.Array, cohort: str) -> None:
        """As the protocol says."""
        lines = pa.concat_arrays([_lines(row, t, actors, sessions, cohort) for row, t in rows]).take(_order(rows))
        _, offsets, data = lines.buffers()
        body = memoryview(data)[: np.frombuffer(offsets, np.int32)[len(lines)]]
        self._digest.add(body, len(lines))
        self._file.write(body)

    def close(self) -> None:
        """Write the end marker."""
        self._file.write(encode_marker(self._digest.marker))
        self._file.close()


class _ColumnFile:
    """A file of columns."""

    def __init__(self, path: Path) -> None:
        self._writer = ColumnWriter(path, LogEvent)

    def write(self, rows: Sequence[tuple[_Row, np.ndarray]], actors: pa.Array, sessions: pa.Array, cohort: str) -> None:
        """As the protocol says."""
        tables = [_columns(row, t, actors, sessions, cohort) for row, t in rows]
        whole = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        self._writer.write_table(whole.take(_order(rows)))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def _order(rows: Sequence[tuple[_Row, np.ndarray]]) -> pa.Array:
    return pa.array(np.argsort(np.concatenate([t for _, t in rows]), kind="stable"))


def _write_cohort(experiment: Experiment, cohort: Cohort, files: dict[str, _EventFile]) -> None:
    numbers = pa.array(np.arange(1, cohort.clients + 1)).cast(pa.string())
    width = max(4, len(str(cohort.clients)))
    actors = pc.binary_join_element_wise(f"{cohort.name}-", pc.utf8_lpad(numbers, 4, "0"), "")
    sessions = pc.binary_join_element_wise(f"p{cohort.name}", pc.utf8_lpad(numbers, width, "0"), "")
    rng = np.random.default_rng(int(cohort.name[1:]))
    starts = np.sort(rng.uniform(0.0, experiment.ramp, cohort.clients))
    _write_rows(files, _JOINING, 0.0, starts, actors, sessions, cohort.name)
    for k, window in enumerate(w for w in experiment.windows() if w.place == cohort.name):
        spread = np.sort(rng.gamma(2.0, 0.25, cohort.clients))
        _write_rows(files, _episode(k), window.starts_at, spread, actors, sessions, cohort.name)
    final = ((0.0, _SERVER, LogEventKind.SCORE_FINAL, f'"value":{100.0 * WINDOWS}'),)
    _write_rows(files, final, experiment.duration, 0 * starts, actors, sessions, cohort.name)


def _write_rows(  # noqa: PLR0917 - what an event is made of
    files: dict[str, _EventFile],
    rows: Sequence[_Row],
    start: float,
    spread: np.ndarray,
    actors: pa.Array,
    sessions: pa.Array,
    cohort: str,
) -> None:
    """Every row for every participant, in the order of time in each file."""
    for role, file in files.items():
        mine = [row for row in rows if row[1] == role]
        times = [start + row[0] + (spread if row[0] > 0 or start == 0 else 0 * spread) for row in mine]
        if mine:
            file.write(list(zip(mine, times, strict=True)), actors, sessions, cohort)


def _is_joined(kind: LogEventKind, fields: str) -> bool:
    """Whether the participant has a session by then: in every event but those of its first dial."""
    return kind not in {LogEventKind.TRANSPORT_OPENING, LogEventKind.TRANSPORT_OPENED} or '"attempt":0' not in fields


def _columns(row: _Row, t: np.ndarray, actors: pa.Array, sessions: pa.Array, cohort: str) -> pa.Table:
    """The same events as :func:`_lines`."""
    _, role, kind, template = row
    fields: dict[str, Any] = msgspec.json.decode(f"{{{_filled_once(template)}}}")
    fields |= {"t": np.round(t, 6), "lane": Lane.MODEL.value, "role": role, "kind": kind.value}
    fields |= {"actor": actors, "cohort": cohort} if role == _CLIENT else {"actor": "server"}
    if _is_joined(kind, template):
        fields["session_id"] = sessions
    if "$" in template:
        fields["value"] = np.round(0.001 + t % 0.01, 6)
    if "#" in template:
        fields["ref"] = pc.binary_join_element_wise(fields["ref"].rstrip("#"), sessions, "")
    schema = schema_of(LogEvent)
    return pa.Table.from_arrays([_array(fields.get(field.name), field.type, len(t)) for field in schema], schema=schema)


def _filled_once(template: str) -> str:
    return template.replace("@", f'"{STATE}"').replace("$", "0")


def _array(value: Any, kind: pa.DataType, count: int) -> pa.Array:  # noqa: ANN401 - one value, an array, or None
    """One column: the same value in each row, or these."""
    if isinstance(value, pa.Array | np.ndarray):
        return pa.array(value).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(value, kind)
    if value is None or not pa.types.is_dictionary(kind):
        return pa.array([value], kind).take(pa.array(np.zeros(count, np.int32)))
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value]))


def _lines(row: _Row, t: np.ndarray, actors: pa.Array, sessions: pa.Array, cohort: str) -> pa.Array:
    _, role, kind, fields = row
    at = pa.array(np.round(t, 6)).cast(pa.string())
    parts: list[object] = ['{"t":', at, f',"lane":"model","role":"{role}","actor":"']
    parts += (
        [actors, f'","kind":"{kind.value}","cohort":"{cohort}"']
        if role == _CLIENT
        else [f'server","kind":"{kind.value}"']
    )
    parts += [',"session_id":"', sessions, '"'] if _is_joined(kind, fields) else []
    parts += [",", *_filled(fields, sessions, t), "}\n"]
    return pc.binary_join_element_wise(*(pa.scalar(p) if isinstance(p, str) else p for p in parts), "")


def _filled(fields: str, sessions: pa.Array, t: np.ndarray) -> list[object]:
    """The other fields, with the state, the answer's reference or a time in the place of its sign."""
    fields = fields.replace("@", f'"{STATE}"')
    for sign in "#$":
        before, found, after = fields.partition(sign)
        if found and sign == "#":
            return [before, sessions, after]
        if found:
            return [before, pa.array(np.round(0.001 + t % 0.01, 6)).cast(pa.string()), after]
    return [fields]


def _write_runner(path: Path, experiment: Experiment, log_format: LogFormat) -> None:
    writer, place = log_format.begin(path), "runner"

    def run(t: float, kind: LogEventKind, **fields: object) -> None:
        writer.write(LogEvent(t, Lane.MODEL, Role.RUNNER, place, kind, **fields))  # type: ignore[arg-type]

    run(0.0, LogEventKind.RUN_STARTED, value=experiment.duration)
    run(30.0, LogEventKind.RUN_STEADY, outcome="pass", value=1.0)
    for window in experiment.windows():
        for after, kind in enumerate(
            (
                LogEventKind.FAULT_STARTED,
                LogEventKind.FAULT_ENDED,
                LogEventKind.FAULT_CONFIRMED,
                LogEventKind.FAULT_CLEARED,
            )
        ):
            t = window.starts_at + (0.001 * after if after > 1 else 0.0)
            event = LogEvent(
                t, Lane.MODEL, Role.INJECTOR, window.place, kind, window.place, ref=window.fault_id, value=0.0
            )
            writer.write(event)
    run(experiment.duration, LogEventKind.RUN_ENDED, outcome="completed")
    writer.close()


def _cohort_episodes(experiment: Experiment) -> list[pd.DataFrame]:
    rng, frames = np.random.default_rng(1), []
    for window in experiment.windows():
        (count,) = (cohort.clients for cohort in experiment.cohorts if cohort.name == window.place)
        strike, _, kind = window.fault_id.partition("@")[0].partition(":")
        back = window.starts_at + 0.8 + rng.gamma(2.0, 0.25, count)
        is_back = rng.uniform(size=count) < 0.999
        frame = pd.DataFrame({"fault_id": window.fault_id, "kind": kind, "event": strike}, index=range(count))
        end = np.where(is_back, back, experiment.duration)
        frames.append(
            frame.assign(
                last_fault_id=window.fault_id,
                windows=1,
                stratum="cut 0s",
                cohort=window.place,
                participant=[f"{window.place}-{i:04d}" for i in range(1, count + 1)],
                outcome=np.where(is_back, Outcome.RESTORED.value, Outcome.GAVE_UP.value),
                came_back_by=pd.Series(["resumed" if back else None for back in is_back]),
                detected_by="client",
                open_at_fault=True,
                fault_at=window.starts_at,
                detected_at=window.starts_at + 0.01,
                healed_at=window.starts_at,
                connected_at=np.where(is_back, back - 0.02, np.nan),
                restored_at=np.where(is_back, back, np.nan),
                ended_at=end,
                attempts=pd.array(rng.integers(1, 5, count), dtype="Int64"),
                detection_s=0.01,
                reconnection_s=end - window.starts_at - 0.01,
                downtime_s=end - window.starts_at,
                excess_s=end - window.starts_at,
                outage_s=0.0,
                usable_s=end - window.starts_at,
                heal_s=0.0,
                affected=True,
                returned=is_back,
                never=~is_back,
            )
        )
    return frames
