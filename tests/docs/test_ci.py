"""The workflows for build servers: valid YAML, and each command line is one that the program has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from resilience.cli import root as program

WORKFLOWS = ("github-actions.yml", "gitlab-ci.yml")
VARIABLES = {"EXPERIMENT": "demo", "STOP": "--until-decided", "BUDGET": "30m", "RUN": "runs/ci"}


def texts(node: Any) -> Iterator[str]:  # noqa: ANN401 - whatever YAML holds
    """Every text in it."""
    if isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


def commands(node: Any) -> list[list[str]]:  # noqa: ANN401 - same
    """The words of each line that runs ``resilience``, with the workflow's variables filled in."""
    lines = [line for text in texts(node) for line in text.splitlines() if re.search(r"(^|/)resilience\s", line)]
    filled = [re.sub(r"\$(\w+)", lambda found: VARIABLES[found[1]], line) for line in lines]
    return [shlex.split(line)[1:] for line in filled]


def parse(words: list[str]) -> str:
    """Parse a command line as click would, and run nothing; returns the name of the command."""
    command: click.Command = program
    context = click.Context(program, info_name="resilience")
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.make_context(command.name, list(words), parent=context.parent)
    return context.command_path


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_command_of_a_workflow_exists(name: str, root: Path) -> None:
    found = commands(yaml.safe_load((root / "docs" / "ci" / name).read_text(encoding="utf-8")))
    assert {parse(words) for words in found} == {"resilience chaos doctor", "resilience chaos run"}


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        parse(["chaos", "run", "smoke", "--untildecided"])
    with pytest.raises(click.BadParameter, match="write it like 90s"):
        parse(["chaos", "run", "smoke", "--repeat", "3", "--budget", "soon"])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_workflow_keeps_reports_and_the_built_proxy(name: str, root: Path) -> None:
    text = (root / "docs" / "ci" / name).read_text(encoding="utf-8")
    for word in (
        "repetitions.md",
        "quiz-resilience",
        "chaos/toxiproxy/provision.py",
        "requirements.lock",
        "make setup",
    ):
        assert word in text
    assert (root / "chaos" / "toxiproxy" / "provision.py").exists()


def test_the_files_that_workflows_use_are_those_that_are_written(root: Path) -> None:
    gitlab = yaml.safe_load((root / "docs" / "ci" / "gitlab-ci.yml").read_text(encoding="utf-8"))["chaos"]
    assert gitlab["artifacts"]["reports"]["junit"] == f"{gitlab['variables']['RUN']}/junit.xml"
    github = yaml.safe_load((root / "docs" / "ci" / "github-actions.yml").read_text(encoding="utf-8"))
    steps = github["jobs"]["chaos"]["steps"]
    assert [step for step in steps if "always()" in str(step.get("if"))]
    assert set(github) >= {"name", "jobs", "permissions"}


def test_every_command_on_the_page_exists(root: Path) -> None:
    text = (root / "docs" / "ci.md").read_text(encoding="utf-8")
    for line in re.findall(r"`resilience ([^`]+)`", text):
        parse(shlex.split(line))
