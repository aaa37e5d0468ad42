"""Events as Parquet columns: the same frame and the same verdict as from lines, and no damage passes unseen."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.experiments import __file__ as experiments
from reports import column_files, load_run
from reports.build import analyse
from reports.cli import report
from reports.column_files import COLUMNS, ColumnWriter, inspect_evidence, row_groups, schema_of
from reports.columns import RecordColumns, frame_of
from resilience.errors import EvidenceError, ExitCode, HarnessError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.eventlog.writer import EventWriter
from resilience.experiment.loader import load_file
from resilience.lab.manifest import LineScan, take_inventory
from resilience.lab.observation import Observation
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus, read_run_info, write_run_info
from sim.cli import sim
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane

from .test_evidence import DAMAGES, verdict_of

LOG = "events/run.parquet"
SMOKE = Path(experiments).parent / "smoke.toml"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
counts = st.integers(-(2**31), 2**31 - 1)
events = st.builds(
    LogEvent,
    t=st.floats(-1e6, 1e6),
    lane=st.sampled_from(Lane),
    role=st.sampled_from(Role),
    actor=texts,
    kind=st.sampled_from(LogEventKind),
    cohort=st.none() | texts,
    session_id=st.none() | texts,
    connection_no=st.none() | counts,
    seq=st.none() | counts,
    outcome=st.none() | texts,
    value=st.none() | st.floats(),
    detail=st.none() | texts,
)


@pytest.fixture(scope="module", name="kept")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small runs of the model: one as lines, two as columns."""
    folder, smoke = tmp_path_factory.mktemp("runs"), load_file(SMOKE)
    execute(ModelLane(), smoke, 3, folder / "lines")
    for name, seed in (("run", 3), ("other", 4)):
        execute(ModelLane(), smoke, seed, folder / name, log_format=COLUMNS)
    return {name: folder / name for name in ("lines", "run", "other")}


@pytest.fixture(name="run_dir")
def _run_dir(kept: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept["run"], tmp_path / "run"))


def reseal(run_dir: Path) -> None:
    """Let ``run.json`` list the files as they are."""
    listed = take_inventory(run_dir, inspect_evidence)
    write_run_info(run_dir, msgspec.structs.replace(read_run_info(run_dir), evidence=listed))


def read_columns(path: Path) -> pd.DataFrame:
    """The frame of one file of columns."""
    columns = RecordColumns(LogEvent)
    columns.add_tables(str(path), row_groups(path, LogEvent), len)
    return columns.frame()


def read_lines(path: Path) -> pd.DataFrame:
    """The frame of one file of lines."""
    columns = RecordColumns(LogEvent)
    columns.add_file(str(path), LineScan(path), len)
    return columns.frame()


@settings(max_examples=25)
@given(st.lists(events, max_size=30), st.integers(1, 7), st.integers(1, 5))
def test_both_formats_give_the_same_frame(
    tmp_path_factory: pytest.TempPathFactory, written: list[LogEvent], group: int, batch: int
) -> None:
    """Whatever the events are, and however they fall into row groups."""
    folder = tmp_path_factory.mktemp("both")
    lines, columns = folder / "a.jsonl", folder / "events" / "a.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_files, "GROUP_ROWS", group)
        patch.setattr(column_files, "_BATCH_ROWS", min(batch, group))
        for writer in (EventWriter(lines), ColumnWriter(columns, LogEvent)):
            for event in written:
                writer.write(event)
            writer.close()
    pd.testing.assert_frame_equal(read_columns(columns), read_lines(lines))
    found = inspect_evidence(folder, "events/a.parquet")
    assert (found.lines, found.complete) == (len(written), True)
    metadata = pq.read_metadata(columns)
    assert all(metadata.row_group(i).num_rows <= group for i in range(metadata.num_row_groups))


def test_both_formats_give_the_same_summary(kept: dict[str, Path]) -> None:
    (lines, _, by_lines), (columns, _, by_columns) = analyse(kept["lines"]), analyse(kept["run"])
    assert columns.problems == ()
    pd.testing.assert_frame_equal(columns.frame, lines.frame)
    own = {"started_at", "wall_s", "peak_rss_mb", "reproduce"}
    asked = [name for name in by_lines.__struct_fields__ if name not in own]
    plain = [msgspec.to_builtins({name: getattr(each, name) for name in asked}) for each in (by_lines, by_columns)]
    assert without(plain[0], own) == without(plain[1], own)


def without(value: object, names: set[str]) -> object:
    """A value of plain parts without what is named so."""
    if isinstance(value, dict):
        return {key: without(part, names) for key, part in value.items() if key not in names}
    return [without(part, names) for part in value] if isinstance(value, list) else value


def test_the_columns_have_the_types_of_the_frame(kept: dict[str, Path]) -> None:
    found = pq.read_schema(kept["run"] / LOG)
    assert found.remove_metadata() == schema_of(LogEvent)
    assert {str(field.type) for field in found} == {
        "double",
        "int32",
        "dictionary<values=string, indices=int32, ordered=0>",
    }


def test_any_record_type_has_a_file(kept: dict[str, Path], tmp_path: Path) -> None:
    """Observations have flags and lists."""
    seen = load_run(kept["lines"]).observations
    writer = ColumnWriter(tmp_path / "observations" / "clients.parquet", Observation)
    for each in seen:
        writer.write(each)
    writer.close()
    columns = RecordColumns(Observation)
    columns.add_tables("it", row_groups(tmp_path / "observations" / "clients.parquet", Observation), len)
    pd.testing.assert_frame_equal(columns.frame(), frame_of(seen, Observation))


# damage ---------------------------------------------------------------------------------------------------------------

FOOTER = {
    "marker cut": lambda mine, _other: mine.replace(b'"marker":"end"', b'"marker":"and"'),
    "rows in the footer edited": lambda mine, _other: mine.replace(b'"lines":', b'"lined":'),
    "magic cut": lambda mine, _other: mine[:-4],
    "footer moved": lambda mine, _other: mine[:-8] + bytes([mine[-8] ^ 1]) + mine[-7:],
}
ALL_DAMAGES: dict[str, Callable[[bytes, bytes], bytes | None]] = {**DAMAGES, **FOOTER}


@pytest.mark.parametrize("damage", ALL_DAMAGES)
def test_a_damaged_file_decides_nothing(kept: dict[str, Path], run_dir: Path, damage: str) -> None:
    path = run_dir / LOG
    content = ALL_DAMAGES[damage](path.read_bytes(), (kept["other"] / LOG).read_bytes())
    assert content != path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    code, said = verdict_of(run_dir)
    assert (code, "\n" in said) == (ExitCode.HARNESS, False)
    assert LOG in said.partition(" | ")[0]


@pytest.mark.parametrize("damage", [name for name in ALL_DAMAGES if name not in {"removed", "of another run"}])
def test_a_file_damaged_before_it_was_listed_is_named(kept: dict[str, Path], run_dir: Path, damage: str) -> None:
    """The list agrees with the damaged file; its own end marker does not."""
    path = run_dir / LOG
    content = ALL_DAMAGES[damage](path.read_bytes(), (kept["other"] / LOG).read_bytes())
    assert content is not None
    path.write_bytes(content)
    reseal(run_dir)
    code, said = verdict_of(run_dir)
    assert code is ExitCode.HARNESS
    assert f"{LOG}: had no end marker when the run ended" in said
    assert f"{LOG}: cut, or not finished by its writer: none of its records can be read" in said


def test_a_byte_changed_anywhere_is_found(run_dir: Path) -> None:
    """In data or footer; none ends in another error."""
    whole = (run_dir / LOG).read_bytes()
    before, rng = inspect_evidence(run_dir, LOG), random.Random(5)
    for at in [*rng.sample(range(len(whole)), 150), *range(len(whole) - 60, len(whole))]:
        (run_dir / LOG).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        assert inspect_evidence(run_dir, LOG) != before


def test_a_killed_simulator_leaves_a_file_that_is_named(run_dir: Path) -> None:
    """``run.json`` still says interrupted and lists nothing."""
    path = run_dir / LOG
    path.write_bytes(path.read_bytes()[:4000])
    info = read_run_info(run_dir)
    write_run_info(run_dir, msgspec.structs.replace(info, status=RunStatus.INTERRUPTED, evidence=None))
    code, said = verdict_of(run_dir)
    assert code is ExitCode.HARNESS
    assert said.endswith(f"{LOG}: cut, or not finished by its writer: none of its records can be read")
    assert CliRunner().invoke(report, ["build", str(run_dir)]).exit_code == ExitCode.HARNESS


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table.drop_columns("seq"), "no column seq of type int32"),
        (lambda table: table.append_column("mood", table["actor"]), "unknown column mood"),
        (lambda table: table.set_column(0, "t", table["t"].cast(pa.float32())), "no column t of type double"),
        (lambda table: table.set_column(3, "actor", pa.nulls(len(table), table["actor"].type)), "row group 1"),
        (lambda table: table.set_column(4, "kind", table["actor"]), "not a word of the enumeration"),
    ],
)
def test_a_file_of_other_columns_is_named(
    run_dir: Path, change: Callable[[pa.Table], pa.Table], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, listed, and no log of this version."""
    table = change(pq.read_table(run_dir / LOG))
    monkeypatch.setattr(column_files, "schema_of", lambda _: table.schema)
    writer = ColumnWriter(run_dir / LOG, LogEvent)
    monkeypatch.undo()
    writer.write_table(table)
    writer.close()
    write_run_info(
        run_dir, msgspec.structs.replace(read_run_info(run_dir), evidence=take_inventory(run_dir, inspect_evidence))
    )
    with pytest.raises(EvidenceError, match=message) as caught:
        load_run(run_dir)
    assert LOG in str(caught.value)


# writing --------------------------------------------------------------------------------------------------------------


def test_an_unfinished_group_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither records nor batches pile up beyond one row group."""
    monkeypatch.setattr(column_files, "GROUP_ROWS", 64)
    monkeypatch.setattr(column_files, "_BATCH_ROWS", 16)
    writer, most = ColumnWriter(tmp_path / "a.parquet", LogEvent), 0
    for i in range(1000):
        writer.write(LogEvent(float(i), Lane.MODEL, Role.CLIENT, "a", LogEventKind.PONG_SENT))
        most = max(most, len(writer._records) + sum(map(len, writer._batches)))
    writer.close()
    assert most <= 64 + 16
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups == 16


def test_a_full_disk_is_an_error_of_the_laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, as with lines; the file is incomplete."""

    def full(_self: object, data: bytes) -> int:
        if data == b"PAR1":  # what begins the file
            return len(data)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(column_files._DigestedFile, "write", full)
    with pytest.raises(HarnessError, match="No space left"):
        execute(ModelLane(), load_file(SMOKE), 3, tmp_path / "run", log_format=COLUMNS)
    assert read_run_info(tmp_path / "run").status is RunStatus.HARNESS_FAILED


def test_the_command_writes_columns(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    done = CliRunner().invoke(sim, ["run", "smoke", "--log-format", "columns", "--out", str(run_dir)])
    assert done.exit_code == ExitCode.PASS
    assert [path.name for path in (run_dir / "events").iterdir()] == ["run.parquet"]
    listed = {file.path: file for file in read_run_info(run_dir).evidence or ()}
    assert listed[LOG].lines == pq.read_metadata(run_dir / LOG).num_rows > 0


def test_the_virtual_lane_writes_columns_too(tmp_path: Path) -> None:
    smoke = load_file(SMOKE)
    execute(VirtualLane(), smoke, 3, tmp_path / "lines")
    execute(VirtualLane(), smoke, 3, tmp_path / "columns", log_format=COLUMNS)
    pd.testing.assert_frame_equal(load_run(tmp_path / "columns").frame, load_run(tmp_path / "lines").frame)
