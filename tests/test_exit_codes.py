"""An exit code is a verdict and nothing else, whatever happens to a terminal, a pipe, a disk.

Real processes, as a user or a build server starts them; each command is known to end with 0 when nothing is in its way.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resilience.errors import ExitCode

from .support.deadlines import HANG_S

RESILIENCE = (sys.executable, "-m", "resilience")
PASSING = ("sim", "run", "smoke", "--set", "expectations=[{metric='excess_s.mean',op='<',threshold=5.0}]")


def run(
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RESILIENCE, *map(str, arguments)],
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | (environment or {}),
        cwd=cwd,
        preexec_fn=before,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=HANG_S,
        check=False,
    )


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that passes."""
    run_dir = tmp_path_factory.mktemp("passed") / "run"
    done = run(*PASSING, "--out", run_dir)
    assert done.returncode == ExitCode.PASS, done.stdout + done.stderr
    return run_dir


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "module://no_such_backend"},
    ],
    ids=["ascii", "cp1252", "notebook", "no-such-backend"],
)
def test_the_environment_of_a_passing_report_does_not_fail_it(passed: Path, environment: dict[str, str]) -> None:
    done = run("report", "build", passed, environment=environment)
    assert done.returncode == ExitCode.PASS, done.stderr
    assert "PASS" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", [">/dev/full", ">&-", "| true"], ids=["full", "closed", "reader-left"])
def test_output_that_cannot_be_written_does_not_change_the_verdict(passed: Path, where: str) -> None:
    command = f'set -o pipefail; "$0" -m resilience report build "$1" {where}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, passed], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.returncode == ExitCode.PASS, done.stderr
    assert "Traceback" not in done.stderr
    assert ("standard output could not be written: No space left on device" in done.stderr) == (where == ">/dev/full")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_not_given_to_anything_else(tmp_path: Path, closed: str) -> None:
    """A database or a socket in their place would be written into; uvloop aborts when it closes such a descriptor."""
    code = (
        "import os, sys, resilience.terminal as terminal\n"
        "terminal.tolerate_lost_output()\n"
        "file = open(sys.argv[1], 'w')\n"
        "import asyncio, uvloop; uvloop.run(asyncio.sleep(0))\n"
        "assert file.fileno() > 2 and sys.stdin.fileno() >= 0\n"
        "print('said'); print('said', file=sys.stderr); file.write('kept')\n"
    )
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, code, tmp_path / "kept"],
        capture_output=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_run_directory_that_cannot_hold_the_run_is_the_laboratory_s_failure(tmp_path: Path) -> None:
    """As on a full disk: files end after 20 kB. One line, exit code 4, never the 1 of a missed target."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = run(*PASSING, "--out", tmp_path / "run", before=limit)
    assert done.returncode == ExitCode.HARNESS, done.stdout + done.stderr
    assert "File too large" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unforeseen_error_is_one_line_and_a_log_file(tmp_path: Path) -> None:
    code = (
        "import resilience.cli as cli\n"
        "def broken(*_, **__): raise RuntimeError('two\\nlines')\n"
        "cli.root.main = broken\ncli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.HARNESS, 1)
    assert "unexpected RuntimeError: two lines" in done.stderr
    (log,) = tmp_path.glob("resilience-*.log")
    assert str(log) in done.stderr
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_a_signal_after_the_verdict_changes_nothing() -> None:
    """An impatient second Ctrl-C comes while the process ends."""
    code = (
        "import atexit, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "import resilience.cli as cli\n"
        "sys.argv = ['resilience', 'chaos', 'list', '--wrong']\ncli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == ExitCode.USAGE
    assert "KeyboardInterrupt" not in done.stderr
    assert "--wrong" in done.stderr


def test_a_directory_called_latest_stays_and_the_run_has_its_verdict(tmp_path: Path) -> None:
    kept = tmp_path / "runs" / "smoke" / "latest"
    kept.mkdir(parents=True)
    done = run(*PASSING, cwd=tmp_path)
    assert done.returncode == ExitCode.PASS, done.stderr
    assert "latest does not point at this run" in done.stderr
    assert kept.is_dir()
    assert not kept.is_symlink()


def test_tables_in_a_file_are_neither_wrapped_nor_cut(passed: Path) -> None:
    """A line of a build server's log is as long as its content."""
    done = run("report", "build", passed, environment={"COLUMNS": "40"})
    (head,) = [line for line in done.stdout.splitlines() if line.startswith("expectation")]
    assert head.split() == ["expectation", "value", "target", "interval", "n", "verdict"]
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("excess_s.mean")]
    assert row.rstrip().endswith("pass")
    assert f"report: {passed / 'report.html'}\n" in done.stdout
