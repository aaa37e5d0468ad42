"""Storms of returns on this system and on others in one run of ``chaos compare-systems``, against fixed targets.

Each system has its makers' settings, as ``docs/systems.md`` says; ours are the defaults, which are the preset
``window``. A system whose tools this machine has not is left out, and the row says so.
"""

from __future__ import annotations

import json
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


class Excess(NamedTuple):
    """The excess of one system, seconds, and of how many outages; infinite where there is no such figure."""

    mean: float
    p95: float
    outages: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} / {self.p95:.2f} s"


def compare(root: Path, folder: Path, name: str, names: list[str]) -> dict[str, Excess]:
    """One experiment on these systems; the excess of each that could be had."""
    command = [sys.executable, "-P", "-m", "resilience", "chaos", "compare-systems"]
    command += [str(file_of(name)), *names, "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    file = folder / "systems.json"
    assert file.exists(), done.stdout + done.stderr
    found = msgspec.json.decode(file.read_bytes(), type=SystemsComparison)
    runs = {result.system: folder / result.directory / "summary.json" for result in found.results}
    return {system: excess_in(summary) for system, summary in runs.items() if summary.exists()}


def excess_in(summary: Path) -> Excess:
    """The excess that a run's summary has."""
    found = json.loads(summary.read_text("utf-8"))["excess_s"]
    mean, p95 = (float("inf") if found[key] is None else found[key] for key in ("mean", "p95"))
    return Excess(mean, p95, found["n"])


def row_of(name: str, found: dict[str, Excess]) -> Row:
    """The excess of each system; the ratio is that of the means, ours to the best of the others."""
    ours, target = found["quiz"], TARGETS[name]
    others = {system: excess for system, excess in found.items() if system != "quiz"}
    best = min((excess.mean for excess in others.values()), default=None)
    return Row(
        f"excess after {name}, mean / p95, all systems in one run",
        str(ours),
        ", ".join(f"{system} {excess}" for system, excess in others.items()) or "no other system could be built",
        None if best is None else ours.mean / best,
        f"{ours.outages} outages, 1 run",
        f"at most {target.mean:.2f} / {target.p95:.2f} s",
        ours.mean <= target.mean and ours.p95 <= target.p95,
    )


def test_a_row_compares_with_the_best_of_the_others() -> None:
    found = {"quiz": Excess(0.1, 0.3, 600), "socketio": Excess(0.8, 1.2, 600), "centrifugo": Excess(0.5, 0.9, 600)}
    row = row_of("cut", found)
    assert (row.ours, row.ratio, row.met) == ("0.10 / 0.30 s", 0.2, True)
    assert row.reference == "socketio 0.80 / 1.20 s, centrifugo 0.50 / 0.90 s"
    alone = row_of("cut", {"quiz": Excess(0.1, 0.5, 600)})
    assert (alone.reference, alone.ratio, alone.met) == ("no other system could be built", None, False)


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
