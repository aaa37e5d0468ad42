"""Installed without extras, each command either works or names what to install, before it does anything.

One real process in which no module of an extra can be imported runs every command, as the installed program does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest

from resilience.cli import root
from resilience.errors import ExitCode
from resilience.extras import EXTRAS, missing_package

from .support.deadlines import HANG_S

COMMANDS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "sim run": (("smoke", "--lane", "virtual"), "sim"),
    "sim explore": (("--seeds", "1"), "sim"),
    "sim replay": (("nowhere", "nobody-0001"), "sim"),
    "sim profiles": ((), "sim"),
    "sim outages": (("home-wifi=1",), "sim"),
    "sim schedule": (("nowhere.csv", "--out", "x.toml"), "sim"),
    "sim calibrate": (("nowhere", "--out", "x.json"), "sim"),
    "sim validate": (("nowhere",), "sim"),
    "sim sweep": (("smoke", "--out", "x"), "sim"),
    "sim capacity": (("nowhere.toml", "--out", "x"), "sim"),
    "sim tune": (("smoke", "--out", "x"), "planning"),
    "chaos run": (("smoke",), "chaos"),
    "chaos list": ((), None),
    "chaos show": (("smoke",), "reports"),
    "chaos doctor": ((), "chaos"),
    "chaos driver check": (("true",), "chaos"),
    "chaos driver chromium": (("page.html",), "chromium"),
    "chaos systems": ((), None),
    "chaos compare-systems": (("smoke", "quiz"), "chaos"),
    "chaos export": (("smoke",), "reports"),
    "report build": (("nowhere",), "reports"),
    "report plan": (("smoke",), "reports"),
    "report compare": (("nowhere", "elsewhere"), "reports"),
    "report baseline": (("nowhere", "--out", "x.json"), "reports"),
    "report trend": (("nowhere",), "reports"),
    "report capacity": (("nowhere",), "reports"),
}
"""By command of the laboratory: arguments that are enough to begin, and the extra that it needs."""

BARE = """
import contextlib, io, json, os, sys
from importlib.abc import MetaPathFinder
from resilience import cli, extras

blocked = {name for names in extras.EXTRAS.values() for name in names}

class Blocker(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
results = {}
for line in json.loads(sys.stdin.read()):
    sys.argv, out, err = ["resilience", *line], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli._run()
    results[" ".join(line)] = (code, out.getvalue(), err.getvalue(), sorted(os.listdir()))
print(json.dumps(results))
"""

Results = dict[str, tuple[int, str, str, list[str]]]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """By command line: exit code, output, errors, and the files that it left."""
    lines = [[*name.split(), *words] for name, (arguments, _) in COMMANDS.items() for words in (arguments, ("--help",))]
    lines += [["--help"], ["serve", "--help"], ["play", "--help"], ["host", "--help"]]
    lines += [["serve", "--db", "postgresql://ada@127.0.0.1:1/quiz"], ["play", "http://x"]]
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        input=json.dumps(lines),
        cwd=tmp_path_factory.mktemp("bare"),
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_the_extra_that_it_lacks(bare: Results, command: str) -> None:
    arguments, extra = COMMANDS[command]
    code, out, err, files = bare[" ".join([*command.split(), *arguments])]
    assert files == []
    if extra is None:
        assert (code, err) == (ExitCode.PASS, "")
        return
    assert code == ExitCode.USAGE
    assert err.count("\n") == 1
    assert f"install them with: pip install 'quiz-resilience[{extra}]'" in err
    assert all(module in err for module in EXTRAS[extra])
    assert out == ""


def test_the_help_of_every_command_needs_no_extra(bare: Results) -> None:
    helps = {line: result for line, result in bare.items() if line.endswith("--help")}
    assert len(helps) == len(COMMANDS) + 4
    assert all((code, err) == (0, "") and "Usage:" in out for code, out, err, _ in helps.values())


def test_a_database_names_its_extra(bare: Results) -> None:
    code, _, err, _ = bare["serve --db postgresql://ada@127.0.0.1:1/quiz"]
    assert code == ExitCode.USAGE
    assert "pip install 'quiz-resilience[postgres]'" in err


def test_no_command_of_the_laboratory_is_forgotten() -> None:
    context = click.Context(root)
    laboratories = set(root.list_commands(context)) - set(root.commands)
    groups = {name: root.get_command(context, name) for name in laboratories}
    assert {name for prefix, group in groups.items() for name in commands_below(group, prefix)} == set(COMMANDS)


def commands_below(command: click.Command | None, name: str) -> list[str]:
    """The whole names of the commands of a group and of its groups."""
    if not isinstance(command, click.Group):
        return [name]
    return [below for sub, found in command.commands.items() for below in commands_below(found, f"{name} {sub}")]


def test_an_import_that_fails_later_names_its_extra() -> None:
    """Such as after a package was removed by half; a module of no extra is a defect of the installation."""
    line = missing_package(ModuleNotFoundError("No module named 'pandas.core'", name="pandas.core"))
    assert line is not None
    assert "needs pandas, which is not installed; install it with: pip install 'quiz-resilience[reports]'" in line
    assert missing_package(ModuleNotFoundError(name="contourpy")) is None


@pytest.fixture(scope="module")
def packages() -> Mapping[str, list[str]]:
    """By module: the packages that bring it."""
    return packages_distributions()


def packages_listed(optional: Mapping[str, list[str]], extra: str) -> set[str]:
    """The packages of an extra, and of the project's other extras that it includes."""
    found = set[str]()
    for requirement in optional[extra]:
        name, _, inner = requirement.partition(">")[0].partition("[")
        found |= packages_listed(optional, inner.rstrip("]")) if name == "quiz-resilience" else {name}
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_modules_of_an_extra_are_those_of_its_packages(extra: str, packages: Mapping[str, list[str]]) -> None:
    """As `pyproject.toml` lists them."""
    listed = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = packages_listed(listed["project"]["optional-dependencies"], extra)
    brought = {package for module in EXTRAS[extra] for package in packages.get(module, [module])}
    assert brought == wanted
