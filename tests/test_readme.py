"""The README is true: its experiment runs, its commands exist, its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from resilience.cli import root
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import parse
from resilience.lab.run_directory import RunStatus, read_run_info
from sim.run import run


@pytest.fixture(scope="module")
def readme() -> str:
    """The page."""
    return Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lane", [Lane.MODEL, Lane.VIRTUAL])
def test_its_experiment_runs_as_printed(lane: Lane, readme: str, tmp_path: Path) -> None:
    """The file that readers will copy is valid and completes."""
    (text,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    experiment = parse(text, "lunch.toml")
    assert {fault.kind for fault in experiment.faults} == {"blackhole", "cut"}
    run_dir = run(experiment, lane, experiment.seed, out=tmp_path / "run", root=tmp_path)
    assert read_run_info(run_dir).status == RunStatus.COMPLETED


def test_its_commands_and_options_exist(readme: str) -> None:
    """Every ``resilience`` line names a command and options that the program has."""
    lines = re.findall(r"^\.venv/bin/resilience (.*?)(?:  +#.*)?$", readme, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        command: click.Command | None = root
        context = click.Context(root)
        words = line.split()
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_its_make_targets_exist(readme: str) -> None:
    """What it tells readers to make can be made."""
    targets = set(
        re.findall(r"^([a-z]+):", Path(__file__).parent.parent.joinpath("Makefile").read_text(), re.MULTILINE)
    )
    named = set(re.findall(r"make ([a-z]+)", readme)) - {"their"}
    assert {"demo", "test", "serve"} <= named <= targets


def test_its_exit_codes_are_the_programs(readme: str) -> None:
    """The table of verdicts agrees with :class:`ExitCode`."""
    table = dict(re.findall(r"\| \*\*(pass|fail|inconclusive)\*\* \| (\d) \|", readme))
    assert {name: int(code) for name, code in table.items()} == {
        "pass": ExitCode.PASS,
        "fail": ExitCode.FAIL,
        "inconclusive": ExitCode.INCONCLUSIVE,
    }


def test_the_pictures_it_shows_are_there(readme: str) -> None:
    """No broken image on the first page."""
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        assert Path(__file__).parent.parent.joinpath(path).stat().st_size > 10_000
