"""``make serve`` listens where the command line says, and else for this machine alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .support.deadlines import HANG_S


@pytest.mark.parametrize("given, host", [((), "127.0.0.1"), (("HOST=192.168.1.7",), "192.168.1.7")])
def test_only_the_command_line_says_where(root: Path, tmp_path: Path, given: tuple[str, ...], host: str) -> None:
    """Some shells export the machine's name as HOST."""
    stamp = tmp_path / "stamp"
    stamp.touch()
    command = ["make", "--dry-run", "serve", f"STAMP={stamp}", *given]
    environment = {**os.environ, "HOST": "machine.example"}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=HANG_S
    )
    assert f"serve --host {host} --port" in done.stdout
