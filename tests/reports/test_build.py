"""The command and the function behind it: files, exit codes, and one line for whatever cannot be read."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pandas as pd
import pytest
from click.testing import CliRunner

from reports.build import build_report
from reports.cli import report
from reports.episodes import episodes_frame
from reports.pages import render_page
from reports.summary import Summary
from reports.svg import Chart
from resilience.errors import EvidenceError, ExitCode, HarnessError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import LogBuilder, clean_history, experiment, sample_history


def _broken(run_dir: Path, what: str) -> Path:
    clean_history().write(run_dir)
    if what == "run.json missing":
        (run_dir / "run.json").unlink()
    elif what == "run.json broken":
        (run_dir / "run.json").write_text("{", encoding="utf-8")
    elif what == "experiment missing":
        (run_dir / "experiment.toml").unlink()
    else:
        (run_dir / "events" / "run.jsonl").write_text('{"kind": "no such"}\n', encoding="utf-8")
    return run_dir


def test_all_files_are_written_and_agree(tmp_path: Path) -> None:
    """Six files in addition to the log; the stored summary and episodes are those that were computed."""
    history = sample_history(clients=6)
    summary = build_report(history.write(tmp_path))
    assert msgspec.json.decode((tmp_path / "summary.json").read_bytes(), type=Summary) == summary
    stored = pd.read_parquet(tmp_path / "episodes.parquet")
    computed = episodes_frame(history.log())
    assert len(stored) == len(computed) == len(pd.read_csv(tmp_path / "episodes.csv"))
    assert stored["excess_s"].equals(computed["excess_s"])
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        *("run.json", "experiment.toml", "summary.json", "summary.md", "junit.xml", "report.html"),
        *("episodes.parquet", "episodes.csv"),
    }


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """A report is a function of its run."""
    run_dir = clean_history().write(tmp_path)
    names = ("summary.json", "summary.md", "junit.xml", "report.html", "episodes.csv")
    build_report(run_dir)
    first = [(run_dir / name).read_bytes() for name in names]
    build_report(run_dir)
    assert [(run_dir / name).read_bytes() for name in names] == first


def test_more_episodes_than_a_spreadsheet_opens_have_no_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor that of an earlier build; the rest is there."""
    run_dir = sample_history(clients=6).write(tmp_path)
    build_report(run_dir)
    count = len(pd.read_csv(run_dir / "episodes.csv"))
    monkeypatch.setattr("reports.build.MOST_LINES", count)
    build_report(run_dir)
    assert (run_dir / "episodes.csv").exists()
    monkeypatch.setattr("reports.build.MOST_LINES", count - 1)
    build_report(run_dir)
    assert not (run_dir / "episodes.csv").exists()
    assert len(pd.read_parquet(run_dir / "episodes.parquet")) == count
    assert len(_verdicts(run_dir)) == 4


@pytest.mark.parametrize("name", ["summary.json", "episodes.parquet"])
def test_a_report_that_cannot_be_written_is_the_laboratorys_failure(name: str, tmp_path: Path) -> None:
    """In one line, with the reason that the system gives."""
    run_dir = clean_history().write(tmp_path)
    (run_dir / name).mkdir()
    with pytest.raises(HarnessError, match=r"cannot write the report: .*[Ii]s a directory") as caught:
        build_report(run_dir)
    assert "\n" not in str(caught.value)


def test_every_page_can_be_encoded_whatever_its_texts_hold() -> None:
    """Those of comparisons and trends too: half a character would end the command in a traceback."""
    trend = SimpleNamespace(tone="pass", headline="a\x00b\x1b[31m\ud800", changes=(), runs=(), lines=())
    assert (
        "ab[31m"
        in render_page("trend.html.j2", trend=trend, chart=Chart("", "", "", ""), certainty="").encode().decode()
    )


@pytest.mark.parametrize("what", ["run.json missing", "run.json broken", "experiment missing", "log broken"])
def test_a_run_that_cannot_be_read_is_one_line(tmp_path: Path, what: str) -> None:
    """Whatever is missing or broken is named, without a traceback; the exit code is the laboratory's."""
    with pytest.raises(EvidenceError) as caught:
        build_report(_broken(tmp_path, what))
    assert caught.value.exit_code is ExitCode.HARNESS
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_no_run_is_a_matter_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        build_report(tmp_path)


def test_no_such_directory_is_one_line(tmp_path: Path) -> None:
    """A typo is named as one."""
    with pytest.raises(UsageError, match="no such run directory"):
        build_report(tmp_path / "nowhere")


def test_a_run_that_never_started_has_a_report(tmp_path: Path) -> None:
    """Without any event file: exit code 4, and the page says why."""
    history = LogBuilder(experiment(), status=RunStatus.NOT_STARTED)
    run_dir = history.write(tmp_path)
    (run_dir / "events" / "run.jsonl").unlink()
    history.seal(run_dir)
    assert build_report(run_dir).exit_code is ExitCode.HARNESS
    assert "told so" in (run_dir / "report.html").read_text(encoding="utf-8")


def test_the_command_ends_with_the_runs_exit_code(tmp_path: Path) -> None:
    """Pass 0, fail 1, inconclusive 3; the verdict is printed, and where the report is."""
    broken = clean_history(clients=60)
    broken.server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)
    histories = {"PASS": clean_history(clients=60), "FAIL": broken, "INCONCLUSIVE": clean_history()}
    for (word, history), code in zip(histories.items(), (0, 1, 3), strict=True):
        done = CliRunner().invoke(report, ["build", str(history.write(tmp_path / word))])
        assert (done.exit_code, word in done.output, "report.html" in done.output) == (code, True, True)


def test_help_loads_no_analysis() -> None:
    """The command line stays quick: neither pandas nor matplotlib nor scipy is imported by it."""
    code = "import sys, reports.cli; print([m for m in ('pandas', 'matplotlib', 'scipy', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _verdicts(run_dir: Path) -> set[str]:
    return {path.name for path in run_dir.iterdir()} & {"summary.json", "summary.md", "junit.xml", "report.html"}


def test_no_verdict_outlasts_a_report_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full halfway: neither half a file nor the files of the build before."""
    run_dir = clean_history().write(tmp_path)
    build_report(run_dir)

    def no_space(_frame: pd.DataFrame, _path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("reports.build.write_csv", no_space)
    with pytest.raises(HarnessError, match="cannot write the report: No space left on device"):
        build_report(run_dir)
    assert _verdicts(run_dir) == set()
    assert {path.name for path in run_dir.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize("what", ["run.json missing", "run.json broken", "experiment missing", "event broken"])
def test_no_verdict_outlasts_a_run_that_can_no_longer_be_read(what: str, tmp_path: Path) -> None:
    """CI that collects ``junit.xml`` must not find the one of a build that passed."""
    build_report(clean_history().write(tmp_path))
    with pytest.raises(EvidenceError):
        build_report(_broken(tmp_path, what))
    assert _verdicts(tmp_path) == set()


def test_an_experiment_that_cannot_be_used_takes_no_report_away(tmp_path: Path) -> None:
    """The file of ``--experiment`` is the user's; the run is as good as before."""
    build_report(clean_history().write(tmp_path))
    with pytest.raises(UsageError):
        build_report(tmp_path, tmp_path / "no-such.toml")
    assert len(_verdicts(tmp_path)) == 4
