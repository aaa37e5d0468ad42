"""Storms of returns on this system and on others in one run of ``chaos compare-systems``, against fixed targets.

Each system has its makers' settings, as ``docs/systems.md`` says; ours are the defaults, which are the preset
``window``. A system whose tools this machine has not is left out, and the row says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from chaos.go_tool import find_go
from reports.systems import SystemsComparison
from resilience.experiment.loader import load
from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.results import Row

HERE = Path(__file__).resolve().parent
FOLDERS = ("experiments", "storms")


class Target(NamedTuple):
    """The greatest mean and 95th percentile of the excess, seconds."""

    mean: float
    p95: float


TARGETS = {
    "cut": Target(0.20, 0.40),
    "blip": Target(0.15, 0.25),
    "reset": Target(0.20, 0.40),
    "cut2000": Target(0.60, 1.00),
}


def file_of(name: str) -> Path:
    """Its experiment."""
    (file,) = (HERE / folder / f"{name}.toml" for folder in FOLDERS if (HERE / folder / f"{name}.toml").exists())
    return file


def systems() -> list[str]:
    """The systems that this machine can build."""
    has_node = shutil.which("node") is not None and shutil.which("npm") is not None
    others = ["socketio"] * has_node + ["centrifugo"] * (has_node and find_go() is not None)
    return ["quiz", *others]


def compare(root: Path, folder: Path, name: str, names: list[str]) -> SystemsComparison:
    """One experiment on these systems."""
    command = [sys.executable, "-P", "-m", "resilience", "chaos", "compare-systems"]
    command += [str(file_of(name)), *names, "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    file = folder / "systems.json"
    assert file.exists(), done.stdout + done.stderr
    return msgspec.json.decode(file.read_bytes(), type=SystemsComparison)


def row_of(name: str, found: SystemsComparison) -> Row:
    """The excess of each system; the ratio is that of the means, ours to the better of the others."""
    excess = {
        result.system: {figure.metric: figure.value for figure in result.figures}
        for result in found.results
        if any(figure.value is not None for figure in result.figures)
    }
    means = {system: _second(figures, "excess_s.restricted_mean") for system, figures in excess.items()}
    words = {
        system: f"{means[system]:.2f} / {_second(figures, 'excess_p95'):.2f} s" for system, figures in excess.items()
    }
    others = [system for system in means if system != "quiz"]
    best = min((means[system] for system in others), default=None)
    target = TARGETS[name]
    ours = means.get("quiz", float("inf"))
    return Row(
        f"excess after {name}, mean / p95, all systems in one run",
        words.get("quiz", "no figure"),
        ", ".join(f"{system} {words[system]}" for system in others) or "no other system could be built",
        None if best is None else ours / best,
        "1 run",
        f"at most {target.mean:.2f} / {target.p95:.2f} s",
        ours <= target.mean and _second(excess.get("quiz", {}), "excess_s.p95") <= target.p95,
    )


def _second(figures: dict[str, float | None], metric: str) -> float:
    value = figures.get(metric)
    return float("inf") if value is None else value


@pytest.mark.parametrize("name", TARGETS)
def test_an_experiment_is_one_that_a_row_can_be_made_of(name: str) -> None:
    experiment = load(str(file_of(name)))
    assert experiment.name == name
    assert experiment.client.preset == "window"


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TARGETS)
def test_excess_with_others_in_the_same_run(root: Path, tmp_path: Path, record_rows: RecordRows, name: str) -> None:
    record_rows([row_of(name, compare(root, tmp_path / "runs", name, systems()))])
