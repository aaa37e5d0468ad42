"""docs/own-system.md: the guide, as a reader would do it: its files written, its commands run, a verdict at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from chaos.toxiproxy.provision import Binary
from reports.episodes import episodes_frame
from reports.frames import load_history
from reports.plan import plans
from reports.summary import Summary
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.loader import parse

PAGE = "docs/own-system.md"
FILE = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```console\n\$ (.*?)\n```$", re.MULTILINE)
HOLD = {"losses_have_faults", "server_lives", "faults_confirmed", "identities_kept"}


def environment(root: Path, binary: Binary) -> dict[str, str]:
    """That of a reader: the program's commands, and a Toxiproxy, are on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(binary.path.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(root), "COLUMNS": "200"}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / PAGE).read_text("utf-8")


def test_its_experiment_can_pass(page: str) -> None:
    """Else a reader's first verdict is that there is none."""
    files = dict(FILE.findall(page))
    (planned,) = plans(parse(files["own.toml"], "own.toml"))
    assert planned.can_pass


def test_a_reader_gets_a_verdict(page: str, root: Path, binary: Binary, tmp_path: Path) -> None:
    """Every command ends well; all clients came back, each with a fresh session, and no rule was broken.

    A busy machine may leave the latency undecided, never the outcome.
    """
    for name, text in FILE.findall(page):
        (tmp_path / name).write_text(text, "utf-8")
    commands = COMMAND.findall(page)
    codes = {ExitCode.PASS, ExitCode.INCONCLUSIVE}
    for shown in commands:
        command = shown.replace("driver check ", "driver check --slower 50 ")
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path, env=environment(root, binary), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (codes if " first" in command else {ExitCode.PASS}), done.stdout + done.stderr
    assert len(commands) == 5
    summary = msgspec.json.decode((tmp_path / "first" / "summary.json").read_bytes(), type=Summary)
    assert {item.name for item in summary.invariants if item.verdict is not Verdict.NOT_APPLICABLE} == HOLD
    assert not [item for item in summary.invariants if item.verdict is Verdict.FAIL]
    episodes = episodes_frame(load_history(tmp_path / "first"))
    assert len(episodes[episodes["affected"]])
    assert episodes.loc[episodes["affected"], "returned"].all()
    assert set(episodes.loc[episodes["affected"], "came_back_by"]) == {"fresh"}
    assert any("says so" in warning and "0 resumed" in warning for warning in summary.laboratory.warnings)
    assert pd.notna(episodes.loc[episodes["affected"], "connected_at"]).all()
