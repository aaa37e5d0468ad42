"""The command that a report prints runs the same experiment again, whatever options and directory the run had."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from reports.episodes import episodes_frame
from reports.metrics import summarise
from reports.summary import Summary
from resilience.cli import root
from resilience.eventlog.vocabulary import Lane

from ..support.log_builder import LogBuilder, experiment


def _run(words: list[str], out: Path) -> Summary:
    result = CliRunner().invoke(root, [*words, "--out", str(out)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)


@pytest.mark.parametrize("name", ["run", "a run's directory"])
def test_the_printed_command_gives_the_same_digest_and_verdict(name: str, tmp_path: Path) -> None:
    """With the run's size and overrides, which no name of an experiment has; quoted for a shell."""
    options = ["--seed", "3", "--scale", "0.6", "--set", "client.attempts=1"]
    first = _run(["sim", "run", "smoke", *options], tmp_path / name)
    words = shlex.split(first.reproduce)
    assert words == [
        *("resilience", "sim", "run", str(tmp_path / name / "experiment.toml")),
        *("--lane", "model", "--seed", "3"),
    ]
    second = _run(words[1:], tmp_path / "again")
    assert (second.experiment_digest, second.seed, second.participants) == (first.experiment_digest, 3, 6)
    assert (second.verdict, second.reasons) == (first.verdict, first.reasons)
    assert second.success_rate == first.success_rate


@pytest.mark.parametrize("lane, command", [(Lane.REAL, "chaos run"), (Lane.VIRTUAL, "sim run")])
def test_each_lane_has_its_command(lane: Lane, command: str) -> None:
    """A run that no directory holds names its experiment."""
    log = LogBuilder(experiment(), lane=lane, seed=5).log()
    option = "" if lane is Lane.REAL else f" --lane {lane.value}"
    assert summarise(log, episodes_frame(log)).reproduce == f"resilience {command} tiny{option} --seed 5"
