"""The runs of a comparison: one after the other, and what runs is kept whatever fails. Short runs of real systems."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from chaos.cli import chaos
from chaos.systems.comparison import RunCell, SystemCell, SystemsPlan, SystemsRun, directory_of
from chaos.systems.system import NamedSystem, bundled_systems, parse_system
from chaos.toxiproxy.provision import Binary
from reports.systems import SystemsComparison
from resilience.errors import ExitCode, HarnessError, UsageError
from resilience.experiment.loader import parse
from resilience.experiment.spec import Experiment
from resilience.lab.run_directory import RunStatus

from ...support.log_builder import TARGET, clean_history, experiment
from ...support.prompt_runs import prompt_run

SHORT = """
name = "short"
duration = 6.0
ramp = 0.2
hypothesis = {within = 2.0}
cohorts = [{name = "a", clients = 3}]
faults = [{kind = "cut", cohorts = ["a"], at = 2.2}]
client = {probe_after = 1.0}
expectations = [{metric = "success_rate", op = ">=", threshold = 0.05}]
"""


def tiny(name: str) -> Experiment:
    return msgspec.structs.replace(experiment(expectations=(TARGET,)), name=name)


def own(name: str, program: str = sys.executable) -> NamedSystem:
    text = f'title = "{name}"\ntarget = {{kind = "command", command = ["{program}", "{{port}}"]}}'
    return parse_system(text, f"{name}.toml", name)


def wrote(status: RunStatus = RunStatus.COMPLETED) -> tuple[list[str], RunCell]:
    """A runner of cells that writes a made run, and the list of what it was asked for."""
    asked: list[str] = []

    def run_cell(cell: SystemCell, where: Path) -> None:
        asked.append(f"{cell.experiment.name} on {cell.system}")
        clean_history(80).write(where)
        info = where / "run.json"
        info.write_text(info.read_text().replace('"completed"', f'"{status.value}"'))

    return asked, run_cell


def test_experiments_run_in_turn_on_each_system(tmp_path: Path) -> None:
    plan = SystemsPlan.of([tiny("one"), tiny("two")], [own("a"), own("b")])
    run, (asked, run_cell) = SystemsRun(plan, tmp_path), wrote()
    run.provide(print)
    run.run(run_cell)
    assert asked == ["one on a", "one on b", "two on a", "two on b"]
    found = run.result()
    assert [(result.experiment, result.system, result.directory) for result in found.results] == [
        *(("one", "a", "one/a"), ("one", "b", "one/b")),
        *(("two", "a", "two/a"), ("two", "b", "two/b")),
    ]
    assert found.exit_code is ExitCode.PASS


def test_an_interrupted_run_is_the_last_one(tmp_path: Path) -> None:
    run = SystemsRun(SystemsPlan.of([tiny("one")], [own("a"), own("b")]), tmp_path)
    asked, run_cell = wrote(RunStatus.INTERRUPTED)
    run.run(run_cell)
    assert asked == ["one on a"]
    assert run.result().exit_code is ExitCode.HARNESS


def test_a_system_that_cannot_be_had_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = SystemsRun(SystemsPlan.of([tiny("one")], [own("a"), bundled_systems()["socketio"]]), tmp_path / "out")
    run.provide(print)
    asked, run_cell = wrote()
    run.run(run_cell)
    assert asked == ["one on a"]
    found = run.result()
    assert found.exit_code is ExitCode.HARNESS
    assert [system.problem is None for system in found.systems] == [True, False]
    assert "no node on PATH" in str(found.systems[1].problem)
    alone = SystemsRun(SystemsPlan.of([tiny("one")], [bundled_systems()["socketio"]]), tmp_path / "none")
    alone.provide(print)
    with pytest.raises(HarnessError, match="no system is there to run on: no node on PATH"):
        alone.result()


def test_a_program_that_the_users_own_system_names_wrongly_is_bad_input(tmp_path: Path) -> None:
    run = SystemsRun(SystemsPlan.of([tiny("one")], [own("a", "no-such-program")]), tmp_path)
    with pytest.raises(UsageError, match=r"target\.command = 'no-such-program'"):
        run.provide(print)


def test_a_directory_that_got_no_run_is_removed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a build of minutes leaves none; a directory of the user's own stays."""
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    for out in (None, tmp_path / "new", mine):
        with directory_of(out) as directory:
            assert directory.is_dir()
    with directory_of(tmp_path / "full") as directory:
        (directory / "smoke").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "runs") == ["full", "mine"]
    assert not any((tmp_path / "runs" / "compare-systems").iterdir())


def test_settings_of_the_experiment_are_left_out_with_a_word(tmp_path: Path) -> None:
    plan = SystemsPlan.of([parse(SHORT, "short.toml")], [own("a")])
    assert next(iter(plan.notes())) == (
        "short: its tables [client] were left out; every system ran with its own settings"
    )


# --- real systems -----------------------------------------------------------------------------------------------------


def compare(tmp_path: Path, binary: Binary, *systems: str) -> tuple[SystemsComparison, Path]:
    """``chaos compare-systems`` as a user starts it, and the folder in which it ran."""
    return prompt_run(lambda where: compare_in(where, binary, *systems), tmp_path)


def compare_in(folder: Path, binary: Binary, *systems: str) -> SystemsComparison:
    folder.mkdir()
    (folder / "short.toml").write_text(SHORT)
    words = ["chaos", "compare-systems", "short.toml", *systems, "--out", "out", "--toxiproxy", str(binary.path)]
    done = subprocess.run(
        [sys.executable, "-m", "resilience", *words, "--workers", "1"],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert (folder / "out" / "systems.json").exists(), done.stdout + done.stderr
    found = msgspec.json.decode((folder / "out" / "systems.json").read_bytes(), type=SystemsComparison)
    assert done.returncode == found.exit_code, done.stdout + done.stderr
    assert f"comparison: {Path('out') / 'systems.html'}" in done.stdout
    return found


def test_the_quiz_and_a_bare_server_are_compared(binary: Binary, tmp_path: Path) -> None:
    """Quiz clients resume their sessions, those of the bare server begin new ones."""
    found, folder = compare(tmp_path, binary, "quiz", "echo")
    quiz, echo = found.results
    assert (quiz.returns, echo.returns) == ({"resumed": 3}, {"fresh": 3})
    assert len(echo.not_applicable) > len(quiz.not_applicable)
    assert found.systems[1].versions["driver"] == "websockets, reconnecting"
    assert (folder / "out" / "short" / "echo" / "report.html").exists()


@pytest.mark.usefixtures("node_programs")
def test_socketio_resumes_its_sessions(binary: Binary, tmp_path: Path) -> None:
    """Its server must have sent something before the cut, so that there is a position to recover from."""
    (result,) = compare(tmp_path, binary, "socketio")[0].results
    assert result.returns == {"resumed": 3}
    assert result.figures[0].n == 3


@pytest.mark.parametrize("system", ["echo", "socketio"])
def test_the_drivers_of_systems_pass_the_check(system: str, request: pytest.FixtureRequest) -> None:
    if system != "echo":
        request.getfixturevalue("node_programs")
    words = ["driver", "check", "--system", system, "--clients", "2", "--slower", "50"]
    result = CliRunner().invoke(chaos, words, standalone_mode=False)
    assert result.return_value == 0, result.output
    assert result.output.endswith("17 rules hold\n")


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["driver", "check"], "there is no COMMAND"),
        (["driver", "check", "--system", "quiz"], "quiz has no driver that speaks lines"),
        (["driver", "check", "--system", "quiz", "cat"], "its target is of the kind quiz"),
        (["run", "smoke", "--system", "soketio"], "did you mean socketio"),
        (["compare-systems", "smoke", "quiz", "--out", "pyproject.toml"], "pyproject.toml"),
    ],
)
def test_bad_input_is_named(words: list[str], complaint: str) -> None:
    error = CliRunner().invoke(chaos, words, standalone_mode=False).exception
    assert isinstance(error, UsageError)
    assert complaint in str(error)


def test_the_list_has_every_system() -> None:
    output = CliRunner().invoke(chaos, ["systems"], standalone_mode=False).output
    assert all(name in output for name in bundled_systems())
