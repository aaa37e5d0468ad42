"""`make demo` shows every report that it can, and does not hide how a run ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .support.deadlines import HANG_S

STUB = """#!/bin/sh
echo "ran $*"
case "$*" in
  *"chaos run"*) exit {real} ;;
  *"lane virtual"*) exit {virtual} ;;
  *"report compare"*) exit {compare} ;;
esac
"""


@pytest.mark.parametrize(
    "ends, code",
    [((0, 0, 0), 0), ((3, 0, 0), 3), ((3, 1, 0), 1), ((0, 0, 3), 3), ((4, 1, 4), 4), ((137, 0, 0), 1)],
)
def test_a_run_that_does_not_pass_stops_no_other(
    root: Path, tmp_path: Path, ends: tuple[int, int, int], code: int
) -> None:
    stub, stamp = tmp_path / "resilience", tmp_path / "stamp"
    stub.write_text(STUB.format(real=ends[0], virtual=ends[1], compare=ends[2]), encoding="utf-8")
    stub.chmod(0o755)
    stamp.touch()
    command = ["make", "demo", f"BIN={tmp_path}", f"STAMP={stamp}", f"DEMO={tmp_path}/demo"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.stdout.count("ran ") == 4
    assert done.stdout.count("report.html") == 3
    assert "compare.html" in done.stdout
    assert bool(done.returncode) is bool(code), "make itself ends with 2 whenever a recipe fails"
    assert (f"Error {code}" in done.stderr) is bool(code), done.stderr
