"""A small sweep of the population lane, for tests. Holds no assertion."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from sim.cli import sim

STORM = """
name = "storm"
duration = 60.0
seed = 4

[server]
join_capacity = 20.0

[[cohorts]]
name = "all"
clients = 100

[[faults]]
kind = "refuse"
at = 12.0
duration = 3.0
cohorts = ["all"]

[[expectations]]
metric = "excess_s.mean"
op = "<="
threshold = 4.0
"""


def storm_file(folder: Path, text: str = STORM) -> str:
    """The experiment as a file of this folder."""
    path = folder / "storm.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def run_sim(*words: str | Path) -> Result:
    """``resilience sim`` with these words, in this process."""
    return CliRunner().invoke(sim, [str(word) for word in words])
