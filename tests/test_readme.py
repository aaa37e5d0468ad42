"""The README is true: its experiment runs, its commands exist, its numbers are those of the code."""

from __future__ import annotations

import inspect
import re
import textwrap
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import resilience.client
from reports.plan import plans
from resilience.cli import root
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import parse
from resilience.lab.run import execute
from resilience.lab.run_directory import RunStatus
from resilience.protocol.messages import PROTOCOL_VERSION
from sim.cli import driver_of


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
    assert execute(driver_of(lane), experiment, experiment.seed, tmp_path / "run").status is RunStatus.COMPLETED


def test_its_experiment_can_pass(readme: str) -> None:
    """With one cut in place of nine it never could, and the planner says so."""
    (text,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    planned = plans(parse(text, "lunch.toml"))
    assert [(plan.target, plan.can_pass) for plan in planned] == [(0.95, True)]
    (single,) = plans(parse(re.sub(r"times = 9 .*", "times = 1", text), "lunch.toml"))
    assert not single.can_pass
    assert (single.events_needed, single.clients_needed) == (7, None)


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


def test_its_transcript_is_what_a_run_prints(readme: str, tmp_path: Path) -> None:
    """But for figures, line breaks and the place of the report."""
    (shown,) = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    assert "`resilience sim run smoke`" in readme
    result = CliRunner().invoke(root, ["sim", "run", "smoke", "--out", str(tmp_path / "run")])
    assert result.exit_code == ExitCode.PASS
    assert without_figures(result.output) == without_figures(shown)
    checks = [re.findall(r"^\d+ checks hold, .*$", text, re.MULTILINE) for text in (result.output, shown)]
    assert len(checks[0]) == 1
    assert checks[0] == checks[1], "how many checks there are"


def without_figures(text: str) -> str:
    """The words of a transcript: numbers as ``0``, no path, single spaces."""
    words = " ".join(text.partition("report:")[0].split())
    return re.sub(r"\d+(?:\.\d+)?", "0", words)


def test_its_client_is_the_one_that_the_librarys_documentation_shows(readme: str) -> None:
    """Whose test runs it; blank lines are the formatter's."""
    (shown,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (printed,) = re.findall(r"::\n\n((?:    .*\n|\n)+)", inspect.getdoc(resilience.client) or "")
    assert [line for line in shown.splitlines() if line] == [
        line for line in textwrap.dedent(printed).splitlines() if line
    ]


def test_what_it_installs_is_an_extra_of_the_project(readme: str) -> None:
    """And only the checkout itself is installed: no index has the project."""
    installed = re.findall(r"^pip install '?\.(?:\[(\w+)\])?'?(?:  +#.*)?$", readme, re.MULTILINE)
    assert installed == ["", "all"]
    assert len(re.findall(r"pip install", readme)) == len(installed)
    project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text("utf-8"))["project"]
    assert set(installed) - {""} <= set(project["optional-dependencies"])
    assert "Private :: Do Not Upload" in project["classifiers"]


def test_its_limits_are_those_of_the_code_and_the_figures(readme: str) -> None:
    """The version of the protocol, and the rate that the page of figures has."""
    assert f"The wire protocol (version {PROTOCOL_VERSION})" in readme
    figures = (Path(__file__).parent.parent / "docs" / "performance.md").read_text("utf-8")
    (rate,) = re.findall(r"^\| join, herd of 10,000 .*?10,000 in, ([\d,]+)/s", figures, re.MULTILINE)
    (said,) = re.findall(r"10,000 clients .* joined at ([\d,]+) a second", readme)
    assert abs(int(rate.replace(",", "")) - int(said.replace(",", ""))) <= 50


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
