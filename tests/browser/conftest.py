"""The tools of npm that these tests need: fetched once by a lock file with hashes, or a reason to skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .figures import FIGURES

HERE = Path(__file__).parent
FETCH_S = 300
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def skip_unless_ci(reason: str) -> None:
    """Skip the test, or fail where ``CI`` says so."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _is_current() -> bool:
    marker = HERE / "node_modules" / ".package-lock.json"
    return marker.exists() and marker.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node.js."""
    found = shutil.which("node")
    if found is None:
        skip_unless_ci("needs Node.js: no node on PATH")
    return found or ""


@pytest.fixture(scope="session")
def node_modules(node: str) -> Path:
    """The folder of the packages in ``package-lock.json``."""
    if not _is_current():
        if shutil.which("npm") is None:
            skip_unless_ci("needs npm, which is not on PATH")
        done = subprocess.run(INSTALL, cwd=HERE, capture_output=True, text=True, check=False, timeout=FETCH_S)
        if done.returncode:
            skip_unless_ci(f"needs packages of npm, and npm ci failed: {done.stderr.strip()[-300:]}")
        (HERE / "node_modules" / ".package-lock.json").touch()
    return HERE / "node_modules"


RunTool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_tool(node: str) -> RunTool:
    """Run Node with arguments in this folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [node, *map(str, arguments)]
        return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=FETCH_S)

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Publish what the browser tests of this process measured."""
    if FIGURES.is_empty:
        return
    terminalreporter.section("figures of the browser")
    for line in FIGURES.lines():
        terminalreporter.write_line(line)
    if os.environ.get("FIGURES"):
        FIGURES.write()
