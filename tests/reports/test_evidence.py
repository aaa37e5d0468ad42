"""A run whose files are damaged is neither passed nor failed: exit code 4, and the file is named."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from click.testing import CliRunner

from chaos.experiments import __file__ as experiments
from reports import load_run
from reports.build import analyse
from reports.cli import report
from resilience.errors import EvidenceError, ExitCode, ResilienceError
from resilience.eventlog.end_marker import EndMarker, decode_marker
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.loader import load_file, parse, to_toml
from resilience.lab.manifest import evidence_paths, take_inventory
from resilience.lab.recording import write_lines
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus, read_run_info, write_run_info
from sim.model.lane import ModelLane

from ..support.log_builder import clean_history

FILES = (
    "run.json",
    "experiment.toml",
    "database.json",
    "events/clients-1.jsonl",
    "events/server.jsonl",
    "events/run.jsonl",
    "observations/clients.jsonl",
)


@pytest.fixture(scope="module", name="kept")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small runs of the model, by name, each with one log per process, as the real lane writes them."""
    smoke = load_file(Path(experiments).parent / "smoke.toml")
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("run", 3), ("other", 4)):
        execute(ModelLane(), smoke, seed, folder / name)
        _split(folder / name)
    return {name: folder / name for name in ("run", "other")}


def _split(run_dir: Path) -> None:
    """One log per process."""
    whole = run_dir / "events" / "run.jsonl"
    lines = [line for line in whole.read_bytes().splitlines(keepends=True) if decode_marker(line) is None]
    roles = {"clients-1": b'"role":"client"', "server": b'"role":"server"'}
    parts = {name: [line for line in lines if role in line] for name, role in roles.items()}
    parts["run"] = [line for line in lines if not any(role in line for role in roles.values())]
    for name, kept in parts.items():
        write_lines(whole.parent / f"{name}.jsonl", kept)
    reseal(run_dir)


def reseal(run_dir: Path, **changes: object) -> Path:
    """Rewrite ``run.json`` to agree with the files as they are."""
    info = msgspec.structs.replace(read_run_info(run_dir), evidence=take_inventory(run_dir), **changes)
    write_run_info(run_dir, info)
    return run_dir


@pytest.fixture(name="run_dir")
def _run_dir(kept: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept["run"], tmp_path / "run"))


def verdict_of(run_dir: Path) -> tuple[ExitCode, str]:
    """The exit code of a run's analysis and all that it says about the evidence."""
    try:
        summary = analyse(run_dir)[2]
    except ResilienceError as error:
        return error.exit_code, str(error)
    assert summary.verdict is Verdict.INCONCLUSIVE or not summary.laboratory.failures
    told = " | ".join(summary.reasons)
    assert all(reason.removeprefix("the laboratory failed: ") in told for reason in summary.laboratory.failures)
    return summary.exit_code, " | ".join(summary.laboratory.failures)


def edited(content: bytes) -> bytes:
    """One digit another one, in the middle."""
    middle = next(i for i in range(len(content) // 2, len(content)) if content[i : i + 1].isdigit())
    return content[:middle] + (b"7" if content[middle : middle + 1] != b"7" else b"3") + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    "removed": lambda _mine, _other: None,
    "emptied": lambda _mine, _other: b"",
    "cut in a line": lambda mine, _other: mine[: len(mine) * 6 // 10],
    "cut after a line": lambda mine, _other: mine[: mine.rfind(b"\n", 0, len(mine) * 6 // 10) + 1],
    "last line cut": lambda mine, _other: mine[: mine.rfind(b"\n", 0, -1) + 1],
    "doubled": lambda mine, _other: mine + mine,
    "merged": lambda mine, other: mine + other,
    "of another run": lambda _mine, other: other,
    "edited": lambda mine, _other: edited(mine),
    "random": lambda mine, _other: random.Random(1).randbytes(len(mine)),
    "random end": lambda mine, _other: mine + random.Random(1).randbytes(100_000).replace(b"\n", b""),
    "zeros": lambda mine, _other: bytes(len(mine)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_decides_nothing(kept: dict[str, Path], run_dir: Path, file: str, damage: str) -> None:
    """Every file, every damage."""
    path = run_dir / file
    content = DAMAGES[damage](path.read_bytes(), (kept["other"] / file).read_bytes())
    if content == path.read_bytes():
        pytest.skip("the runs agree in this file")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    code, said = verdict_of(run_dir)
    assert (code, "\n" in said) == (ExitCode.HARNESS, False)
    assert file in said or (file == "run.json" and any(other in said for other in FILES))


def test_a_damaged_run_has_a_report(run_dir: Path) -> None:
    """Whose first reason is what is missing."""
    (run_dir / "events" / "clients-1.jsonl").unlink()
    done = CliRunner().invoke(report, ["build", str(run_dir)])
    assert done.exit_code == ExitCode.HARNESS
    assert "events/clients-1.jsonl: missing" in (run_dir / "report.html").read_text(encoding="utf-8")


def test_an_undamaged_run_is_judged(run_dir: Path) -> None:
    """The files are read as they were written: no problem, and a verdict."""
    assert load_run(run_dir).problems == ()
    assert set(evidence_paths(run_dir)) == set(FILES) - {"run.json"}
    code, said = verdict_of(run_dir)
    assert code in {ExitCode.PASS, ExitCode.INCONCLUSIVE}
    assert not said


@pytest.mark.parametrize("folder", ["events", "observations"])
def test_a_file_too_many_is_named(kept: dict[str, Path], run_dir: Path, folder: str) -> None:
    """Another run's file next to this one's."""
    (other,) = [path for path in (kept["other"] / folder).iterdir() if path.name.startswith("clients")]
    shutil.copy(other, run_dir / folder / "clients-9.jsonl")
    code, said = verdict_of(run_dir)
    assert code is ExitCode.HARNESS
    assert f"{folder}/clients-9.jsonl: not a file of this run" in said


def rewrite(run_dir: Path, file: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a log so that its marker and the list of files agree with it."""
    path = run_dir / file
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if decode_marker(line) is None]
    write_lines(path, change(lines))
    reseal(run_dir)


def without(word: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Leave out the lines with a word."""
    return lambda lines: [line for line in lines if word not in line]


def with_text(old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Write something else, once."""
    return lambda lines: b"".join(lines).replace(old, new, 1).splitlines(keepends=True)


CONTRADICTIONS: dict[str, tuple[str, Callable[[list[bytes]], list[bytes]], str]] = {
    "no end": ("events/run.jsonl", without(b"run.ended"), "0 records run.ended"),
    "two ends": ("events/run.jsonl", lambda lines: [*lines, *lines[-1:]], "2 records run.ended"),
    "interrupted": ("events/run.jsonl", with_text(b'"completed"', b'"interrupted"'), "run.ended says 'interrupted'"),
    "not steady": ("events/run.jsonl", with_text(b'"pass"', b'"fail"'), "run.steady says 'fail'"),
    "no steady": ("events/run.jsonl", without(b"run.steady"), "0 records run.steady"),
    "silent client": ("events/clients-1.jsonl", without(b"-0003"), "no event of"),
    "stranger": ("events/clients-1.jsonl", with_text(b"-0003", b"-9003"), "no client of this experiment"),
    "no window": ("events/run.jsonl", without(b"fault."), "no fault.started of the planned window"),
    "no window's end": ("events/run.jsonl", without(b"fault.ended"), "no fault.ended of the window"),
    "another window": ("events/run.jsonl", with_text(b'"ref":"0.0:', b'"ref":"7.0:'), "an unplanned window 7.0:"),
    "another lane": ("events/server.jsonl", with_text(b'"model"', b'"real"'), "events of the lane real"),
    "before the start": ("events/clients-1.jsonl", with_text(b'{"t":0', b'{"t":-40'), "before the run's start"),
    "after the end": ("events/server.jsonl", lambda lines: [*lines[:-1], late(lines[-1])], "long after the end"),
    "backwards": ("events/clients-1.jsonl", lambda lines: lines[::-1], "events/clients-1.jsonl: time runs backwards"),
    "every line twice": (
        "events/clients-1.jsonl",
        lambda lines: [line for line in lines for _ in range(2)],
        "dials are there twice",
    ),
}


@pytest.mark.parametrize("at", [0.05, 1.0], ids=["before all clients came", "before its steady state was due"])
def test_a_server_that_fails_while_clients_join_is_a_fail(run_dir: Path, at: float) -> None:
    """What would have been recorded later is not missing: the run ended, and the system ended it."""
    cause = f"the server ended by itself (SIGKILL) at {at} s"
    end = [
        LogEvent(at, Lane.MODEL, Role.RUNNER, "runner", kind, outcome=outcome, cause=cause)
        for kind, outcome in ((LogEventKind.SERVER_FAILED, "ended"), (LogEventKind.RUN_ENDED, "completed"))
    ]
    for file in (file for file in FILES if file.startswith("events/")):
        rewrite(run_dir, file, lambda lines: [line for line in lines if msgspec.json.decode(line)["t"] < at])
    ended = [msgspec.json.encode(event) + b"\n" for event in end]
    rewrite(run_dir, "events/run.jsonl", lambda lines: lines + ended)
    reseal(run_dir, cause=cause)
    code, said = verdict_of(run_dir)
    assert (code, said) == (ExitCode.FAIL, "")


def later(seconds: float) -> Callable[[list[bytes]], list[bytes]]:
    """Every record of one process, by its clock."""
    events = msgspec.json.Decoder()

    def shifted(line: bytes) -> bytes:
        event = events.decode(line)
        return msgspec.json.encode({**event, "t": event["t"] + seconds}) + b"\n"

    return lambda lines: list(map(shifted, lines))


@pytest.mark.parametrize(
    "file, seconds, message",
    [
        ("events/clients-1.jsonl", 3.0, "their first dial after the server had made their sessions"),
        ("events/clients-1.jsonl", -0.9, "their join before the server made their sessions"),
        ("events/server.jsonl", -0.9, "their first dial after the server had made their sessions"),
        ("events/server.jsonl", 3.0, "their join before the server made their sessions"),
    ],
)
def test_clocks_that_disagree_decide_nothing(run_dir: Path, file: str, seconds: float, message: str) -> None:
    """A clock that is ahead or behind makes losses without a fault, and stale streams, of a faultless server."""
    rewrite(run_dir, file, later(seconds))
    code, said = verdict_of(run_dir)
    assert code is ExitCode.HARNESS
    assert "the clocks of clients and server disagree" in said
    assert message in said


def test_clocks_may_differ_by_little(run_dir: Path) -> None:
    """By what two processes of one machine do."""
    rewrite(run_dir, "events/server.jsonl", later(-0.02))
    assert load_run(run_dir).problems == ()


def late(line: bytes) -> bytes:
    """The same event, ten days later."""
    return b'{"t":864000.0,' + line.partition(b",")[2]


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_log_that_contradicts_the_run_decides_nothing(run_dir: Path, name: str) -> None:
    """Even if every digest agrees."""
    file, change, message = CONTRADICTIONS[name]
    rewrite(run_dir, file, change)
    code, said = verdict_of(run_dir)
    assert code is ExitCode.HARNESS
    assert message in said


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"schema_version": 999}, "schema version 999"),
        ({"schema_version": 1}, "schema version 1;"),
        ({"lane": Lane.REAL}, "events of the lane model"),
        ({"experiment_digest": "0" * 64}, "not the experiment that was run"),
        ({"experiment": "demo"}, "a run of 'demo'"),
    ],
)
def test_a_description_that_contradicts_the_run_decides_nothing(
    run_dir: Path, changes: dict[str, object], message: str
) -> None:
    code, said = verdict_of(reseal(run_dir, **changes))
    assert code is ExitCode.HARNESS
    assert message in said


def test_a_run_without_a_list_of_its_files_decides_nothing(run_dir: Path) -> None:
    write_run_info(run_dir, msgspec.structs.replace(read_run_info(run_dir), evidence=None))
    assert verdict_of(run_dir) == (
        ExitCode.HARNESS,
        "run.json: lists no evidence files; a completed run lists every one with its digest",
    )


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".jsonl")])
def test_a_writer_that_did_not_finish_is_named(run_dir: Path, file: str) -> None:
    """A process of the laboratory died: its file has no end marker, and the list made afterwards says so."""
    path = run_dir / file
    path.write_bytes(path.read_bytes()[:-200])
    code, said = verdict_of(reseal(run_dir))
    assert code is ExitCode.HARNESS
    assert f"{file}: had no end marker when the run ended" in said


def test_the_log_of_a_server_that_died_is_complete_as_it_is(run_dir: Path) -> None:
    """Its missing end is the system's failure."""
    path = run_dir / "events" / "server.jsonl"
    path.write_bytes(path.read_bytes()[:-3000])
    reseal(run_dir, cause="the server ended by itself (SIGKILL) at 11.0 s")
    assert load_run(run_dir).problems == ()


@pytest.mark.parametrize("status", [RunStatus.INTERRUPTED, RunStatus.HARNESS_FAILED, RunStatus.NOT_STARTED])
def test_a_run_that_did_not_complete_may_lack_files(run_dir: Path, status: RunStatus) -> None:
    """Its status decides, and only what exists is compared."""
    (run_dir / "events" / "clients-1.jsonl").unlink()
    rewrite(run_dir, "events/run.jsonl", without(b"run.ended"))
    reseal(run_dir, status=status, cause="told so")
    code, said = verdict_of(run_dir)
    assert code is ExitCode.HARNESS
    assert said == ("the laboratory failed: told so" if status is RunStatus.HARNESS_FAILED else "")


def test_a_killed_runner_leaves_a_run_that_can_be_read(run_dir: Path) -> None:
    """``run.json`` still says interrupted, and a line is unfinished."""
    path = run_dir / "events" / "run.jsonl"
    path.write_bytes(path.read_bytes()[:-150])
    info = read_run_info(run_dir)
    write_run_info(run_dir, msgspec.structs.replace(info, status=RunStatus.INTERRUPTED, evidence=None))
    assert verdict_of(run_dir) == (ExitCode.HARNESS, "")


def test_a_broken_line_is_named_by_its_number(run_dir: Path) -> None:
    rewrite(run_dir, "events/server.jsonl", lambda lines: [*lines[:10], b'{"t":1,"kind":"no.such"}\n', *lines[10:]])
    with pytest.raises(EvidenceError, match=r"events/server\.jsonl:11: "):
        load_run(run_dir)


def test_events_after_the_end_count_for_nothing(run_dir: Path) -> None:
    """But the closing records of the server do."""
    before = load_run(run_dir)
    rewrite(run_dir, "events/server.jsonl", lambda lines: [*lines, *_after(before.end, lines)])
    after = load_run(run_dir)
    counts = [history.frame["kind"].value_counts() for history in (before, after)]
    grown = (counts[1] - counts[0]).loc[lambda change: change != 0]
    assert dict(grown) == {LogEventKind.SCORE_FINAL.value: 1, LogEventKind.SESSION_DETACHED.value: 1}
    assert after.problems == ()


def _after(end: float, lines: list[bytes]) -> Iterator[bytes]:
    dropped = (LogEventKind.HEARTBEAT_ACKED, LogEventKind.ANSWER_REPLIED, LogEventKind.COMMIT_FAILED)
    for kind in (*dropped, LogEventKind.SCORE_FINAL, LogEventKind.SESSION_DETACHED):
        event = json.loads(lines[-1])
        yield msgspec.json.encode({**event, "t": end + 1.0, "kind": kind.value, "role": Role.SERVER.value}) + b"\n"


def test_a_run_can_be_judged_by_other_expectations(run_dir: Path, tmp_path: Path) -> None:
    """On purpose: under a digest of its own, and the summary says by what."""
    before = analyse(run_dir)[2]
    other = parse(to_toml(load_file(run_dir / "experiment.toml")), "other", ("expectations=[]",))
    (tmp_path / "other.toml").write_text(to_toml(other), encoding="utf-8")
    after = analyse(run_dir, tmp_path / "other.toml")[2]
    assert before.expectations
    assert not after.expectations
    assert after.experiment_digest == other.digest != before.experiment_digest
    assert str(tmp_path / "other.toml") in after.laboratory.warnings[0]
    assert after.laboratory.failures == ()


def test_a_marker_knows_its_lines(tmp_path: Path) -> None:
    write_lines(tmp_path / "lines.jsonl", [b"a\n", b"b\n"])
    marker = decode_marker((tmp_path / "lines.jsonl").read_bytes().splitlines()[-1])
    assert marker == EndMarker(2, marker.sha256 if marker else "")
    assert decode_marker(b'{"marker":"end"}') is None
    assert decode_marker(b'{"t":1.0}') is None


def test_rows_are_those_of_the_kinds_and_the_role() -> None:
    history = clean_history().log()
    kinds = (LogEventKind.TRANSPORT_LOST, LogEventKind.FAULT_STARTED)
    frame = history.frame
    assert history.rows(*kinds).equals(frame[frame["kind"].isin([kind.value for kind in kinds])])
    assert set(history.rows(*kinds, role=Role.SERVER)["role"]) == {"server"}
    assert history.rows().empty


def test_nothing_passes_or_fails_on_half_the_evidence(run_dir: Path) -> None:
    """The log of one client is lost: the others came back, and the database knows a participant that no client was.

    Neither is a result, wherever it is shown.
    """
    rewrite(run_dir, "events/clients-1.jsonl", without(b"-0003"))
    done = CliRunner().invoke(report, ["build", str(run_dir)])
    assert done.exit_code == ExitCode.HARNESS
    assert "✓" not in done.output
    assert "At least" not in done.output
    summary = analyse(run_dir)[2]
    verdicts = {item.verdict for item in summary.expectations} | {item.verdict for item in summary.invariants}
    assert verdicts == {Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE}
    assert any(item.broken_cases for item in summary.invariants)
    suite = ET.parse(run_dir / "junit.xml").getroot()[0]  # noqa: S314 - our own file
    assert suite.get("failures") == "0"
    names = {case.get("name") for case in suite if not len(case)}
    assert names == {"completed"}
