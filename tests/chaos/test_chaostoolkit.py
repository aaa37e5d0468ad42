"""What is exported is an experiment to the Chaos Toolkit's own validation, and a journal in its shape."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chaoslib.experiment import ensure_experiment_is_valid
from chaoslib.hypothesis import within_tolerance
from click.testing import CliRunner, Result

from chaos.chaostoolkit import to_experiment, to_journal
from chaos.cli import chaos
from reports.build import analyse
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind
from resilience.experiment.loader import catalogue, parse
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import LogBuilder, sample_history


@pytest.fixture(autouse=True)
def _command_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation wants every program to exist; ``resilience`` is next to this Python."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(chaos, ["export", *map(str, arguments)], standalone_mode=False)


def journal_of(history: LogBuilder, run_dir: Path) -> dict[str, Any]:
    done = export(history.write(run_dir))
    assert done.exception is None
    found: dict[str, Any] = msgspec.json.decode(done.output)
    return found


@pytest.mark.parametrize("name", sorted(catalogue()))
@pytest.mark.parametrize("lane", ["real", "virtual", "model"])
def test_every_bundled_experiment_is_valid_to_the_toolkit(name: str, lane: str) -> None:
    exported = msgspec.json.decode(export(name, "--lane", lane, "--seed", "3").output)
    ensure_experiment_is_valid(exported)
    loaded = parse(catalogue()[name], f"{name}.toml")
    (extension,) = exported["extensions"]
    assert [window["fault"] for window in extension["windows"]] == [each.fault_id for each in loaded.windows(3)]
    arguments = exported["method"][0]["provider"]["arguments"]
    assert arguments[:2] == (["chaos", "run"] if lane == "real" else ["sim", "run"])
    assert arguments[-4:] == ["--seed", "3", "--out", f"runs/chaostoolkit/{loaded.name}"]


def test_the_probe_says_nothing_before_the_run_and_gives_its_verdict_after_it(tmp_path: Path) -> None:
    """The toolkit asks it at both times; the shell command is run as the toolkit runs it."""
    import subprocess  # noqa: PLC0415 - this test only

    name = tmp_path / "it's here"
    exported = to_experiment(parse(catalogue()["smoke"], "s"), "smoke", lane=Lane.MODEL, seed=1, run_dir=str(name))
    probe = exported["steady-state-hypothesis"]["probes"][0]
    command = [probe["provider"]["path"], *probe["provider"]["arguments"]]
    codes = [subprocess.run(command, check=False, capture_output=True).returncode]
    name.mkdir()
    codes.append(subprocess.run(command, check=False, capture_output=True).returncode)
    assert codes == [0, 2]
    assert [within_tolerance(probe["tolerance"], {"status": code}) for code in codes] == [True, False]


def test_the_journal_of_a_run_has_its_windows_its_verdict_and_its_times(tmp_path: Path) -> None:
    history = sample_history(clients=10, losing=0.4)
    journal = journal_of(history, tmp_path / "run")
    ensure_experiment_is_valid(journal["experiment"])
    _, _, summary = analyse(tmp_path / "run")
    assert (journal["status"], journal["deviated"]) == ("completed", True)
    assert journal["steady_states"]["before"]["steady_state_met"]
    assert not journal["steady_states"]["after"]["steady_state_met"]
    assert journal["steady_states"]["after"]["probes"][0]["tolerance_met"] is False
    action, *windows = journal["run"]
    assert action["output"]["status"] == 1
    assert [entry["activity"]["name"] for entry in windows] == [window.fault_id for window in summary.windows]
    first, window = windows[0], summary.windows[0]
    began = datetime.fromisoformat(first["start"]) - datetime.fromisoformat(journal["start"])
    assert began.total_seconds() == pytest.approx(window.started_at)
    assert first["duration"] == pytest.approx((window.ended_at or 0.0) - (window.started_at or 0.0))
    assert {entry["status"] for entry in windows} == {"succeeded"}


@pytest.mark.parametrize(
    "status, said", [("not_started", "failed"), ("interrupted", "interrupted"), ("harness_failed", "aborted")]
)
def test_a_run_that_was_not_carried_out_has_a_status_of_the_toolkit_and_no_deviation(
    status: str, said: str, tmp_path: Path
) -> None:
    history = sample_history(clients=3)
    history.status = RunStatus(status)
    journal = journal_of(history, tmp_path / "run")
    assert (journal["status"], journal["deviated"], journal["steady_states"]["after"]) == (said, False, None)


def test_a_window_without_proof_is_a_failed_activity(tmp_path: Path) -> None:
    history = sample_history(clients=3)
    history.events = [event for event in history.events if event.kind is not LogEventKind.FAULT_CONFIRMED]
    log, _, summary = analyse(history.write(tmp_path / "run"))
    exported = to_experiment(log.experiment, "x", lane=Lane.MODEL, seed=1, run_dir="y")
    entries = to_journal(exported, summary)["run"][1:]
    assert {entry["status"] for entry in entries} == {"failed"}
    assert entries[0]["exception"] == ["no canary saw it begin"]


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    for arguments, said in (
        (("nowhere",), "no such file or bundled experiment"),
        ((tmp_path,), "not a run directory"),
        ((tmp_path, "--seed", "1"), "--seed and --run-dir are for an experiment"),
        (("smoke", "--out", tmp_path / "none" / "x.json"), "cannot be written"),
    ):
        error = export(*arguments).exception
        assert isinstance(error, UsageError)
        assert said in str(error)


def test_a_file_is_written_on_request(tmp_path: Path) -> None:
    out = tmp_path / "experiment.json"
    assert export("smoke", "--out", out).output == f"exported: {out}\n"
    ensure_experiment_is_valid(msgspec.json.decode(out.read_bytes()))
