"""How soon 300 clients are back after each kind of failure, compared with the best systems measured the same way.

The peers' figures were taken on loopback with 300 clients, seconds after the link healed: Socket.IO and Centrifugo. A
row is met when ours is ahead of both, in the mean and in the 95th percentile, and all clients came back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resilience.experiment.loader import load
from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.results import Row

HERE = Path(__file__).resolve().parent
FILES = sorted((HERE / "experiments").glob("*.toml"))
READABLE = (0, 3)
"""Exit codes of a run that can be read: what one outage proves is not asked here."""


class Peers(NamedTuple):
    """The better of the two peers, seconds: mean and 95th percentile after healing; when a silence is noticed."""

    mean: float
    p95: float
    words: str
    noticed: float | None = None


CUT = Peers(0.56, 0.79, "Socket.IO 0.84 / 1.29, Centrifugo 0.56 / 0.79")
PEERS = {
    "cut": CUT,
    "reset": CUT,
    "blip": CUT,
    "refuse3": Peers(1.29, 3.51, "Socket.IO 1.97 / 4.67, Centrifugo 1.29 / 3.51"),
    "refuse15": Peers(2.25, 4.21, "Socket.IO 2.25 / 4.21, Centrifugo 6.50 / 15.0"),
    "silent60": Peers(3.55, 5.06, "Socket.IO 3.55 / 5.06, noticed after 36; Centrifugo 7.44 / 15.5, after 23", 23.0),
}


def run(root: Path, folder: Path, name: str, *words: str) -> dict[str, Any]:
    """One run of the real lane; its summary."""
    file = HERE / "experiments" / f"{name}.toml"
    command = [sys.executable, "-P", "-m", "resilience", "chaos", "run", str(file), "--out", str(folder), *words]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in READABLE, done.stdout + done.stderr
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def row_of(name: str, summary: dict[str, Any]) -> Row:
    """A run compared with its peers."""
    peers, excess, share = PEERS[name], summary["excess_s"], summary["success_rate"]
    mean, p95, everybody = excess["mean"], excess["p95"], share["restored"] == share["affected"] > 0
    ours, met = f"{mean:.2f} / {p95:.2f} s", mean < peers.mean and p95 < peers.p95
    if peers.noticed is not None:
        noticed = summary["detection_s"]["mean"]
        ours, met = f"{ours}, noticed after {noticed:.1f} s", met and noticed < peers.noticed
    return Row(
        f"excess after {name}, mean / p95",
        f"{ours}; {share['restored']} of {share['affected']} back",
        peers.words,
        mean / peers.mean,
        f"{excess['n']} outages, 1 run",
        "ahead of both",
        met and everybody,
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_experiment_is_what_its_row_says(file: Path) -> None:
    experiment = load(str(file))
    assert experiment.name == file.stem in PEERS
    assert experiment.clients == 300
    assert experiment.client.preset == "window"
    assert len({fault.kind for fault in experiment.faults}) == 1


@pytest.mark.bench
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PEERS)
def test_excess_against_peers(root: Path, tmp_path: Path, record_rows: RecordRows, name: str) -> None:
    record_rows([row_of(name, run(root, tmp_path / "run", name))])
